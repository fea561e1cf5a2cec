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

        val config = ManagedSettings.of(application).config!!
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
    fun whatIsMissingOrEmptyIsLeftToTheProfile() {
        assertNull(ManagedSettings.read(Bundle()).config)
        val empty = Bundle()
        listOf("url", "token", "service_mode", "auto_connect").forEach { empty.putString(it, " ") }
        empty.putString("allowed_apps", " , ")
        empty.putInt("somebody_elses", 3)
        val read = ManagedSettings.read(empty)
        assertNull(read.config)
        assertNull(read.fault)
    }

    @Test
    fun whatCannotBeIsNamedAndNothingOfItsConfigurationIsUsed() {
        val wrong =
            listOf<Pair<String, Bundle.() -> Unit>>(
                "url must be text" to { putInt("url", 3) },
                "service_mode must be one of traffic-and-dns, dns-only, traffic-only, posture-only" to
                    { putString("service_mode", "local-proxy") },
                "switch_locked must be true or false" to { putString("switch_locked", "true") },
                "auto_connect must be 0 to 1440 minutes" to { putInt("auto_connect", -1) },
                "auto_connect must be 0 to 1440 minutes" to { putInt("auto_connect", 1441) },
                "auto_connect must be 0 to 1440 minutes" to { putString("auto_connect", "soon") },
                "allowed_apps must be package names, separated by commas" to { putBoolean("allowed_apps", true) },
            )
        for ((fault, put) in wrong) {
            val bundle = Bundle().apply { putString("support_url", "https://help.example") }
            val read = ManagedSettings.read(bundle.apply(put))
            assertEquals(fault, read.fault)
            assertNull(read.config)
        }
    }

    @Test
    fun minutesAreANumberItsDigitsOrYesAndNo() {
        fun minutes(put: Bundle.() -> Unit) = ManagedSettings.read(Bundle().apply(put)).config?.autoConnect
        assertEquals(5u, minutes { putString("auto_connect", "5") })
        assertEquals(1u, minutes { putBoolean("auto_connect", true) })
        assertEquals(0u, minutes { putBoolean("auto_connect", false) })
    }
}
