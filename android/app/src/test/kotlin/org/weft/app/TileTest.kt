package org.weft.app

import android.app.Application
import android.app.PendingIntent
import android.content.Intent
import android.os.Looper
import android.service.quicksettings.Tile
import android.service.quicksettings.TileService
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowVpnService
import org.robolectric.util.ReflectionHelpers
import org.weft.app.state.Connection
import org.weft.app.state.Phase
import org.weft.tunnel.Tunnel
import org.weft.tunnel.WeftVpnService
import java.lang.reflect.Proxy

@RunWith(RobolectricTestRunner::class)
@Config(application = TestApplication::class)
class TileTest {
    private val application: Application = RuntimeEnvironment.getApplication()

    /** What the tile has opened through the system. */
    private val opened = mutableListOf<Intent>()

    @Before
    fun begin() = forgotten(application)

    @After
    fun end() = Tunnel.of(application).close()

    private fun tile(words: String): WeftTile {
        val tile = Robolectric.buildService(WeftTile::class.java).create().get()
        ReflectionHelpers.setField(TileService::class.java, tile, "mService", system())
        tile.onStartListening()
        eventually({ "$words, but ${tile.qsTile.subtitle}" }) {
            shadowOf(Looper.getMainLooper()).idle()
            tile.qsTile.subtitle == words
        }
        return tile
    }

    /** Stands in for the system's side of the tile, which Robolectric has none of; no app can name its type. */
    private fun system(): Any {
        val type = Class.forName("android.service.quicksettings.IQSService")
        return Proxy.newProxyInstance(type.classLoader, arrayOf(type)) { _, _, arguments ->
            val pending = arguments.orEmpty().filterIsInstance<PendingIntent>()
            opened += pending.map { shadowOf(it).savedIntent }
            null
        }
    }

    @Test
    fun withoutAnOrganisationItOpensTheApp() {
        val tile = tile("Not set up")
        assertEquals(Tile.STATE_INACTIVE, tile.qsTile.state)
        tile.onClick()
        assertEquals(listOf(MainActivity::class.java.name), opened.map { it.component?.className })
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
        assertEquals(listOf(MainActivity::class.java.name), opened.map { it.component?.className })
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
