package org.weft.app

import android.app.Application
import android.content.Intent
import android.os.Looper
import android.service.quicksettings.Tile
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowVpnService
import org.weft.app.state.Connection
import org.weft.app.state.Phase
import org.weft.tunnel.Tunnel
import org.weft.tunnel.WeftVpnService

@RunWith(RobolectricTestRunner::class)
@Config(application = TestApplication::class)
class TileTest {
    private val application: Application = RuntimeEnvironment.getApplication()

    @After
    fun end() = Tunnel.of(application).close()

    private fun tile(words: String): WeftTile {
        val tile = Robolectric.buildService(WeftTile::class.java).create().get()
        tile.onStartListening()
        eventually({ "$words, but ${tile.qsTile.subtitle}" }) {
            shadowOf(Looper.getMainLooper()).idle()
            tile.qsTile.subtitle == words
        }
        return tile
    }

    @Test
    fun withoutAnOrganisationItOpensTheApp() {
        val tile = tile("Not set up")
        assertEquals(Tile.STATE_INACTIVE, tile.qsTile.state)
        tile.onClick()
        val started: Intent = shadowOf(application).nextStartedActivity
        assertEquals(MainActivity::class.java.name, started.component?.className)
        assertNull(shadowOf(application).nextStartedService)
    }

    @Test
    fun itSwitchesOn() {
        joined(application)
        ShadowVpnService.setPrepareResult(null)
        val tile = tile("Off")
        assertEquals(Tile.STATE_INACTIVE, tile.qsTile.state)
        assertEquals("Weft: Off", tile.qsTile.contentDescription)
        tile.onClick()
        val started = shadowOf(application).nextStartedService
        assertEquals(WeftVpnService::class.java.name, started.component?.className)
    }

    @Test
    fun withoutConsentItOpensTheApp() {
        joined(application)
        ShadowVpnService.setPrepareResult(Intent("ask the user"))
        val tile = tile("Off")
        tile.onClick()
        assertNull(shadowOf(application).nextStartedService)
        assertEquals(
            MainActivity::class.java.name,
            shadowOf(application).nextStartedActivity.component?.className,
        )
    }

    @Test
    fun whatATapDoesInEachState() {
        val tap = { phase: Phase, locked: Boolean, kept: Boolean ->
            tapOf(Connection(phase, switchLocked = kept), locked)
        }
        Phase.entries.forEach { phase ->
            val expected =
                when (phase) {
                    Phase.Starting, Phase.NotEnrolled -> Tap.OpenApp
                    Phase.Off, Phase.Stopping -> Tap.Connect
                    Phase.Connecting, Phase.On, Phase.Blocked, Phase.Failed -> Tap.Disconnect
                }
            assertEquals("$phase", expected, tap(phase, false, false))
            val onLock = if (expected == Tap.Disconnect) Tap.UnlockAndDisconnect else expected
            assertEquals("$phase on a locked phone", onLock, tap(phase, true, false))
            val kept = if (expected == Tap.Disconnect) Tap.OpenApp else expected
            assertEquals("$phase, kept by the administrator", kept, tap(phase, true, true))
        }
    }
}
