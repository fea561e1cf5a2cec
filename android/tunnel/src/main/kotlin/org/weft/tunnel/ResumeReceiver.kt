package org.weft.tunnel

import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent

/** The device has started, or the app was replaced by another version: what was wanted before is taken up again. */
class ResumeReceiver : BroadcastReceiver() {
    override fun onReceive(
        context: Context,
        intent: Intent,
    ) {
        if (intent.action in CAUSES) Tunnel.resume(context)
    }

    private companion object {
        val CAUSES = setOf(Intent.ACTION_BOOT_COMPLETED, Intent.ACTION_MY_PACKAGE_REPLACED)
    }
}
