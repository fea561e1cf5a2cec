package org.weft.tunnel

import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import android.app.PendingIntent
import android.content.Context

/** The app's own name and icon, and the core's words. */
object PlainNotification : NotificationSource {
    private const val CHANNEL = "tunnel"

    override fun draw(
        context: Context,
        state: TunnelState,
    ): Notification {
        val label = context.applicationInfo.loadLabel(context.packageManager)
        val channel = NotificationChannel(CHANNEL, label, NotificationManager.IMPORTANCE_LOW)
        channel.setShowBadge(false)
        context.getSystemService(NotificationManager::class.java)?.createNotificationChannel(channel)
        val icon = context.applicationInfo.icon.takeIf { it != 0 } ?: android.R.drawable.ic_lock_lock
        val open = context.packageManager.getLaunchIntentForPackage(context.packageName)
        return Notification
            .Builder(context, CHANNEL)
            .setSmallIcon(icon)
            .setContentTitle(state.status?.stateText ?: label)
            .setContentText(state.status?.reasonText)
            .setOngoing(true)
            .setOnlyAlertOnce(true)
            .setCategory(Notification.CATEGORY_SERVICE)
            .setVisibility(Notification.VISIBILITY_PUBLIC)
            .setContentIntent(open?.let { PendingIntent.getActivity(context, 0, it, PendingIntent.FLAG_IMMUTABLE) })
            .build()
    }
}
