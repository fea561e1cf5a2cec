package org.weft.app

import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.weft.app.device.deviceState
import org.weft.app.device.problem
import org.weft.app.state.Phase
import org.weft.app.state.Problem
import org.weft.app.state.ProblemKind
import org.weft.app.state.Warning
import org.weft.core.RegistrationInfo
import org.weft.core.ServiceMode
import org.weft.core.State
import org.weft.core.Status
import org.weft.core.UserError
import org.weft.core.WeftException
import org.weft.tunnel.TunnelProblem
import org.weft.tunnel.TunnelState
import org.weft.tunnel.TunnelWarning

/** What the core and the service say, as the screens show it. */
class MappingTest {
    private val registration = RegistrationInfo("id", "key", emptyList(), "gateway.example", null)

    private fun state(
        state: State,
        code: String? = null,
    ) = TunnelState(
        status =
            Status(
                state = state,
                stateText = "state",
                reasonText = "reason",
                error = code?.let { UserError(it, "text of $it") },
                serviceMode = ServiceMode.TRAFFIC_AND_DNS,
                endpoint = null,
                plan = 1u,
                warnings = listOf("a line"),
                timers = emptyList(),
            ),
        registration = registration,
    )

    private fun TunnelState.connection() = deviceState(this, "1").connection

    @Test
    fun phases() {
        val phases =
            mapOf(
                State.DISCONNECTED to Phase.Off,
                State.CONNECTING to Phase.Connecting,
                State.CONNECTED to Phase.On,
                State.RECONNECTING to Phase.Blocked,
                State.DISCONNECTING to Phase.Stopping,
                State.UNABLE to Phase.Failed,
            )
        assertEquals(State.entries.toSet(), phases.keys)
        phases.forEach { (state, phase) -> assertEquals(phase, state(state).connection().phase) }
        assertEquals(Phase.Starting, TunnelState().connection().phase)
        assertEquals(Phase.NotEnrolled, state(State.DISCONNECTED).copy(registration = null).connection().phase)
        val held = state(State.DISCONNECTED).copy(blocked = true)
        assertEquals("off, and yet nothing passes", Phase.Blocked, held.connection().phase)
        val dead = TunnelState(problem = TunnelProblem.CoreFailed("gone")).connection()
        assertEquals(Phase.Failed to Problem(ProblemKind.Internal, "gone"), dead.phase to dead.problem)
    }

    @Test
    fun reasons() {
        assertEquals(ProblemKind.Endpoint, state(State.UNABLE, "endpoint_unreachable").connection().problem?.kind)
        assertEquals("text of no_network", state(State.CONNECTING, "no_network").connection().problem?.detail)
        val unknown = state(State.UNABLE, "a code of a newer core")
        assertEquals(ProblemKind.Internal, unknown.connection().problem?.kind)
        assertEquals(ProblemKind.Silent, state(State.RECONNECTING).connection().problem?.kind)
        assertNull(state(State.CONNECTED).connection().problem)
        assertEquals("reason", state(State.CONNECTING).connection().step)
        val taken = state(State.DISCONNECTED).copy(problem = TunnelProblem.Revoked)
        assertEquals(ProblemKind.Taken, taken.connection().problem?.kind)
        val fresh = state(State.UNABLE, "registration_missing").copy(registration = null)
        assertNull("a new device is no error", fresh.connection().problem)
        val revoked = state(State.UNABLE, "registration_revoked").copy(registration = null)
        assertEquals(ProblemKind.Revoked, revoked.connection().problem?.kind)
    }

    @Test
    fun warnings() {
        val warned = state(State.CONNECTED).copy(warnings = setOf(TunnelWarning.PrivateDns("dns.example")))
        assertEquals(
            listOf(Warning.PrivateDns("dns.example"), Warning.Core("a line")),
            warned.connection().warnings,
        )
        val managed = state(State.CONNECTED).copy(warnings = setOf(TunnelWarning.ManagedConfiguration("a key")))
        assertTrue(Warning.ManagedConfiguration("a key") in managed.connection().warnings)
    }

    @Test
    fun refusedCalls() {
        assertEquals(ProblemKind.Link, problem(WeftException.InvalidInput("x"), ProblemKind.Link).kind)
        assertEquals(ProblemKind.Forbidden, problem(WeftException.Forbidden("x")).kind)
        assertEquals(ProblemKind.Unreachable, problem(WeftException.Unreachable("x")).kind)
        assertEquals("what the core said", "x", problem(WeftException.Refused("x")).detail)
    }
}
