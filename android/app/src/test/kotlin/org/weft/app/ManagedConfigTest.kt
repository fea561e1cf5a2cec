package org.weft.app

import android.content.Context
import android.content.RestrictionEntry
import android.content.RestrictionsManager
import android.os.Bundle
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.weft.core.ServiceMode
import org.weft.tunnel.ManagedSettings

/** What the app offers to a device management service is what the tunnel reads, by key and by type. */
@RunWith(RobolectricTestRunner::class)
class ManagedConfigTest {
    private val context: Context = RuntimeEnvironment.getApplication()

    private val offered: List<RestrictionEntry> =
        context.getSystemService(RestrictionsManager::class.java)!!.getManifestRestrictions(context.packageName)

    @Test
    fun everyKeyIsOfferedWithATitle() {
        val keys =
            with(ManagedSettings) {
                setOf(
                    URL,
                    TOKEN,
                    CA_FINGERPRINT,
                    SERVICE_MODE,
                    SWITCH_LOCKED,
                    AUTO_CONNECT,
                    SUPPORT_URL,
                    ALLOWED_APPS,
                    DISALLOWED_APPS,
                )
            }
        assertEquals(keys, offered.map { it.key }.toSet())
        offered.forEach { assertTrue(it.key, !it.title.isNullOrBlank() && !it.description.isNullOrBlank()) }
    }

    @Test
    fun whatAConsoleSendsIsRead() {
        val sent = Bundle()
        offered.forEach { entry ->
            when (entry.type) {
                RestrictionEntry.TYPE_BOOLEAN -> sent.putBoolean(entry.key, true)
                RestrictionEntry.TYPE_INTEGER -> sent.putInt(entry.key, 30)
                RestrictionEntry.TYPE_CHOICE -> sent.putString(entry.key, entry.choiceValues[1])
                else -> sent.putString(entry.key, TEXTS.getValue(entry.key))
            }
        }
        val read = checkNotNull(ManagedSettings.read(sent).config)
        assertEquals("https://gateway.example", read.url)
        assertEquals("t0k", read.token)
        assertEquals("5f1c".repeat(16), read.caFingerprint)
        assertEquals(ServiceMode.DNS_ONLY, read.serviceMode)
        assertEquals(true, read.switchLocked)
        assertEquals(30u, read.autoConnect)
        assertEquals("https://help.example", read.supportUrl)
        assertEquals(listOf("org.one", "org.two"), read.allowedApps)
        assertEquals(listOf("org.three"), read.disallowedApps)
    }

    @Test
    fun everyChoiceOfModeIsKnown() {
        val modes = offered.single { it.key == ManagedSettings.SERVICE_MODE }.choiceValues
        val read =
            modes.map { mode ->
                val sent = Bundle().apply { putString(ManagedSettings.SERVICE_MODE, mode) }
                ManagedSettings.read(sent).config?.serviceMode
            }
        assertEquals(
            listOf(
                ServiceMode.TRAFFIC_AND_DNS,
                ServiceMode.DNS_ONLY,
                ServiceMode.TRAFFIC_ONLY,
                ServiceMode.POSTURE_ONLY,
            ),
            read,
        )
    }

    private companion object {
        val TEXTS =
            mapOf(
                "url" to "https://gateway.example",
                "token" to "t0k",
                "ca_fingerprint" to "5f1c".repeat(16),
                "support_url" to "https://help.example",
                "allowed_apps" to "org.one, org.two",
                "disallowed_apps" to "org.three",
            )
    }
}
