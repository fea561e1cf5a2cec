package org.weft.app.ui

import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.heightIn
import androidx.compose.foundation.text.KeyboardActions
import androidx.compose.foundation.text.KeyboardOptions
import androidx.compose.material3.Button
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.OutlinedButton
import androidx.compose.material3.OutlinedTextField
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.ui.Modifier
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.semantics.heading
import androidx.compose.ui.semantics.semantics
import androidx.compose.ui.text.font.FontFamily
import androidx.compose.ui.text.input.ImeAction
import androidx.compose.ui.text.input.KeyboardCapitalization
import androidx.compose.ui.text.input.KeyboardType
import androidx.compose.ui.unit.dp
import org.weft.app.R
import org.weft.app.state.Actions
import org.weft.app.state.EnrolState
import org.weft.app.state.Invitation

@Composable
fun EnrolScreen(
    enrol: EnrolState,
    actions: Actions,
) {
    Page(stringResource(R.string.enrol_title), actions::back) {
        val invitation = enrol.invitation
        if (invitation == null) {
            BringLink(enrol, actions)
        } else {
            Ask(invitation, enrol, actions)
        }
    }
}

@Composable
private fun BringLink(
    enrol: EnrolState,
    actions: Actions,
) {
    Text(stringResource(R.string.welcome_text), style = MaterialTheme.typography.bodyLarge)
    enrol.error?.let { ProblemPanel(it) }
    Button(actions::scan, Modifier.fillMaxWidth().heightIn(min = 56.dp)) {
        IconAndText(R.drawable.ic_scan, stringResource(R.string.enrol_scan))
    }
    enrol.camera?.let { Text(stringResource(it.words()), style = MaterialTheme.typography.bodyMedium) }
    PartTitle(stringResource(R.string.enrol_or))
    OutlinedTextField(
        enrol.text,
        actions::typeLink,
        Modifier.fillMaxWidth(),
        label = { Text(stringResource(R.string.enrol_link)) },
        placeholder = { Text(stringResource(R.string.enrol_link_hint)) },
        isError = enrol.error != null,
        keyboardOptions = plainText(KeyboardType.Uri, ImeAction.Go),
        keyboardActions = KeyboardActions(onGo = { actions.readLink() }),
        maxLines = 4,
    )
    OutlinedButton(
        actions::readLink,
        Modifier.fillMaxWidth().heightIn(min = 48.dp),
        enabled = enrol.text.isNotBlank(),
    ) { Text(stringResource(R.string.enrol_next)) }
}

/** What the link asks for. A link comes from anywhere, so nothing is joined without this question. */
@Composable
private fun Ask(
    invitation: Invitation,
    enrol: EnrolState,
    actions: Actions,
) {
    Text(
        stringResource(R.string.enrol_ask, invitation.host),
        Modifier.semantics { heading() },
        style = MaterialTheme.typography.headlineMedium,
    )
    if (enrol.managed) Text(stringResource(R.string.enrol_managed), style = MaterialTheme.typography.bodyLarge)
    Text(stringResource(R.string.enrol_ask_text), style = MaterialTheme.typography.bodyLarge)
    enrol.error?.let { ProblemPanel(it) }
    Panel {
        Fact(stringResource(R.string.home_gateway), invitation.host)
        if (invitation.fingerprint == null) {
            Text(stringResource(R.string.enrol_public), style = MaterialTheme.typography.bodyMedium)
        } else {
            Text(stringResource(R.string.enrol_fingerprint), style = MaterialTheme.typography.labelMedium)
            Text(
                invitation.fingerprint.chunked(4).joinToString(" "),
                style = MaterialTheme.typography.bodyMedium,
                fontFamily = FontFamily.Monospace,
            )
        }
        invitation.deviceName?.let { Fact(stringResource(R.string.enrol_device), it) }
    }
    Button(actions::join, Modifier.fillMaxWidth().heightIn(min = 56.dp), enabled = !enrol.busy) {
        Text(stringResource(if (enrol.busy) R.string.enrol_joining else R.string.enrol_join))
    }
    OutlinedButton(
        actions::dismissInvitation,
        Modifier.fillMaxWidth().heightIn(min = 48.dp),
        enabled = !enrol.busy,
    ) { Text(stringResource(R.string.cancel)) }
}

/** A keyboard that neither corrects nor capitalises: what is typed is no prose. */
internal fun plainText(
    type: KeyboardType,
    action: ImeAction,
) = KeyboardOptions(KeyboardCapitalization.None, autoCorrectEnabled = false, type, action)
