package org.weft.app.ui

import androidx.annotation.DrawableRes
import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Row
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.size
import androidx.compose.material3.Button
import androidx.compose.material3.Icon
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.ui.Alignment
import androidx.compose.ui.Modifier
import androidx.compose.ui.res.painterResource
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.semantics.LiveRegionMode
import androidx.compose.ui.semantics.heading
import androidx.compose.ui.semantics.liveRegion
import androidx.compose.ui.semantics.semantics
import androidx.compose.ui.unit.dp
import org.weft.app.R
import org.weft.app.state.Actions
import org.weft.app.state.Connection
import org.weft.app.state.Phase
import org.weft.app.state.ProblemKind
import org.weft.app.state.Screen
import org.weft.app.state.SystemPage
import org.weft.app.state.Warning

@Composable
fun HomeScreen(
    connection: Connection,
    actions: Actions,
) {
    Page(stringResource(R.string.app_name), onBack = null) {
        if (connection.phase == Phase.NotEnrolled) {
            Welcome(connection, actions)
        } else {
            StatePanel(connection, actions)
            BigSwitch(
                connection.phase.switchedOn,
                connection.switchLocked,
                connection.phase != Phase.Starting,
                actions::switch,
            )
            connection.warnings.forEach { WarningPanel(it, actions) }
            Details(connection)
            NavigationLine(
                R.drawable.ic_search,
                stringResource(R.string.go_explain),
                stringResource(R.string.go_explain_text),
            ) { actions.go(Screen.Explain) }
        }
        NavigationLine(R.drawable.ic_log, stringResource(R.string.go_logs), stringResource(R.string.go_logs_text)) {
            actions.go(Screen.Logs)
        }
        NavigationLine(
            R.drawable.ic_settings,
            stringResource(R.string.go_settings),
            stringResource(R.string.go_settings_text),
        ) { actions.go(Screen.Settings) }
    }
}

@Composable
private fun Welcome(
    connection: Connection,
    actions: Actions,
) {
    connection.problem?.let { ProblemPanel(it) }
    connection.warnings.forEach { WarningPanel(it, actions) }
    Panel {
        Text(
            stringResource(R.string.welcome),
            Modifier.semantics { heading() },
            style = MaterialTheme.typography.headlineMedium,
        )
        Text(connection.sentence(), style = MaterialTheme.typography.bodyLarge)
        Button({ actions.go(Screen.Enrol) }, Modifier.fillMaxWidth()) { Text(stringResource(R.string.enrol_start)) }
    }
}

/** The state, why, and what to do. A change is read out. */
@Composable
private fun StatePanel(
    connection: Connection,
    actions: Actions,
) {
    Panel(connection.phase.ink()) {
        Row(
            Modifier.semantics(mergeDescendants = true) { liveRegion = LiveRegionMode.Polite },
            Arrangement.spacedBy(12.dp),
            Alignment.CenterVertically,
        ) {
            Icon(painterResource(connection.phase.icon()), null, Modifier.size(36.dp))
            Text(
                stringResource(connection.phase.heading()),
                Modifier.semantics { heading() },
                style = MaterialTheme.typography.headlineMedium,
            )
        }
        connection.problem?.let { ProblemText(it) }
        Text(connection.sentence(), style = MaterialTheme.typography.bodyMedium)
        Help(connection, actions)
    }
}

/** Where the user can go with the problem. */
@Composable
private fun Help(
    connection: Connection,
    actions: Actions,
) {
    val problem = connection.problem ?: return
    if (problem.kind in VPN_PAGE) {
        PanelButton(stringResource(R.string.home_settings_page)) { actions.open(SystemPage.Vpn) }
    }
    if (problem.kind == ProblemKind.Revoked || problem.kind == ProblemKind.NotRegistered) {
        PanelButton(stringResource(R.string.enrol_start)) { actions.go(Screen.Enrol) }
    }
    if (connection.supportUrl != null) {
        PanelButton(stringResource(R.string.home_support), actions::openSupport)
    }
}

@Composable
private fun WarningPanel(
    warning: Warning,
    actions: Actions,
) {
    Panel(LocalTones.current.care, Modifier.semantics { liveRegion = LiveRegionMode.Polite }) {
        Row(horizontalArrangement = Arrangement.spacedBy(12.dp)) {
            Icon(painterResource(R.drawable.ic_alert), null)
            Text(warning.sentence(), style = MaterialTheme.typography.bodyMedium)
        }
        if (warning is Warning.PrivateDns) {
            PanelButton(stringResource(R.string.home_settings_page)) { actions.open(SystemPage.Network) }
        }
    }
}

@Composable
private fun Details(connection: Connection) {
    Panel {
        connection.gateway?.let { Fact(stringResource(R.string.home_gateway), it) }
        connection.endpoint?.let { Fact(stringResource(R.string.home_endpoint), it) }
        connection.profile?.let { Fact(stringResource(R.string.home_profile), it) }
        Fact(stringResource(R.string.home_mode), stringResource(connection.mode.words().short))
    }
}

@DrawableRes
private fun Phase.icon(): Int =
    when (this) {
        Phase.On -> R.drawable.ic_shield
        Phase.Blocked -> R.drawable.ic_blocked
        Phase.Failed -> R.drawable.ic_alert
        else -> R.drawable.ic_shield_off
    }

@Composable
private fun Phase.ink(): Ink {
    val colours = MaterialTheme.colorScheme
    return when (this) {
        Phase.On -> LocalTones.current.good
        Phase.Blocked -> LocalTones.current.care
        Phase.Failed -> Ink(colours.errorContainer, colours.onErrorContainer)
        Phase.Connecting, Phase.Stopping -> Ink(colours.secondaryContainer, colours.onSecondaryContainer)
        else -> Ink(colours.surfaceContainer, colours.onSurface)
    }
}

private val VPN_PAGE = setOf(ProblemKind.Consent, ProblemKind.OtherAlwaysOn, ProblemKind.Taken, ProblemKind.Plan)
