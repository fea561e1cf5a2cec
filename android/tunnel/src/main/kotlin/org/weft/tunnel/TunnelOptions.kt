package org.weft.tunnel

import android.app.Notification
import android.app.PendingIntent
import android.content.Context
import java.io.File

/** What an app decides of the tunnel. */
class TunnelOptions(
    context: Context,
    /** Where state is kept: a folder that no backup takes along. */
    val folder: File = File(context.noBackupFilesDir, "weft"),
    /** What seals it. */
    val keys: KeySource = KeystoreKey(),
    /** The notification of the foreground service. */
    val notification: NotificationSource = PlainNotification,
    /** What the system's VPN page opens for its settings wheel. */
    val configure: (Context) -> PendingIntent? = ::launcher,
) {
    private companion object {
        fun launcher(context: Context): PendingIntent? =
            context.packageManager.getLaunchIntentForPackage(context.packageName)?.let {
                PendingIntent.getActivity(context, 0, it, PendingIntent.FLAG_IMMUTABLE)
            }
    }
}

/** An [android.app.Application] that brings options of its own. */
interface TunnelOptionsProvider {
    val tunnelOptions: TunnelOptions
}

/** Draws what the user sees while the service runs. */
fun interface NotificationSource {
    /** Made anew whenever the state's words change; it makes its channel too. */
    fun draw(
        context: Context,
        state: TunnelState,
    ): Notification
}
