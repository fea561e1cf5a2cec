package org.weft.app

import android.graphics.Bitmap
import androidx.compose.ui.semantics.Role
import androidx.compose.ui.semantics.SemanticsActions
import androidx.compose.ui.semantics.SemanticsNode
import androidx.compose.ui.semantics.SemanticsProperties
import androidx.compose.ui.semantics.getOrNull
import androidx.compose.ui.state.ToggleableState
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.ParameterizedRobolectricTestRunner
import org.robolectric.ParameterizedRobolectricTestRunner.Parameters
import org.robolectric.RuntimeEnvironment
import org.weft.app.state.AppState
import org.weft.app.state.Phase
import org.weft.app.state.Screen

/** Every screen on a small phone, light, dark and in the largest type: whole, legible, reachable, and its picture. */
@RunWith(ParameterizedRobolectricTestRunner::class)
class ScreensTest(
    private val name: String,
    private val look: Look,
) {
    enum class Look(
        val dark: Boolean,
        val scale: Float,
    ) {
        Light(false, 1f),
        Dark(true, 1f),
        Large(false, 2f),
    }

    private val state: AppState = SCREENS.getValue(name)

    private fun stage(): Stage {
        RuntimeEnvironment.setQualifiers("w360dp-h640dp-${if (look.dark) "night" else "notnight"}-hdpi")
        RuntimeEnvironment.setFontScale(look.scale)
        return Stage.of(state, Recorder())
    }

    @Test
    fun isWhole() {
        val stage = stage()
        val picture = stage.photograph("$name-${look.name.lowercase()}")
        assertEquals(540, picture.width)
        assertEquals("the picture's ground", look.dark, brightness(picture.getPixel(2, picture.height / 2)) < 0.3)
        assertTrue("one flat colour", colours(picture) > 8)
        stage.nodes(merged = false).forEach { whole(it, stage) }
        stage.nodes().filter(::touchable).forEach { touch(it, stage) }
        words(stage)
    }

    /** No text is cut, and nothing lies where scrolling does not lead. */
    private fun whole(
        node: SemanticsNode,
        stage: Stage,
    ) {
        val texts = Stage.textsOf(node)
        Stage.layoutOf(node)?.let { text ->
            val lines = 0 until text.lineCount
            assertFalse("shortened: $texts", text.multiParagraph.didExceedMaxLines || lines.any(text::isLineEllipsized))
            val widest = lines.maxOf { text.getLineRight(it) - text.getLineLeft(it) }
            assertTrue("cut at the side: $texts", widest <= text.size.width + 1)
            assertTrue("cut below: $texts", text.getLineBottom(text.lineCount - 1) <= text.size.height + 1)
        }
        val place = node.positionInRoot
        assertTrue("beyond the edge: $texts at $place", place.x >= 0 && place.x + node.size.width <= stage.width)
        val lowest = stage.height + stage.scrollable()
        assertTrue("out of reach: $texts", place.y >= 0 && place.y + node.size.height <= lowest)
    }

    private fun touchable(node: SemanticsNode) =
        SemanticsActions.OnClick in node.config || SemanticsActions.SetText in node.config

    /** Large enough for a finger, and named for somebody who does not see it. */
    private fun touch(
        node: SemanticsNode,
        stage: Stage,
    ) {
        val names = Stage.textsOf(node) + Stage.labelsOf(node)
        assertTrue("without a name at ${node.positionInRoot}", names.any(String::isNotBlank))
        val least = stage.px(48) - 1
        val area = node.touchBoundsInRoot
        // What the edge of the screen hides now comes whole by scrolling.
        val width = maxOf(area.width, node.size.width.toFloat())
        val height = maxOf(area.height, node.size.height.toFloat())
        assertTrue("$names is $width x $height px", width >= least && height >= least)
    }

    private fun words(stage: Stage) {
        val texts = stage.texts()
        EXPECTED.getValue(name).forEach { expected ->
            assertTrue("no “$expected” in $texts", texts.any { expected in it })
        }
        assertFalse("the token is shown", texts.any { "secret-token" in it })
        val switch = stage.nodes().firstOrNull { it.config.getOrNull(SemanticsProperties.Role) == Role.Switch }
        val home = state.screen == Screen.Home && state.connection.phase != Phase.NotEnrolled
        assertEquals("a switch", home, switch != null)
        if (switch != null) {
            val on = switch.config[SemanticsProperties.ToggleableState] == ToggleableState.On
            assertEquals("the switch", state.connection.phase.switchedOn, on)
            assertEquals(listOf("Connection"), Stage.labelsOf(switch))
            val disabled = switch.config.getOrNull(SemanticsProperties.Disabled) != null
            assertEquals("disabled", state.connection.switchLocked && on, disabled)
        }
    }

    private fun brightness(pixel: Int) = (pixel shr 8 and 0xff) / 255.0

    private fun colours(picture: Bitmap): Int {
        val pixels = IntArray(picture.width * picture.height)
        picture.getPixels(pixels, 0, picture.width, 0, 0, picture.width, picture.height)
        return pixels.toSet().size
    }

    companion object {
        private val SCREENS =
            mapOf(
                "not-enrolled" to States.notEnrolled,
                "off" to States.off,
                "connecting" to States.connecting,
                "connected" to States.connected,
                "private-dns" to States.warned,
                "blocked" to States.blocked,
                "error" to States.failed,
                "other-vpn" to States.otherAlwaysOn,
                "locked" to States.locked,
                "enrol" to States.enrol,
                "invitation" to States.invitation,
                "explain" to States.explain,
                "logs" to States.logs,
                "settings" to States.settings,
            )

        /** What a user must find on each: the state, why, and what to do. */
        private val EXPECTED =
            mapOf(
                "not-enrolled" to listOf("Join your organisation", "QR code or a link", "Set up this device"),
                "off" to listOf("Off", "as if Weft were not there", "Tap to connect"),
                "connecting" to listOf("Connecting", "Establishing the tunnel", "waits until"),
                "connected" to listOf("Connected", "Staff", "through gateway.example", "203.0.113.7:2408"),
                "private-dns" to listOf("Connected", "private DNS is set to dns.example", "Open the system's settings"),
                "blocked" to listOf("Blocked", "The gateway has fallen silent.", "held back", "goes on trying"),
                "error" to listOf("Cannot connect", "The gateway does not answer.", "another network", "For a report:"),
                "other-vpn" to listOf("Other VPN is this device's always-on VPN.", "one VPN at a time"),
                "locked" to listOf("Connected", "Your administrator keeps this switch."),
                "enrol" to listOf("Scan the QR code", "Or paste the link", "Continue"),
                "invitation" to listOf("Join gateway.example?", "5f1c 5f1c", "only if you know who", "Join", "Cancel"),
                "explain" to listOf("Through the tunnel", "Who looks it up", "10.0.0.53", "*.corp.example"),
                "logs" to listOf("Share the log", "tunnel up after 84 ms"),
                "settings" to listOf("Traffic and names", "exclude 16 ranges", "a_new_one", "Leave", "0.1.0"),
            )

        @JvmStatic
        @Parameters(name = "{0} {1}")
        fun all(): List<Array<Any>> = SCREENS.keys.flatMap { name -> Look.entries.map { arrayOf(name, it) } }
    }
}
