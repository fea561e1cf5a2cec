package org.weft.app

import android.annotation.SuppressLint
import android.annotation.TargetApi
import android.app.PendingIntent
import android.content.Intent
import android.os.Build
import android.service.quicksettings.Tile
import android.service.quicksettings.TileService
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch
import org.weft.app.device.deviceState
import org.weft.app.state.Connection
import org.weft.app.state.Phase
import org.weft.app.ui.heading
import org.weft.core.WeftException
import org.weft.tunnel.Consent
import org.weft.tunnel.Tunnel

/** The switch among the system's quick settings. Where it cannot act by itself it opens the app. */
class WeftTile : TileService() {
    private var listening: CoroutineScope? = null
    private val tunnel by lazy { Tunnel.of(this) }

    override fun onStartListening() {
        listening?.cancel()
        listening =
            CoroutineScope(SupervisorJob() + Dispatchers.Main.immediate).also { scope ->
                scope.launch { tunnel.state.collect { show(deviceState(it, "").connection) } }
            }
    }

    override fun onStopListening() {
        listening?.cancel()
        listening = null
    }

    override fun onClick() {
        when (tapOf(deviceState(tunnel.state.value, "").connection, isLocked)) {
            Tap.OpenApp -> openApp()
            Tap.Connect -> if (tunnel.connect() !is Consent.Granted) openApp()
            Tap.Disconnect -> disconnect()
            Tap.UnlockAndDisconnect -> unlockAndRun(::disconnect)
        }
    }

    private fun disconnect() {
        // It outlives the tile's listening: the shade may close at once.
        CoroutineScope(SupervisorJob() + Dispatchers.Default).launch {
            try {
                tunnel.disconnect()
            } catch (_: WeftException) {
                // The state says what is wrong, and the tile shows that it is still on.
            }
        }
    }

    private fun show(connection: Connection) {
        val tile = qsTile ?: return
        tile.state =
            when {
                connection.phase == Phase.Starting || connection.phase == Phase.Stopping -> Tile.STATE_UNAVAILABLE
                connection.phase.switchedOn -> Tile.STATE_ACTIVE
                else -> Tile.STATE_INACTIVE
            }
        val words = getString(connection.phase.heading())
        tile.contentDescription = getString(R.string.tile_text, getString(R.string.app_name), words)
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) subtitle(tile, words)
        tile.updateTile()
    }

    @TargetApi(Build.VERSION_CODES.Q)
    private fun subtitle(
        tile: Tile,
        words: String,
    ) {
        tile.subtitle = words
    }

    private fun openApp() {
        val intent = Intent(this, MainActivity::class.java).addFlags(Intent.FLAG_ACTIVITY_NEW_TASK)
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.UPSIDE_DOWN_CAKE) openNew(intent) else openOld(intent)
    }

    @TargetApi(Build.VERSION_CODES.UPSIDE_DOWN_CAKE)
    private fun openNew(intent: Intent) =
        startActivityAndCollapse(PendingIntent.getActivity(this, 0, intent, PendingIntent.FLAG_IMMUTABLE))

    @Suppress("DEPRECATION")
    @SuppressLint("StartActivityAndCollapseDeprecated")
    private fun openOld(intent: Intent) = startActivityAndCollapse(intent)
}

/** What a tap on the tile does. */
internal enum class Tap { OpenApp, Connect, Disconnect, UnlockAndDisconnect }

/** Whoever finds a phone with its screen [locked] may switch Weft on, but not take its protection off. */
internal fun tapOf(
    connection: Connection,
    locked: Boolean,
): Tap =
    when {
        connection.phase == Phase.NotEnrolled || connection.phase == Phase.Starting -> Tap.OpenApp
        !connection.phase.switchedOn -> Tap.Connect
        connection.switchLocked -> Tap.OpenApp
        locked -> Tap.UnlockAndDisconnect
        else -> Tap.Disconnect
    }
