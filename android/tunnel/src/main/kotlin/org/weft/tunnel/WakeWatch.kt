package org.weft.tunnel

import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.os.PowerManager
import android.os.SystemClock

/**
 * Tells when the device comes out of a sleep that may have cost it its tunnel: after doze, and when the screen goes on
 * after the processor slept for [LONG_MS]. Nothing runs meanwhile: the system's broadcasts are all there is.
 */
class WakeWatch(
    private val context: Context,
    private val meter: SleepMeter = SleepMeter(),
    private val woke: () -> Unit,
) {
    private val receiver =
        object : BroadcastReceiver() {
            override fun onReceive(
                context: Context,
                intent: Intent,
            ) {
                val idle = context.getSystemService(PowerManager::class.java)?.isDeviceIdleMode == true
                val slept = meter.slept()
                val wakes =
                    when (intent.action) {
                        PowerManager.ACTION_DEVICE_IDLE_MODE_CHANGED -> !idle
                        Intent.ACTION_SCREEN_ON -> slept >= LONG_MS
                        else -> false
                    }
                if (wakes) woke()
            }
        }
    private var running = false

    fun start() {
        if (running) return
        meter.slept()
        val filter = IntentFilter(Intent.ACTION_SCREEN_ON)
        filter.addAction(PowerManager.ACTION_DEVICE_IDLE_MODE_CHANGED)
        // Both come from the system alone, so no flag about other apps is wanted.
        context.registerReceiver(receiver, filter)
        running = true
    }

    fun stop() {
        if (!running) return
        context.unregisterReceiver(receiver)
        running = false
    }

    companion object {
        /** The age at which a careless NAT forgets a mapping, in milliseconds (RFC 4787, section 4.3, asks for 2 min). */
        const val LONG_MS = 30_000L
    }
}

/** How long the processor slept, by the difference of the clock that counts sleep and the one that does not. */
class SleepMeter(
    private val withSleep: () -> Long = SystemClock::elapsedRealtime,
    private val withoutSleep: () -> Long = SystemClock::uptimeMillis,
) {
    private var last = withSleep() - withoutSleep()

    /** Milliseconds of sleep since the last call. */
    @Synchronized
    fun slept(): Long {
        val now = withSleep() - withoutSleep()
        return (now - last).also { last = now }
    }
}
