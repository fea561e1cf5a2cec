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

    /** What a configuration came to. One with a value that cannot be counts as none. */
    class Reading(
        /** Null: the device is not managed, or [fault] says why it counts as such. */
        val config: ManagedConfig?,
        /** The key and what it has to be, in a line for the user. */
        val fault: String? = null,
    )

    private class Fault(
        key: String,
        wanted: String,
    ) : Exception("$key must be $wanted")

    /** The configuration at this moment. */
    fun of(context: Context): Reading =
        context.getSystemService(RestrictionsManager::class.java)?.applicationRestrictions?.let(::read) ?: Reading(null)

    /** A key that is missing or empty leaves its setting to the profile. Keys that are not Weft's are left alone. */
    fun read(bundle: Bundle): Reading =
        try {
            Reading(config(bundle).takeIf { it != EMPTY })
        } catch (fault: Fault) {
            Reading(null, fault.message)
        }

    private fun config(bundle: Bundle) =
        ManagedConfig(
            url = text(bundle, URL),
            token = text(bundle, TOKEN),
            caFingerprint = text(bundle, CA_FINGERPRINT),
            serviceMode = mode(bundle, SERVICE_MODE),
            switchLocked = flag(bundle, SWITCH_LOCKED),
            autoConnect = minutes(bundle, AUTO_CONNECT),
            supportUrl = text(bundle, SUPPORT_URL),
            allowedApps = list(bundle, ALLOWED_APPS),
            disallowedApps = list(bundle, DISALLOWED_APPS),
        )

    @Suppress("DEPRECATION") // The typed getters log an error where the type differs; a bundle may hold any.
    private fun any(
        bundle: Bundle,
        key: String,
    ): Any? = bundle.get(key)

    private fun text(
        bundle: Bundle,
        key: String,
    ): String? {
        val value = any(bundle, key) ?: return null
        return (value as? String ?: throw Fault(key, "text")).trim().ifEmpty { null }
    }

    private fun mode(
        bundle: Bundle,
        key: String,
    ): ServiceMode? {
        val name = text(bundle, key) ?: return null
        return MODES[name] ?: throw Fault(key, "one of ${MODES.keys.joinToString()}")
    }

    private fun flag(
        bundle: Bundle,
        key: String,
    ): Boolean? {
        val value = any(bundle, key) ?: return null
        return value as? Boolean ?: throw Fault(key, "true or false")
    }

    /** A number, its digits, or yes (as soon as may be) and no. */
    private fun minutes(
        bundle: Bundle,
        key: String,
    ): UInt? {
        val value = any(bundle, key) ?: return null
        if (value is String && value.isBlank()) return null
        val minutes =
            when (value) {
                is Int -> value
                is String -> value.trim().toIntOrNull()
                is Boolean -> if (value) 1 else 0
                else -> null
            }
        if (minutes == null || minutes !in MINUTES) throw Fault(key, "${MINUTES.first} to ${MINUTES.last} minutes")
        return minutes.toUInt()
    }

    /** Names in one text, separated by commas or spaces, or a list of texts. */
    private fun list(
        bundle: Bundle,
        key: String,
    ): List<String> {
        val values =
            when (val value = any(bundle, key)) {
                null -> emptyList()
                is String -> value.split(',', ' ', '\n')
                is Array<*> -> value.map { it as? String ?: throw Fault(key, APPS) }
                else -> throw Fault(key, APPS)
            }
        return values.map(String::trim).filter(String::isNotEmpty).distinct()
    }

    private const val APPS = "package names, separated by commas"

    /** As the profile's own `auto_connect`; 0 = never. */
    private val MINUTES = 0..1440

    private val MODES =
        mapOf(
            "traffic-and-dns" to ServiceMode.TRAFFIC_AND_DNS,
            "dns-only" to ServiceMode.DNS_ONLY,
            "traffic-only" to ServiceMode.TRAFFIC_ONLY,
            "posture-only" to ServiceMode.POSTURE_ONLY,
        )

    private val EMPTY = ManagedConfig(null, null, null, null, null, null, null, emptyList(), emptyList())
}
