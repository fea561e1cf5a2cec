package org.weft.tunnel

import android.app.Application
import android.content.Intent
import android.os.Looper
import android.os.PowerManager
import org.junit.Assert.assertEquals
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf

@RunWith(RobolectricTestRunner::class)
class WakeWatchTest {
    private val application: Application = RuntimeEnvironment.getApplication()
    private var withSleep = 1_000L
    private var withoutSleep = 1_000L
    private var wakes = 0
    private val watch = WakeWatch(application, SleepMeter({ withSleep }, { withoutSleep })) { wakes++ }

    private fun broadcast(action: String) {
        application.sendBroadcast(Intent(action))
        shadowOf(Looper.getMainLooper()).idle()
    }

    /** The shadow sends the broadcast, as the system does. */
    private fun doze(idle: Boolean) {
        shadowOf(application.getSystemService(PowerManager::class.java)).setIsDeviceIdleMode(idle)
        shadowOf(Looper.getMainLooper()).idle()
    }

    @Test
    fun theScreenCountsOnlyAfterALongSleep() {
        watch.start()
        withSleep += 60_000
        withoutSleep += 60_000
        broadcast(Intent.ACTION_SCREEN_ON)
        assertEquals("awake all the time", 0, wakes)
        withSleep += WakeWatch.LONG_MS - 1
        broadcast(Intent.ACTION_SCREEN_ON)
        assertEquals("a short sleep", 0, wakes)
        withSleep += WakeWatch.LONG_MS
        broadcast(Intent.ACTION_SCREEN_ON)
        broadcast(Intent.ACTION_SCREEN_ON)
        assertEquals("one sleep is told once", 1, wakes)
    }

    @Test
    fun theEndOfDozeCountsAndItsBeginDoesNot() {
        watch.start()
        doze(true)
        assertEquals(0, wakes)
        doze(false)
        assertEquals(1, wakes)
    }

    @Test
    fun afterTheStopNothingIsToldAndStartAndStopMayComeTwice() {
        watch.start()
        watch.start()
        watch.stop()
        watch.stop()
        doze(false)
        assertEquals(0, wakes)
    }
}
