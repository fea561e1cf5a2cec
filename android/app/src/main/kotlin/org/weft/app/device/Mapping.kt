package org.weft.app.device

import org.weft.app.state.Connection
import org.weft.app.state.DeviceState
import org.weft.app.state.Mode
import org.weft.app.state.Origin
import org.weft.app.state.Phase
import org.weft.app.state.Problem
import org.weft.app.state.ProblemKind
import org.weft.app.state.SettingRow
import org.weft.app.state.SettingsState
import org.weft.app.state.Warning
import org.weft.core.ServiceMode
import org.weft.core.State
import org.weft.core.UserError
import org.weft.core.WeftException
import org.weft.tunnel.TunnelProblem
import org.weft.tunnel.TunnelState
import org.weft.tunnel.TunnelWarning

/** What the screens show of the tunnel's [state]. */
fun deviceState(
    state: TunnelState,
    version: String,
): DeviceState {
    val settings = state.settings
    val phase = phase(state)
    return DeviceState(
        Connection(
            phase = phase,
            problem = problem(state, phase),
            step = state.status?.reasonText?.takeIf { phase == Phase.Connecting },
            gateway = state.registration?.gateway,
            profile = settings?.profileName,
            endpoint = state.status?.endpoint,
            mode = (settings?.serviceMode ?: ServiceMode.TRAFFIC_AND_DNS).mode(),
            warnings = state.warnings.map(::warning) + state.status?.warnings.orEmpty().map(Warning::Core),
            switchLocked = settings?.switchLocked == true,
            supportUrl = settings?.supportUrl,
        ),
        SettingsState(
            rows = settings?.list.orEmpty().map { SettingRow(it.name, it.valueText, it.origin.origin()) },
            allowModeSwitch = settings?.allowModeSwitch == true,
            allowedToLeave = settings?.allowedToLeave != false,
            alwaysOn = state.alwaysOn,
            lockdown = state.lockdown,
            version = version,
        ),
    )
}

private fun phase(state: TunnelState): Phase {
    val status = state.status
    return when {
        state.problem is TunnelProblem.CoreFailed -> Phase.Failed
        status == null -> Phase.Starting
        state.registration == null -> Phase.NotEnrolled
        else ->
            when (status.state) {
                State.DISCONNECTED -> if (state.blocked) Phase.Blocked else Phase.Off
                State.CONNECTING -> Phase.Connecting
                State.CONNECTED -> Phase.On
                State.RECONNECTING -> Phase.Blocked
                State.DISCONNECTING -> Phase.Stopping
                State.UNABLE -> Phase.Failed
            }
    }
}

private fun problem(
    state: TunnelState,
    phase: Phase,
): Problem? {
    val error = state.status?.error
    val silent = state.status?.state == State.RECONNECTING
    return when (val own = state.problem) {
        is TunnelProblem.CoreFailed -> Problem(ProblemKind.Internal, own.detail)
        TunnelProblem.ConsentMissing -> Problem(ProblemKind.Consent)
        TunnelProblem.Revoked -> Problem(ProblemKind.Taken)
        is TunnelProblem.Refused -> error?.let(::problem) ?: Problem(ProblemKind.Call, own.detail)
        null -> error?.let(::problem) ?: if (silent) Problem(ProblemKind.Silent) else null
    }.takeUnless { phase == Phase.On || (phase == Phase.NotEnrolled && it?.kind in BEFORE_SETUP) }
}

/** What the core says of a device that nobody has set up yet, and that its screen says better. */
private val BEFORE_SETUP = setOf(ProblemKind.NotRegistered, ProblemKind.Call, ProblemKind.NotRunning)

private fun problem(error: UserError): Problem = Problem(KINDS[error.code] ?: ProblemKind.Internal, error.text)

/** The codes of the core's errors, as bindings/ffi names them. */
private val KINDS =
    mapOf(
        "registration_missing" to ProblemKind.NotRegistered,
        "registration_revoked" to ProblemKind.Revoked,
        "settings" to ProblemKind.Settings,
        "endpoint_unreachable" to ProblemKind.Endpoint,
        "inside_check" to ProblemKind.InsideCheck,
        "outside_check" to ProblemKind.OutsideCheck,
        "plan_failed" to ProblemKind.Plan,
        "no_network" to ProblemKind.NoNetwork,
        "dns_proxy" to ProblemKind.Dns,
        "dns_off" to ProblemKind.DnsOff,
        "orchestration" to ProblemKind.Gateway,
        "forbidden" to ProblemKind.Forbidden,
        "internal" to ProblemKind.Internal,
    )

/** A refused call, in the words of the place where it was made: [input] is what a wrong argument means there. */
fun problem(
    error: WeftException,
    input: ProblemKind = ProblemKind.Call,
): Problem {
    val kind =
        when (error) {
            is WeftException.InvalidInput -> input
            is WeftException.NotRegistered -> ProblemKind.NotRegistered
            is WeftException.AlreadyRegistered -> ProblemKind.AlreadyRegistered
            is WeftException.Refused -> ProblemKind.Refused
            is WeftException.Unreachable -> ProblemKind.Unreachable
            is WeftException.Forbidden -> ProblemKind.Forbidden
            is WeftException.WrongOrder, is WeftException.Closed -> ProblemKind.NotRunning
            is WeftException.BadDescriptor, is WeftException.BadPacket, is WeftException.Host -> ProblemKind.Call
            is WeftException.Internal -> ProblemKind.Internal
        }
    return Problem(kind, error.message.orEmpty().removePrefix("detail="))
}

private fun warning(warning: TunnelWarning): Warning =
    when (warning) {
        is TunnelWarning.PrivateDns -> Warning.PrivateDns(warning.host)
        is TunnelWarning.BrowserDns -> Warning.BrowserDns(warning.packages)
        is TunnelWarning.ManagedConfiguration -> Warning.ManagedConfiguration(warning.detail)
        TunnelWarning.StateLost -> Warning.StateLost
        is TunnelWarning.Panicked -> Warning.Panicked(warning.detail)
    }

private fun ServiceMode.mode(): Mode =
    when (this) {
        ServiceMode.TRAFFIC_AND_DNS -> Mode.TrafficAndDns
        ServiceMode.DNS_ONLY -> Mode.DnsOnly
        ServiceMode.TRAFFIC_ONLY -> Mode.TrafficOnly
        ServiceMode.LOCAL_PROXY -> Mode.LocalProxy
        ServiceMode.POSTURE_ONLY -> Mode.PostureOnly
    }

internal fun Mode.core(): ServiceMode =
    when (this) {
        Mode.TrafficAndDns -> ServiceMode.TRAFFIC_AND_DNS
        Mode.DnsOnly -> ServiceMode.DNS_ONLY
        Mode.TrafficOnly -> ServiceMode.TRAFFIC_ONLY
        Mode.LocalProxy -> ServiceMode.LOCAL_PROXY
        Mode.PostureOnly -> ServiceMode.POSTURE_ONLY
    }

private fun org.weft.core.Origin.origin(): Origin =
    when (this) {
        org.weft.core.Origin.DEFAULT -> Origin.Default
        org.weft.core.Origin.USER_SET -> Origin.User
        org.weft.core.Origin.NETWORK_POLICY -> Origin.Organisation
        org.weft.core.Origin.LOCAL_POLICY -> Origin.DevicePolicy
    }
