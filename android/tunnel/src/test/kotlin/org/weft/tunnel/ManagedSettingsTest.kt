package org.weft.tunnel

import android.content.RestrictionsManager
import android.os.Bundle
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.weft.core.ServiceMode

@RunWith(RobolectricTestRunner::class)
class ManagedSettingsTest {
    @Test
    fun everyKeyIsRead() {
        val bundle = Bundle()
        bundle.putString("url", " https://gateway.example ")
        bundle.putString("token", "secret")
        bundle.putString("ca_fingerprint", "00".repeat(32))
        bundle.putString("service_mode", "dns-only")
        bundle.putBoolean("switch_locked", true)
        bundle.putInt("auto_connect", 15)
        bundle.putString("support_url", "https://help.example")
        bundle.putString("allowed_apps", "org.example.mail, org.example.web,,org.example.mail")
        bundle.putStringArray("disallowed_apps", arrayOf("org.example.game"))
        val application = RuntimeEnvironment.getApplication()
        shadowOf(application.getSystemService(RestrictionsManager::class.java)).setApplicationRestrictions(bundle)

        val config = ManagedSettings.of(application)!!
        assertEquals("https://gateway.example", config.url)
        assertEquals("secret", config.token)
        assertEquals("00".repeat(32), config.caFingerprint)
        assertEquals(ServiceMode.DNS_ONLY, config.serviceMode)
        assertEquals(true, config.switchLocked)
        assertEquals(15u, config.autoConnect)
        assertEquals("https://help.example", config.supportUrl)
        assertEquals(listOf("org.example.mail", "org.example.web"), config.allowedApps)
        assertEquals(listOf("org.example.game"), config.disallowedApps)
    }

    @Test
    fun whatIsMissingEmptyOrOfAnotherTypeIsLeftToTheProfile() {
        assertNull(ManagedSettings.read(Bundle()))
        val odd = Bundle()
        odd.putInt("url", 3)
        odd.putString("service_mode", "anything")
        odd.putString("switch_locked", "true")
        odd.putInt("auto_connect", -1)
        odd.putString("token", " ")
        odd.putString("allowed_apps", " , ")
        assertNull(ManagedSettings.read(odd))
    }

    @Test
    fun minutesAreANumberItsDigitsOrYesAndNo() {
        fun minutes(put: Bundle.() -> Unit) = ManagedSettings.read(Bundle().apply(put))?.autoConnect
        assertEquals(5u, minutes { putString("auto_connect", "5") })
        assertEquals(1u, minutes { putBoolean("auto_connect", true) })
        assertEquals(0u, minutes { putBoolean("auto_connect", false) })
    }
}
