package org.weft.app

import androidx.compose.ui.semantics.SemanticsProperties
import androidx.compose.ui.semantics.getOrNull
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config
import org.weft.app.state.AppState

/** Every control does what it says. */
@RunWith(RobolectricTestRunner::class)
@Config(qualifiers = "w360dp-h640dp-hdpi")
class InteractionTest {
    private val recorder = Recorder()

    private fun stage(state: AppState) = Stage.of(state, recorder)

    private fun taps(
        state: AppState,
        vararg expected: Pair<String, String>,
    ) {
        val stage = stage(state)
        expected.forEach { (control, asked) ->
            recorder.asked.clear()
            stage.tap(control)
            assertEquals(control, listOf(asked), recorder.asked)
        }
    }

    @Test
    fun theSwitchSwitches() {
        taps(States.off, "Connection" to "switch true")
        taps(States.connected, "Connection" to "switch false")
        taps(States.blocked, "Connection" to "switch false")
        stage(States.locked).let { stage ->
            recorder.asked.clear()
            assertTrue("a locked switch can be tapped", runCatching { stage.tap("Connection") }.isFailure)
            assertTrue(recorder.asked.isEmpty())
        }
    }

    @Test
    fun homeLeadsOn() {
        taps(
            States.connected,
            "Where does a name go?" to "go Explain",
            "Log" to "go Logs",
            "Settings" to "go Settings",
        )
        taps(States.notEnrolled, "Set up this device" to "go Enrol")
        taps(States.warned, "Open the system's settings" to "open Network")
        taps(States.otherAlwaysOn, "Open the system's settings" to "open Vpn")
        taps(States.failed, "Ask your organisation for help" to "support")
    }

    @Test
    fun joining() {
        val stage = stage(States.enrol)
        stage.tap("Scan the QR code")
        stage.type("weft://enrol?x")
        assertEquals(listOf("scan", "link weft://enrol?x"), recorder.asked)
        taps(States.enrol.copy(enrol = States.enrol.enrol.copy(text = "x")), "Continue" to "read", "Back" to "back")
        taps(States.invitation, "Join" to "join", "Cancel" to "dismiss")
    }

    @Test
    fun explainingAndSharing() {
        val stage = stage(States.explain)
        stage.type("other.example")
        stage.tap("Explain")
        assertEquals(listOf("name other.example", "explain"), recorder.asked)
        taps(States.logs, "Share the log" to "share", "Back" to "back")
    }

    @Test
    fun settings() {
        taps(
            States.settings,
            "Names only" to "mode DnsOnly",
            "Always-on VPN" to "open Vpn",
            "Leave the organisation" to "ask to leave",
            "Licences" to "go Licences",
        )
        val kept = States.settings.copy(settings = States.settings.settings.copy(allowedToLeave = false))
        val line = stage(kept).node("Leave the organisation")
        assertTrue(line.config.getOrNull(SemanticsProperties.Disabled) != null)
    }

    @Test
    fun theReaderOfTheScreenHearsTheStateFirst() {
        val heard = stage(States.failed).nodes().flatMap { Stage.textsOf(it) + Stage.labelsOf(it) }
        val order =
            listOf("Weft", "Cannot connect", "The gateway does not answer.", "Connection", "Gateway", "Settings")
        assertEquals(order, heard.filter { it in order }.distinct())
        val news = stage(States.failed).nodes().filter { it.config.getOrNull(SemanticsProperties.LiveRegion) != null }
        assertTrue(news.any { "Cannot connect" in Stage.textsOf(it) })
    }

    @Test
    @Config(qualifiers = "+ar")
    fun linesRunFromTheRightWhereTheScriptDoes() {
        val stage = stage(States.connected)
        stage.photograph("connected-rtl")
        val title = stage.nodes(merged = false).first { "Where does a name go?" in Stage.textsOf(it) }
        val left = title.positionInRoot.x
        val right = stage.width - (left + title.size.width)
        assertTrue("the text lies at the left: $left before, $right after", left > right)
    }

    @Test
    @Config(qualifiers = "w1280dp-h800dp-land-mdpi")
    fun textStaysNarrowOnALargeScreen() {
        val stage = stage(States.connected)
        stage.photograph("connected-wide")
        val widest = stage.nodes(merged = false).filter { Stage.textsOf(it).isNotEmpty() }.maxOf { it.size.width }
        assertTrue("$widest px", widest <= stage.px(640))
        val switch = stage.node("Connection")
        val middle = switch.positionInRoot.x + switch.size.width / 2
        assertEquals(stage.width / 2f, middle, 2f)
    }
}
