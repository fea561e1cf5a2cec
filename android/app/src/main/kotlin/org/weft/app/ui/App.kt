package org.weft.app.ui

import androidx.activity.compose.BackHandler
import androidx.compose.runtime.Composable
import org.weft.app.state.Actions
import org.weft.app.state.AppState
import org.weft.app.state.Screen

/** The whole app, drawn from [state]. [scanner] shows the camera: only a device has one. */
@Composable
fun App(
    state: AppState,
    actions: Actions,
    scanner: @Composable () -> Unit,
) {
    BackHandler(state.screen != Screen.Home, actions::back)
    when (state.screen) {
        Screen.Home -> HomeScreen(state.connection, actions)
        Screen.Enrol -> EnrolScreen(state.enrol, actions)
        Screen.Scan -> ScanScreen(actions, scanner)
        Screen.Explain -> ExplainScreen(state.explain, actions)
        Screen.Logs -> LogsScreen(state.logs, actions)
        Screen.Settings -> SettingsScreen(state.settings, state.connection, actions)
        Screen.Licences -> LicencesScreen(state.licences, actions)
    }
}
