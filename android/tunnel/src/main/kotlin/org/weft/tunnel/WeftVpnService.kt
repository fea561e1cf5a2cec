package org.weft.tunnel

import android.annotation.TargetApi
import android.app.Notification
import android.app.NotificationManager
import android.content.Intent
import android.content.pm.ServiceInfo
import android.net.Network
import android.net.VpnService
import android.os.Build
import android.os.IBinder
import android.os.ParcelFileDescriptor
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.flow.distinctUntilChangedBy
import kotlinx.coroutines.launch

/** The service that Android knows as the VPN. All it does is lend itself to the [Tunnel]. */
class WeftVpnService : VpnService() {
    private val side = Side()
    private lateinit var tunnel: Tunnel
    private var drawing: CoroutineScope? = null

    /** Guards [shown]: a notification that is drawn late must not outlive the service. */
    private val drawn = Any()
    private var shown = false

    /** The newest start that came here; of a service that was only bound, what the system takes for any. */
    @Volatile
    private var lastStart = -1

    override fun onCreate() {
        super.onCreate()
        tunnel = Tunnel.of(this)
    }

    /** Without the super call for [SERVICE_INTERFACE] the system could never tell of [onRevoke]. */
    override fun onBind(intent: Intent?): IBinder? = super.onBind(intent)

    /**
     * Started by the app ([ACTION_CONNECT]), by the system because the VPN is always-on ([SERVICE_INTERFACE]), or by
     * the system after the process died (no intent at all): then the state that was wanted is taken up again.
     */
    override fun onStartCommand(
        intent: Intent?,
        flags: Int,
        startId: Int,
    ): Int {
        lastStart = startId
        try {
            showForeground()
        } catch (error: IllegalStateException) {
            return refused(error)
        } catch (error: SecurityException) {
            return refused(error)
        }
        val cause =
            when {
                intent?.action == ACTION_CONNECT -> StartCause.USER
                intent?.action == SERVICE_INTERFACE || isKept().first -> StartCause.SYSTEM
                else -> StartCause.RESTART
            }
        val (alwaysOn, lockdown) = isKept()
        return if (tunnel.attach(side, cause, alwaysOn, lockdown)) {
            START_STICKY
        } else {
            finish()
            START_NOT_STICKY
        }
    }

    override fun onRevoke() {
        tunnel.revoked(side)
        // Its own is stopSelf(), which finish() does with the notification.
        finish()
    }

    override fun onDestroy() {
        undraw()
        tunnel.detach(side)
        super.onDestroy()
    }

    private fun refused(error: RuntimeException): Int {
        tunnel.refusedForeground(error)
        stopSelf(lastStart)
        return START_NOT_STICKY
    }

    /**
     * Not where another start is on its way here: the system kills an app whose service ends between
     * startForegroundService and startForeground.
     */
    private fun finish() {
        undraw()
        stopForeground(STOP_FOREGROUND_REMOVE)
        stopSelf(lastStart)
    }

    private fun undraw() {
        drawing?.cancel()
        synchronized(drawn) {
            shown = false
            getSystemService(NotificationManager::class.java)?.cancel(NOTIFICATION)
        }
    }

    /** Whether the VPN is always-on, and whether nothing may pass it. Before API 29 the system does not say. */
    private fun isKept(): Pair<Boolean, Boolean> =
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) askKept() else false to false

    @TargetApi(Build.VERSION_CODES.Q)
    private fun askKept(): Pair<Boolean, Boolean> = isAlwaysOn to isLockdownEnabled

    private fun showForeground() {
        val note = tunnel.options.notification.draw(this, tunnel.state.value)
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.UPSIDE_DOWN_CAKE) {
            startTyped(note)
        } else {
            startForeground(NOTIFICATION, note)
        }
        synchronized(drawn) { shown = true }
        drawing?.cancel()
        drawing =
            CoroutineScope(SupervisorJob() + Dispatchers.Default).also { scope ->
                scope.launch { tunnel.state.distinctUntilChangedBy(::words).collect(::redraw) }
            }
    }

    @TargetApi(Build.VERSION_CODES.UPSIDE_DOWN_CAKE)
    private fun startTyped(note: Notification) {
        startForeground(NOTIFICATION, note, ServiceInfo.FOREGROUND_SERVICE_TYPE_SYSTEM_EXEMPTED)
    }

    private fun words(state: TunnelState) =
        listOf(state.status?.stateText, state.status?.reasonText, state.problem, state.warnings)

    private fun redraw(state: TunnelState) {
        val note = tunnel.options.notification.draw(this, state)
        synchronized(drawn) {
            if (shown) getSystemService(NotificationManager::class.java)?.notify(NOTIFICATION, note)
        }
    }

    private inner class Side : VpnSide {
        override fun establish(fill: (TunnelBuilder) -> Unit): ParcelFileDescriptor? {
            val builder = Builder()
            tunnel.options.configure(this@WeftVpnService)?.let(builder::setConfigureIntent)
            fill(SystemTunnelBuilder(builder))
            return builder.establish()
        }

        override fun protect(fd: Int) = this@WeftVpnService.protect(fd)

        override fun underlying(network: Network?) {
            setUnderlyingNetworks(network?.let { arrayOf(it) })
        }

        override fun finish() = this@WeftVpnService.finish()
    }

    companion object {
        /** The app asks for the tunnel. */
        const val ACTION_CONNECT = "org.weft.tunnel.CONNECT"

        /** The identifier of the foreground notification. */
        const val NOTIFICATION = 1
    }
}

/** Who started the service. */
internal enum class StartCause {
    /** The app, on behalf of its user. */
    USER,

    /** The system: the VPN is always-on. */
    SYSTEM,

    /** The system, since the process died under the service. */
    RESTART,
}
