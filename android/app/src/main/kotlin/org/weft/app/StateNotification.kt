package org.weft.app

import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import android.app.PendingIntent
import android.content.Context
import android.content.Intent
import org.weft.app.device.deviceState
import org.weft.app.ui.heading
import org.weft.app.ui.words
import org.weft.tunnel.NotificationSource
import org.weft.tunnel.TunnelState

/** The state and what is wrong, in the words of the screens. It names nothing that a locked phone should not show. */
object StateNotification : NotificationSource {
    private const val CHANNEL = "connection"

    override fun draw(
        context: Context,
        state: TunnelState,
    ): Notification {
        val channel =
            NotificationChannel(CHANNEL, context.getString(R.string.channel), NotificationManager.IMPORTANCE_LOW)
        channel.description = context.getString(R.string.channel_text)
        channel.setShowBadge(false)
        context.getSystemService(NotificationManager::class.java)?.createNotificationChannel(channel)
        val connection = deviceState(state, "").connection
        val open = Intent(context, MainActivity::class.java)
        return Notification
            .Builder(context, CHANNEL)
            .setSmallIcon(R.drawable.ic_weft)
            .setContentTitle(context.getString(connection.phase.heading()))
            .setContentText(connection.problem?.let { context.getString(it.kind.words().short) })
            .setOngoing(true)
            .setOnlyAlertOnce(true)
            .setCategory(Notification.CATEGORY_SERVICE)
            .setVisibility(Notification.VISIBILITY_PUBLIC)
            .setContentIntent(PendingIntent.getActivity(context, 0, open, PendingIntent.FLAG_IMMUTABLE))
            .build()
    }
}
