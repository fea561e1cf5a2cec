package org.weft.app.ui

import androidx.compose.foundation.layout.Box
import androidx.compose.foundation.layout.aspectRatio
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.heightIn
import androidx.compose.foundation.shape.RoundedCornerShape
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.OutlinedButton
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.ui.Modifier
import androidx.compose.ui.draw.clip
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.semantics.contentDescription
import androidx.compose.ui.semantics.semantics
import androidx.compose.ui.unit.dp
import org.weft.app.R
import org.weft.app.state.Actions

@Composable
fun ScanScreen(
    actions: Actions,
    scanner: @Composable () -> Unit,
) {
    val preview = stringResource(R.string.scan_preview)
    Page(stringResource(R.string.scan_title), actions::back) {
        Text(stringResource(R.string.scan_text), style = MaterialTheme.typography.bodyLarge)
        Box(
            Modifier
                .fillMaxWidth()
                .aspectRatio(3f / 4f)
                .clip(RoundedCornerShape(20.dp))
                .semantics { contentDescription = preview },
        ) { scanner() }
        OutlinedButton(actions::back, Modifier.fillMaxWidth().heightIn(min = 48.dp)) {
            Text(stringResource(R.string.enrol_or))
        }
    }
}
