package org.weft.app

import android.app.Application
import org.weft.core.LogLevel
import org.weft.core.WeftException
import org.weft.core.initLogging
import org.weft.tunnel.TunnelOptions
import org.weft.tunnel.TunnelOptionsProvider

/** Gives the tunnel what is the app's own: its notification, and a log that can be shared. */
class WeftApplication :
    Application(),
    TunnelOptionsProvider {
    override val tunnelOptions: TunnelOptions by lazy { TunnelOptions(this, notification = StateNotification) }

    override fun onCreate() {
        super.onCreate()
        LogShare.forget(this)
        try {
            // In memory alone: at this level it holds no name and no address, and nothing stays when the app ends.
            initLogging(LogLevel.INFO, null)
        } catch (e: WeftException) {
            android.util.Log.w("weft", "the log does not start", e)
        }
    }
}
