package org.weft.app.device

import android.content.Context
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.flow.SharingStarted
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.map
import kotlinx.coroutines.flow.stateIn
import org.weft.app.state.Device
import org.weft.app.state.DeviceState
import org.weft.app.state.Explanation
import org.weft.app.state.Invitation
import org.weft.app.state.Mode
import org.weft.app.state.Phase
import org.weft.app.state.Problem
import org.weft.app.state.ProblemException
import org.weft.app.state.ProblemKind
import org.weft.core.Enrolment
import org.weft.core.WeftException
import org.weft.core.parseEnrolmentLink
import org.weft.core.recentLog
import org.weft.tunnel.Consent
import org.weft.tunnel.ManagedSettings
import org.weft.tunnel.Tunnel

/** The device by way of the tunnel's service. [version] is what the settings page shows. */
class TunnelDevice(
    private val context: Context,
    private val tunnel: Tunnel,
    scope: CoroutineScope,
    version: String,
) : Device {
    override val state: StateFlow<DeviceState> =
        tunnel.state
            .map { deviceState(it, version) }
            .stateIn(scope, SharingStarted.Eagerly, deviceState(tunnel.state.value, version))

    override fun readLink(text: String): Invitation =
        try {
            val enrolment = parseEnrolmentLink(text)
            Invitation(enrolment.url, enrolment.token, enrolment.caFingerprint, enrolment.deviceName)
        } catch (e: WeftException) {
            throw ProblemException(problem(e, ProblemKind.Link), e)
        }

    override fun managedInvitation(): Invitation? {
        val managed = ManagedSettings.of(context).config ?: return null
        val url = managed.url ?: return null
        val token = managed.token ?: return null
        return Invitation(url, token, managed.caFingerprint, deviceName = null)
    }

    override suspend fun enrol(invitation: Invitation) =
        asking(ProblemKind.Link) {
            tunnel.enrol(
                Enrolment(invitation.url, invitation.token, invitation.fingerprint, invitation.deviceName),
            )
        }

    override suspend fun leave() = asking { tunnel.leave() }

    override suspend fun connect() {
        // The activity has asked before; between the two another app may have been chosen.
        when (val consent = tunnel.connect()) {
            Consent.Granted -> Unit
            is Consent.Ask -> throw ProblemException(Problem(ProblemKind.Consent))
            is Consent.Taken -> throw ProblemException(Problem(ProblemKind.OtherAlwaysOn, consent.packageName))
        }
    }

    override suspend fun disconnect() = asking { tunnel.disconnect() }

    override suspend fun setMode(mode: Mode) = asking { tunnel.core().setServiceMode(mode.core()) }

    override suspend fun explain(input: String): Explanation =
        asking(ProblemKind.Name) {
            val up = state.value.connection.phase == Phase.On
            Explainer(tunnel.core(), mayAsk = up).explain(hostOf(input))
        }

    override fun log(): List<String> = recentLog()

    private suspend fun <T> asking(
        input: ProblemKind = ProblemKind.Call,
        what: suspend () -> T,
    ): T =
        try {
            what()
        } catch (e: WeftException) {
            throw ProblemException(problem(e, input), e)
        }
}
