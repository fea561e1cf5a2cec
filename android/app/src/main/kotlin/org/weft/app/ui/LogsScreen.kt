package org.weft.app.ui

import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.heightIn
import androidx.compose.foundation.text.selection.SelectionContainer
import androidx.compose.material3.Button
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.ui.Modifier
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.text.font.FontFamily
import androidx.compose.ui.unit.dp
import org.weft.app.R
import org.weft.app.state.Actions

/** The newest lines that are drawn: the core keeps more, and the share holds them all. */
private const val SHOWN = 200

@Composable
fun LogsScreen(
    lines: List<String>,
    actions: Actions,
) {
    Page(stringResource(R.string.logs_title), actions::back) {
        Text(stringResource(R.string.logs_text), style = MaterialTheme.typography.bodyLarge)
        Button(
            actions::shareLog,
            Modifier.fillMaxWidth().heightIn(min = 48.dp),
            enabled = lines.isNotEmpty(),
        ) {
            IconAndText(R.drawable.ic_share, stringResource(R.string.logs_share))
        }
        if (lines.isEmpty()) {
            Text(stringResource(R.string.logs_empty), style = MaterialTheme.typography.bodyMedium)
        } else {
            SelectionContainer {
                Panel {
                    lines.takeLast(SHOWN).forEach {
                        Text(it, style = MaterialTheme.typography.bodySmall, fontFamily = FontFamily.Monospace)
                    }
                }
            }
        }
    }
}
