package org.weft.tunnel

import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.os.Build
import android.provider.Settings
import org.weft.core.ManagedConfig
import org.weft.core.Session
import org.weft.core.SessionConfig
import org.weft.core.WeftException

/** What a session on this device starts with. */
internal fun sessionConfig(
    context: Context,
    managed: ManagedConfig?,
): SessionConfig {
    val name = Settings.Global.getString(context.contentResolver, Settings.Global.DEVICE_NAME)
    val chromebook = context.packageManager.hasSystemFeature("org.chromium.arc")
    return SessionConfig(
        deviceName = name?.ifBlank { null } ?: Build.MODEL.ifBlank { "Android" },
        os = if (chromebook) "chromeos" else "android",
        osVersion = Build.VERSION.RELEASE,
        managed = managed,
        dnsCacheBytes = null,
    )
}

/** What the core said. The bindings put the name of the field in front. */
internal fun WeftException.detailText(): String = message?.removePrefix("detail=") ?: javaClass.simpleName

/** The core, as the one that takes interfaces over. */
internal fun Session.carrier() =
    object : Carrier {
        override fun attach(fd: Int) = attachTun(fd)

        override fun holds() = hasInterface()
    }

/** Tells when the administrator's configuration changes. */
internal class ManagedWatch(
    private val context: Context,
    private val changed: (ManagedSettings.Reading) -> Unit,
) {
    private val receiver =
        object : BroadcastReceiver() {
            override fun onReceive(
                context: Context,
                intent: Intent,
            ) = changed(ManagedSettings.of(context))
        }

    fun start() {
        context.registerReceiver(receiver, IntentFilter(Intent.ACTION_APPLICATION_RESTRICTIONS_CHANGED))
    }

    fun stop() = context.unregisterReceiver(receiver)
}
