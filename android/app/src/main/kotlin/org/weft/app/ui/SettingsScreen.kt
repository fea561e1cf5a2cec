package org.weft.app.ui

import androidx.compose.foundation.layout.Row
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.heightIn
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.rememberScrollState
import androidx.compose.foundation.selection.selectable
import androidx.compose.foundation.verticalScroll
import androidx.compose.material3.AlertDialog
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.RadioButton
import androidx.compose.material3.Text
import androidx.compose.material3.TextButton
import androidx.compose.runtime.Composable
import androidx.compose.ui.Alignment
import androidx.compose.ui.Modifier
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.semantics.Role
import androidx.compose.ui.text.font.FontFamily
import androidx.compose.ui.unit.dp
import org.weft.app.R
import org.weft.app.state.Actions
import org.weft.app.state.Connection
import org.weft.app.state.Mode
import org.weft.app.state.Phase
import org.weft.app.state.Screen
import org.weft.app.state.SettingsState
import org.weft.app.state.SystemPage

@Composable
fun SettingsScreen(
    settings: SettingsState,
    connection: Connection,
    actions: Actions,
) {
    val enrolled = connection.phase != Phase.NotEnrolled && connection.phase != Phase.Starting
    Page(stringResource(R.string.settings_title), actions::back) {
        settings.error?.let { ProblemPanel(it) }
        if (enrolled && settings.allowModeSwitch) Modes(connection.mode, actions)
        NavigationLine(
            R.drawable.ic_shield,
            stringResource(R.string.settings_always),
            stringResource(
                when {
                    settings.lockdown -> R.string.settings_lockdown_text
                    settings.alwaysOn -> R.string.settings_always_on_text
                    else -> R.string.settings_always_text
                },
            ),
        ) { actions.open(SystemPage.Vpn) }
        if (settings.rows.isNotEmpty()) Values(settings)
        if (enrolled) {
            val note = if (settings.allowedToLeave) R.string.settings_leave_text else R.string.settings_leave_forbidden
            NavigationLine(
                R.drawable.ic_blocked,
                stringResource(R.string.settings_leave),
                stringResource(note),
                settings.allowedToLeave,
                actions::askToLeave,
            )
        }
        PartTitle(stringResource(R.string.settings_about))
        Panel { Fact(stringResource(R.string.settings_version), settings.version) }
        NavigationLine(
            R.drawable.ic_log,
            stringResource(R.string.settings_licences),
            stringResource(R.string.settings_licences_text),
        ) { actions.go(Screen.Licences) }
    }
    if (settings.confirmLeave) ConfirmLeave(connection, actions)
}

@Composable
private fun Values(settings: SettingsState) {
    PartTitle(stringResource(R.string.settings_values))
    Panel {
        settings.rows.forEach { row ->
            val value = row.value.ifEmpty { stringResource(R.string.settings_none) }
            Fact(
                settingTitle(row.name),
                stringResource(R.string.settings_value, value, stringResource(row.origin.words())),
            )
        }
    }
}

/** Only what a phone can do: a local proxy belongs to desktops. */
private val offered = listOf(Mode.TrafficAndDns, Mode.DnsOnly, Mode.TrafficOnly, Mode.PostureOnly)

@Composable
private fun Modes(
    mode: Mode,
    actions: Actions,
) {
    PartTitle(stringResource(R.string.settings_mode))
    Panel {
        offered.forEach {
            Row(
                Modifier
                    .fillMaxWidth()
                    .selectable(it == mode, role = Role.RadioButton) { actions.setMode(it) }
                    .heightIn(min = 56.dp),
                verticalAlignment = Alignment.CenterVertically,
            ) {
                RadioButton(it == mode, null)
                Text(
                    stringResource(it.words().short),
                    Modifier.padding(start = 12.dp),
                    style = MaterialTheme.typography.bodyLarge,
                )
            }
        }
        Text(stringResource(mode.words().more), style = MaterialTheme.typography.bodyMedium)
    }
}

@Composable
private fun ConfirmLeave(
    connection: Connection,
    actions: Actions,
) {
    val whose = connection.gateway ?: stringResource(R.string.the_gateway)
    AlertDialog(
        actions::stay,
        { TextButton(actions::leave) { Text(stringResource(R.string.settings_leave_yes)) } },
        dismissButton = { TextButton(actions::stay) { Text(stringResource(R.string.cancel)) } },
        title = { Text(stringResource(R.string.settings_leave_ask, whose)) },
        text = {
            Text(stringResource(R.string.settings_leave_warn), Modifier.verticalScroll(rememberScrollState()))
        },
    )
}

@Composable
fun LicencesScreen(
    text: String,
    actions: Actions,
) {
    Page(stringResource(R.string.settings_licences), actions::back) {
        Text(text, style = MaterialTheme.typography.bodySmall, fontFamily = FontFamily.Monospace)
    }
}
