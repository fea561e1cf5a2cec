package org.weft.app.ui

import androidx.annotation.StringRes
import androidx.compose.runtime.Composable
import androidx.compose.ui.res.stringResource
import org.weft.app.R
import org.weft.app.state.CameraTrouble
import org.weft.app.state.Connection
import org.weft.app.state.Mode
import org.weft.app.state.Origin
import org.weft.app.state.Phase
import org.weft.app.state.Problem
import org.weft.app.state.ProblemKind
import org.weft.app.state.Resolver
import org.weft.app.state.Warning

/** A short text and what to say beside it, as the ids of two strings. */
data class Words(
    @param:StringRes val short: Int,
    @param:StringRes val more: Int,
)

/** What is wrong, and what to do. */
fun ProblemKind.words(): Words =
    when (this) {
        ProblemKind.Consent -> Words(R.string.problem_consent, R.string.problem_consent_do)
        ProblemKind.Taken -> Words(R.string.problem_taken, R.string.problem_taken_do)
        ProblemKind.OtherAlwaysOn -> Words(R.string.problem_other, R.string.problem_other_do)
        ProblemKind.NotRegistered -> Words(R.string.problem_not_registered, R.string.problem_not_registered_do)
        ProblemKind.AlreadyRegistered -> Words(R.string.problem_registered, R.string.problem_registered_do)
        ProblemKind.Revoked -> Words(R.string.problem_revoked, R.string.problem_revoked_do)
        ProblemKind.NoNetwork -> Words(R.string.problem_no_network, R.string.problem_no_network_do)
        ProblemKind.Endpoint -> Words(R.string.problem_endpoint, R.string.problem_endpoint_do)
        ProblemKind.Silent -> Words(R.string.problem_silent, R.string.problem_silent_do)
        ProblemKind.InsideCheck -> Words(R.string.problem_inside, R.string.problem_inside_do)
        ProblemKind.OutsideCheck -> Words(R.string.problem_outside, R.string.problem_outside_do)
        ProblemKind.Settings -> Words(R.string.problem_settings, R.string.problem_settings_do)
        ProblemKind.Plan -> Words(R.string.problem_plan, R.string.problem_plan_do)
        ProblemKind.Dns -> Words(R.string.problem_dns, R.string.problem_dns_do)
        ProblemKind.DnsOff -> Words(R.string.problem_dns_off, R.string.problem_dns_off_do)
        ProblemKind.Gateway -> Words(R.string.problem_gateway, R.string.problem_gateway_do)
        ProblemKind.Forbidden -> Words(R.string.problem_forbidden, R.string.problem_forbidden_do)
        ProblemKind.Refused -> Words(R.string.problem_refused, R.string.problem_refused_do)
        ProblemKind.Unreachable -> Words(R.string.problem_unreachable, R.string.problem_unreachable_do)
        ProblemKind.Link -> Words(R.string.problem_link, R.string.problem_link_do)
        ProblemKind.OtherLink -> Words(R.string.problem_other_link, R.string.problem_other_link_do)
        ProblemKind.Name -> Words(R.string.problem_name, R.string.problem_name_do)
        ProblemKind.NotRunning -> Words(R.string.problem_not_running, R.string.problem_not_running_do)
        ProblemKind.Call -> Words(R.string.problem_call, R.string.problem_call_do)
        ProblemKind.Internal -> Words(R.string.problem_internal, R.string.problem_internal_do)
    }

/** What is wrong, with the other app's name where it is known. */
@Composable
fun Problem.title(): String =
    if (kind == ProblemKind.OtherAlwaysOn && detail.isNotEmpty()) {
        stringResource(R.string.problem_other_named, detail)
    } else {
        stringResource(kind.words().short)
    }

/** The core's own line, where it adds to the words above. */
fun Problem.report(): String? = detail.takeIf { it.isNotBlank() && kind != ProblemKind.OtherAlwaysOn }

@StringRes
fun Phase.heading(): Int =
    when (this) {
        Phase.Starting -> R.string.phase_starting
        Phase.NotEnrolled -> R.string.phase_not_enrolled
        Phase.Off -> R.string.phase_off
        Phase.Connecting -> R.string.phase_connecting
        Phase.On -> R.string.phase_on
        Phase.Blocked -> R.string.phase_blocked
        Phase.Stopping -> R.string.phase_stopping
        Phase.Failed -> R.string.phase_failed
    }

/** The state in a sentence or two. */
@Composable
fun Connection.sentence(): String {
    val whose = gateway ?: stringResource(R.string.the_gateway)
    return when (phase) {
        Phase.Starting -> stringResource(R.string.about_starting)

        Phase.NotEnrolled -> stringResource(R.string.welcome_text)

        Phase.Off -> stringResource(R.string.about_off)

        Phase.Connecting ->
            step?.let { stringResource(R.string.about_connecting_step, it, whose) }
                ?: stringResource(R.string.about_connecting, whose)

        Phase.On ->
            stringResource(if (mode == Mode.DnsOnly) R.string.about_on_dns else R.string.about_on, whose)

        Phase.Blocked -> stringResource(R.string.about_blocked, whose)

        Phase.Stopping -> stringResource(R.string.about_stopping)

        Phase.Failed -> stringResource(R.string.about_failed)
    }
}

/** What works otherwise than somebody might think, in a sentence or two. */
@Composable
fun Warning.sentence(): String =
    when (this) {
        is Warning.Core -> text
        is Warning.PrivateDns -> stringResource(R.string.warning_private_dns, host)
        is Warning.BrowserDns -> stringResource(R.string.warning_browser, apps.joinToString())
        is Warning.ManagedConfiguration -> stringResource(R.string.warning_managed, detail)
        Warning.StateLost -> stringResource(R.string.warning_lost)
        is Warning.Panicked -> stringResource(R.string.warning_panicked, detail)
    }

/** Who looks a name up, in a sentence. */
@Composable
fun Resolver.sentence(): String =
    when (this) {
        Resolver.Gateway -> stringResource(R.string.resolver_gateway)
        is Resolver.Fallback ->
            if (servers.isEmpty()) {
                stringResource(R.string.resolver_fallback_network, suffix)
            } else {
                stringResource(R.string.resolver_fallback, suffix, servers.joinToString())
            }
        is Resolver.Tunnel -> stringResource(R.string.resolver_tunnel, servers.joinToString())
        Resolver.Weft -> stringResource(R.string.resolver_weft)
        Resolver.Network -> stringResource(R.string.resolver_network)
    }

/** A mode's name and what it does, as the ids of two strings. */
fun Mode.words(): Words =
    when (this) {
        Mode.TrafficAndDns -> Words(R.string.mode_traffic_and_dns, R.string.mode_traffic_and_dns_text)
        Mode.DnsOnly -> Words(R.string.mode_dns_only, R.string.mode_dns_only_text)
        Mode.TrafficOnly -> Words(R.string.mode_traffic_only, R.string.mode_traffic_only_text)
        Mode.LocalProxy -> Words(R.string.mode_local_proxy, R.string.mode_local_proxy_text)
        Mode.PostureOnly -> Words(R.string.mode_posture_only, R.string.mode_posture_only_text)
    }

@StringRes
fun CameraTrouble.words(): Int =
    when (this) {
        CameraTrouble.None -> R.string.camera_none
        CameraTrouble.Denied -> R.string.camera_denied
        CameraTrouble.Failed -> R.string.camera_failed
    }

@StringRes
fun Origin.words(): Int =
    when (this) {
        Origin.Default -> R.string.origin_default
        Origin.User -> R.string.origin_user
        Origin.Organisation -> R.string.origin_organisation
        Origin.DevicePolicy -> R.string.origin_device
    }

/** The title of a setting; one that this app does not know yet keeps the profile's own name. */
@Composable
fun settingTitle(name: String): String = SETTINGS[name]?.let { stringResource(it) } ?: name

private val SETTINGS =
    mapOf(
        "service_mode" to R.string.setting_service_mode,
        "allow_mode_switch" to R.string.setting_allow_mode_switch,
        "switch_locked" to R.string.setting_switch_locked,
        "allowed_to_leave" to R.string.setting_allowed_to_leave,
        "auto_connect" to R.string.setting_auto_connect,
        "captive_portal" to R.string.setting_captive_portal,
        "split_tunnel" to R.string.setting_split_tunnel,
        "fallback_domains" to R.string.setting_fallback_domains,
        "dns_search_suffixes" to R.string.setting_search,
        "mtu" to R.string.setting_mtu,
        "support_url" to R.string.setting_support_url,
    )
