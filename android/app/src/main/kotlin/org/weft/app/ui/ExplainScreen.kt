package org.weft.app.ui

import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Row
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.heightIn
import androidx.compose.foundation.layout.size
import androidx.compose.foundation.text.KeyboardActions
import androidx.compose.material3.Button
import androidx.compose.material3.Icon
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.OutlinedTextField
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.ui.Alignment
import androidx.compose.ui.Modifier
import androidx.compose.ui.res.painterResource
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.semantics.LiveRegionMode
import androidx.compose.ui.semantics.liveRegion
import androidx.compose.ui.semantics.semantics
import androidx.compose.ui.text.input.ImeAction
import androidx.compose.ui.text.input.KeyboardType
import androidx.compose.ui.unit.dp
import org.weft.app.R
import org.weft.app.state.Actions
import org.weft.app.state.ExplainState
import org.weft.app.state.Explanation
import org.weft.app.state.Route

@Composable
fun ExplainScreen(
    explain: ExplainState,
    actions: Actions,
) {
    Page(stringResource(R.string.explain_title), actions::back) {
        Text(stringResource(R.string.explain_text), style = MaterialTheme.typography.bodyLarge)
        OutlinedTextField(
            explain.text,
            actions::typeName,
            Modifier.fillMaxWidth(),
            label = { Text(stringResource(R.string.explain_input)) },
            isError = explain.error != null,
            keyboardOptions = plainText(KeyboardType.Uri, ImeAction.Search),
            keyboardActions = KeyboardActions(onSearch = { actions.explain() }),
            singleLine = true,
        )
        Button(
            actions::explain,
            Modifier.fillMaxWidth().heightIn(min = 48.dp),
            enabled = explain.text.isNotBlank() && !explain.busy,
        ) { Text(stringResource(if (explain.busy) R.string.explain_busy else R.string.explain_go)) }
        explain.error?.let { ProblemPanel(it) }
        explain.answer?.let { Answer(it) }
    }
}

@Composable
private fun Answer(answer: Explanation) {
    val words = answer.route.words()
    Panel(answer.route.ink(), Modifier.semantics { liveRegion = LiveRegionMode.Polite }) {
        Row(horizontalArrangement = Arrangement.spacedBy(12.dp), verticalAlignment = Alignment.CenterVertically) {
            Icon(painterResource(answer.route.icon()), null, Modifier.size(32.dp))
            Text(stringResource(words.short), style = MaterialTheme.typography.titleLarge)
        }
        Text(stringResource(words.more, answer.input), style = MaterialTheme.typography.bodyLarge)
    }
    answer.resolver?.let { Lines(stringResource(R.string.explain_who), listOf(it.sentence())) }
    if (answer.reasons.isNotEmpty()) Lines(stringResource(R.string.explain_why), answer.reasons)
}

@Composable
private fun Lines(
    title: String,
    lines: List<String>,
) {
    Panel {
        PartTitle(title)
        lines.forEach { Text(it, style = MaterialTheme.typography.bodyMedium) }
    }
}

private fun Route.words(): Words =
    when (this) {
        Route.Inside -> Words(R.string.explain_inside, R.string.explain_inside_text)
        Route.Outside -> Words(R.string.explain_outside, R.string.explain_outside_text)
        Route.Blocked -> Words(R.string.explain_blocked, R.string.explain_blocked_text)
        Route.Unknown -> Words(R.string.explain_unknown, R.string.explain_unknown_text)
    }

private fun Route.icon(): Int =
    when (this) {
        Route.Inside -> R.drawable.ic_shield
        Route.Outside -> R.drawable.ic_shield_off
        Route.Blocked -> R.drawable.ic_blocked
        Route.Unknown -> R.drawable.ic_search
    }

@Composable
private fun Route.ink(): Ink =
    when (this) {
        Route.Inside -> LocalTones.current.good
        Route.Outside, Route.Blocked -> LocalTones.current.care
        Route.Unknown -> Ink(MaterialTheme.colorScheme.surfaceContainer, MaterialTheme.colorScheme.onSurface)
    }
