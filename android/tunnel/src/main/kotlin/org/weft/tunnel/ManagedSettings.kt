package org.weft.tunnel

import android.content.Context
import android.content.RestrictionsManager
import android.os.Bundle
import org.weft.core.ManagedConfig
import org.weft.core.ServiceMode

/** What an administrator sets by a device management service, under the keys of the app's `app_restrictions.xml`. */
object ManagedSettings {
    const val URL = "url"
    const val TOKEN = "token"
    const val CA_FINGERPRINT = "ca_fingerprint"
    const val SERVICE_MODE = "service_mode"
    const val SWITCH_LOCKED = "switch_locked"
    const val AUTO_CONNECT = "auto_connect"
    const val SUPPORT_URL = "support_url"
    const val ALLOWED_APPS = "allowed_apps"
    const val DISALLOWED_APPS = "disallowed_apps"

    /** The configuration at this moment, or null where the device is not managed. */
    fun of(context: Context): ManagedConfig? =
        context.getSystemService(RestrictionsManager::class.java)?.applicationRestrictions?.let(::read)

    /** A key that is missing, empty or of another type leaves its setting to the profile. */
    fun read(bundle: Bundle): ManagedConfig? {
        val config =
            ManagedConfig(
                url = text(bundle, URL),
                token = text(bundle, TOKEN),
                caFingerprint = text(bundle, CA_FINGERPRINT),
                serviceMode = text(bundle, SERVICE_MODE)?.let(MODES::get),
                switchLocked = flag(bundle, SWITCH_LOCKED),
                autoConnect = minutes(bundle, AUTO_CONNECT),
                supportUrl = text(bundle, SUPPORT_URL),
                allowedApps = list(bundle, ALLOWED_APPS),
                disallowedApps = list(bundle, DISALLOWED_APPS),
            )
        return config.takeIf { it != EMPTY }
    }

    @Suppress("DEPRECATION") // The typed getters log an error where the type differs; a bundle may hold any.
    private fun any(
        bundle: Bundle,
        key: String,
    ): Any? = bundle.get(key)

    private fun text(
        bundle: Bundle,
        key: String,
    ) = (any(bundle, key) as? String)?.trim()?.ifEmpty { null }

    private fun flag(
        bundle: Bundle,
        key: String,
    ) = any(bundle, key) as? Boolean

    /** A number, its digits, or yes (as soon as may be) and no. */
    private fun minutes(
        bundle: Bundle,
        key: String,
    ): UInt? =
        when (val value = any(bundle, key)) {
            is Int -> value.takeIf { it >= 0 }?.toUInt()
            is String -> value.trim().toUIntOrNull()
            is Boolean -> if (value) 1u else 0u
            else -> null
        }

    /** Names in one text, separated by commas or spaces, or a list of texts. */
    private fun list(
        bundle: Bundle,
        key: String,
    ): List<String> {
        val values =
            when (val value = any(bundle, key)) {
                is String -> value.split(',', ' ', '\n')
                is Array<*> -> value.filterIsInstance<String>()
                else -> emptyList()
            }
        return values.map(String::trim).filter(String::isNotEmpty).distinct()
    }

    private val MODES =
        mapOf(
            "traffic-and-dns" to ServiceMode.TRAFFIC_AND_DNS,
            "dns-only" to ServiceMode.DNS_ONLY,
            "traffic-only" to ServiceMode.TRAFFIC_ONLY,
            "local-proxy" to ServiceMode.LOCAL_PROXY,
            "posture-only" to ServiceMode.POSTURE_ONLY,
        )

    private val EMPTY = ManagedConfig(null, null, null, null, null, null, null, emptyList(), emptyList())
}
