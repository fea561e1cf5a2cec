package org.weft.app

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.weft.app.state.AppModel
import org.weft.app.state.CameraTrouble
import org.weft.app.state.Connection
import org.weft.app.state.Effect
import org.weft.app.state.Invitation
import org.weft.app.state.Mode
import org.weft.app.state.Phase
import org.weft.app.state.Problem
import org.weft.app.state.ProblemKind
import org.weft.app.state.Screen

/** What the user does reaches the device, and what the device says reaches the screens; without Android. */
class AppModelTest {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Unconfined)

    @After
    fun end() = scope.cancel()

    private fun model(device: FakeDevice) = AppModel(device, scope)

    private fun AppModel.effect(): Effect = runBlocking { withTimeout(5_000) { effects.first() } }

    private val link = "weft://enrol?url=https://gateway.example&token=t0k"

    @Test
    fun switchingOnAsksTheSystemFirst() {
        val device = FakeDevice(Phase.Off)
        val model = model(device)
        model.switch(true)
        assertEquals(Effect.AskConsent, model.effect())
        assertTrue("nothing before the consent", device.asked.isEmpty())
        model.consentGiven()
        assertEquals(listOf("connect"), device.asked)
        assertEquals(Phase.Connecting, model.state.value.connection.phase)
        model.switch(false)
        assertEquals(listOf("connect", "disconnect"), device.asked)
    }

    @Test
    fun aRefusedConsentStaysUntilSomethingElseHappens() {
        val device = FakeDevice(Phase.Off)
        val model = model(device)
        model.consentRefused(null)
        assertEquals(ProblemKind.Consent, model.state.value.connection.problem?.kind)
        model.consentRefused("Other VPN")
        assertEquals(Problem(ProblemKind.OtherAlwaysOn, "Other VPN"), model.state.value.connection.problem)
        device.tell(Connection(Phase.Off, gateway = "gateway.example"))
        assertEquals(ProblemKind.OtherAlwaysOn, model.state.value.connection.problem?.kind)
        device.tell(Connection(Phase.Connecting))
        assertNull(model.state.value.connection.problem)
    }

    @Test
    fun aLockedSwitchDoesNotSwitchOffButOn() {
        val device = FakeDevice(Phase.On)
        val model = model(device)
        device.tell(Connection(Phase.On, switchLocked = true))
        model.switch(false)
        assertTrue(device.asked.isEmpty())
        device.tell(Connection(Phase.Off, switchLocked = true))
        model.switch(true)
        assertEquals(Effect.AskConsent, model.effect())
    }

    @Test
    fun noLinkJoinsBeforeTheUserAgrees() {
        val device = FakeDevice(Phase.NotEnrolled)
        val model = model(device)
        model.invite("  $link\n")
        assertEquals(Screen.Enrol, model.state.value.screen)
        assertEquals("gateway.example", model.state.value.enrol.invitation?.host)
        assertTrue("the link alone did something", device.asked.isEmpty())
        model.dismissInvitation()
        model.join()
        assertTrue("a dismissed link did something", device.asked.isEmpty())
        model.invite(link)
        model.join()
        assertEquals(listOf("enrol gateway.example t0k"), device.asked)
        assertEquals(Screen.Home, model.state.value.screen)
        assertEquals(Phase.Off, model.state.value.connection.phase)
        assertNull(model.state.value.enrol.invitation)
    }

    @Test
    fun aTokenIsInNoText() {
        val invitation = Invitation("https://gateway.example", "t0k", null, null)
        assertFalse("t0k" in invitation.toString())
    }

    @Test
    fun whatIsNoLinkIsSaid() {
        val device = FakeDevice(Phase.NotEnrolled)
        val model = model(device)
        model.go(Screen.Enrol)
        model.typeLink("https://example.com")
        model.readLink()
        assertEquals(ProblemKind.Link, model.state.value.enrol.error?.kind)
        model.typeLink(link)
        assertNull("the error stays while something else is typed", model.state.value.enrol.error)
    }

    @Test
    fun noLinkTakesThePlaceOfTheOneThatIsShown() {
        val model = model(FakeDevice(Phase.NotEnrolled, Invitation("https://managed.example", "m4n", null, null)))
        model.invite(link)
        val enrol = model.state.value.enrol
        assertEquals("managed.example", enrol.invitation?.host)
        assertEquals(ProblemKind.OtherLink, enrol.error?.kind)
        model.dismissInvitation()
        model.invite(link)
        model.invite(link)
        assertNull("the same one is no other", model.state.value.enrol.error)
    }

    @Test
    fun whatIsTypedIsNotPrinted() {
        val model = model(FakeDevice(Phase.NotEnrolled))
        model.typeLink(link)
        assertFalse("t0k" in model.state.value.toString())
    }

    @Test
    fun aRefusedEnrolmentCanBeTriedAgain() {
        val device = FakeDevice(Phase.NotEnrolled)
        val model = model(device)
        model.invite(link)
        device.failure = Problem(ProblemKind.Refused, "the token is used up")
        model.join()
        val enrol = model.state.value.enrol
        assertEquals(Problem(ProblemKind.Refused, "the token is used up"), enrol.error)
        assertFalse(enrol.busy)
        device.failure = null
        model.join()
        assertEquals(Screen.Home, model.state.value.screen)
    }

    @Test
    fun joiningTwiceAtOnceAsksOnce() {
        val device = FakeDevice(Phase.NotEnrolled)
        val model = model(device)
        model.invite(link)
        device.gate = CompletableDeferred()
        model.join()
        model.join()
        model.invite("weft://enrol?token=another")
        assertTrue(model.state.value.enrol.busy)
        device.gate?.complete(Unit)
        assertEquals(listOf("enrol gateway.example t0k"), device.asked)
        assertEquals(Phase.Off, model.state.value.connection.phase)
    }

    @Test
    fun theAdministratorsInvitationIsOfferedAtOnce() {
        val managed = Invitation("https://managed.example", "m4n", null, null)
        val model = model(FakeDevice(Phase.NotEnrolled, managed))
        assertEquals(Screen.Enrol, model.state.value.screen)
        assertEquals(managed, model.state.value.enrol.invitation)
        assertTrue(model.state.value.enrol.managed)
        model.dismissInvitation()
        model.invite(link)
        assertEquals("gateway.example", model.state.value.enrol.invitation?.host)
        assertFalse(model.state.value.enrol.managed)
        val enrolled = model(FakeDevice(Phase.Off, managed))
        assertEquals("an enrolled device is not asked", Screen.Home, enrolled.state.value.screen)
    }

    @Test
    fun aNameIsExplained() {
        val device = FakeDevice(Phase.On)
        val model = model(device)
        model.explain()
        assertTrue("nothing was typed", device.asked.isEmpty())
        model.typeName("  wiki.example ")
        model.explain()
        assertEquals(listOf("explain wiki.example"), device.asked)
        assertEquals("wiki.example", model.state.value.explain.answer?.input)
        device.failure = Problem(ProblemKind.Name)
        model.typeName("-")
        model.explain()
        assertEquals(ProblemKind.Name, model.state.value.explain.error?.kind)
        assertNull(model.state.value.explain.answer)
        assertFalse(model.state.value.explain.busy)
    }

    @Test
    fun leavingIsAskedFor() {
        val device = FakeDevice(Phase.On)
        val model = model(device)
        model.go(Screen.Settings)
        model.askToLeave()
        assertTrue(model.state.value.settings.confirmLeave)
        model.stay()
        assertFalse(model.state.value.settings.confirmLeave)
        assertTrue(device.asked.isEmpty())
        model.askToLeave()
        model.leave()
        assertEquals(listOf("leave"), device.asked)
        assertEquals(Phase.NotEnrolled, model.state.value.connection.phase)
        assertEquals(Screen.Home, model.state.value.screen)
    }

    @Test
    fun aRefusedSettingIsSaid() {
        val device = FakeDevice(Phase.On)
        val model = model(device)
        device.failure = Problem(ProblemKind.Forbidden)
        model.setMode(Mode.DnsOnly)
        assertEquals(ProblemKind.Forbidden, model.state.value.settings.error?.kind)
        device.failure = null
        model.setMode(Mode.DnsOnly)
        assertNull("the error stays after a success", model.state.value.settings.error)
    }

    @Test
    fun theLogIsSharedAsShown() {
        val model = model(FakeDevice(Phase.Off))
        model.go(Screen.Logs)
        model.shareLog()
        assertEquals(Effect.ShareLog(listOf("one", "two")), model.effect())
    }

    @Test
    fun backLeadsHome() {
        val model = model(FakeDevice(Phase.NotEnrolled))
        model.camera(null)
        assertEquals(Screen.Scan, model.state.value.screen)
        model.back()
        assertEquals(Screen.Enrol, model.state.value.screen)
        model.back()
        assertEquals(Screen.Home, model.state.value.screen)
        model.camera(CameraTrouble.Denied)
        assertEquals(Screen.Enrol, model.state.value.screen)
        assertEquals(CameraTrouble.Denied, model.state.value.enrol.camera)
    }
}
