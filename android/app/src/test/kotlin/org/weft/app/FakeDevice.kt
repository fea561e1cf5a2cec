package org.weft.app

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.flow.MutableStateFlow
import org.weft.app.state.Connection
import org.weft.app.state.Device
import org.weft.app.state.DeviceState
import org.weft.app.state.Explanation
import org.weft.app.state.Invitation
import org.weft.app.state.Mode
import org.weft.app.state.Phase
import org.weft.app.state.Problem
import org.weft.app.state.ProblemException
import org.weft.app.state.ProblemKind
import org.weft.app.state.Resolver
import org.weft.app.state.Route

/** A device that does as it is told, and remembers what. */
class FakeDevice(
    phase: Phase,
    private val managed: Invitation? = null,
) : Device {
    override val state = MutableStateFlow(DeviceState(Connection(phase)))
    val asked = mutableListOf<String>()

    /** What the next call throws. */
    var failure: Problem? = null

    /** Calls wait for it while it is there. */
    var gate: CompletableDeferred<Unit>? = null

    fun tell(connection: Connection) {
        state.value = state.value.copy(connection = connection)
    }

    override fun readLink(text: String): Invitation {
        if (!text.startsWith("weft://")) throw ProblemException(Problem(ProblemKind.Link))
        return Invitation("https://gateway.example", text.substringAfter("token="), null, null)
    }

    override fun managedInvitation() = managed

    override suspend fun enrol(invitation: Invitation) {
        ask("enrol ${invitation.host} ${invitation.token}")
        tell(Connection(Phase.Off, gateway = invitation.host))
    }

    override suspend fun leave() {
        ask("leave")
        tell(Connection(Phase.NotEnrolled))
    }

    override suspend fun connect() {
        ask("connect")
        tell(Connection(Phase.Connecting))
    }

    override suspend fun disconnect() {
        ask("disconnect")
        tell(Connection(Phase.Off))
    }

    override suspend fun setMode(mode: Mode) = ask("mode $mode")

    override suspend fun explain(input: String): Explanation {
        ask("explain $input")
        return Explanation(input, Resolver.Gateway, Route.Inside, listOf("why"))
    }

    override fun log() = listOf("one", "two")

    private suspend fun ask(what: String) {
        asked += what
        gate?.await()
        failure?.let { throw ProblemException(it) }
    }
}
