package org.weft.app

import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.weft.app.device.addressOf
import org.weft.app.device.hostOf
import org.weft.app.device.isAddress

/** What people type and paste. */
class InputTest {
    @Test
    fun theNameInAnAddressLine() {
        mapOf(
            "wiki.example" to "wiki.example",
            " wiki.example " to "wiki.example",
            "https://wiki.example/a/b?c#d" to "wiki.example",
            "https://user:word@wiki.example:8443/" to "wiki.example",
            "wiki.example:8443" to "wiki.example",
            "192.0.2.1:80" to "192.0.2.1",
            "2001:db8::1" to "2001:db8::1",
            "https://[2001:db8::1]:8443/x" to "2001:db8::1",
            "[2001:db8::1]" to "2001:db8::1",
            "" to "",
        ).forEach { (typed, host) -> assertEquals(typed, host, hostOf(typed)) }
    }

    @Test
    fun addressesAndNames() {
        listOf("192.0.2.1", "2001:db8::1", "::1").forEach { assertTrue(it, isAddress(it)) }
        listOf("wiki.example", "1.example", "", "one").forEach { assertFalse(it, isAddress(it)) }
    }

    @Test
    fun theAddressOfAnAnswer() {
        assertEquals("192.0.2.1", addressOf("wiki.example. 60 IN A 192.0.2.1", "A"))
        assertEquals("2001:db8::1", addressOf("wiki.example.\t60\tIN\tAAAA\t2001:db8::1", "AAAA"))
        assertNull(addressOf("wiki.example. 60 IN CNAME a.example.", "A"))
        assertNull(addressOf("wiki.example. 60 IN AAAA 2001:db8::1", "A"))
        assertNull(addressOf("A", "A"))
        assertNull(addressOf("", "A"))
    }
}
