package org.weft.app.ui

import androidx.compose.animation.core.animateFloatAsState
import androidx.compose.foundation.background
import androidx.compose.foundation.border
import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Box
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.height
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.layout.size
import androidx.compose.foundation.layout.width
import androidx.compose.foundation.selection.toggleable
import androidx.compose.foundation.shape.CircleShape
import androidx.compose.material3.Icon
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.runtime.getValue
import androidx.compose.ui.Alignment
import androidx.compose.ui.BiasAlignment
import androidx.compose.ui.Modifier
import androidx.compose.ui.draw.clip
import androidx.compose.ui.res.painterResource
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.semantics.Role
import androidx.compose.ui.semantics.contentDescription
import androidx.compose.ui.semantics.semantics
import androidx.compose.ui.semantics.stateDescription
import androidx.compose.ui.text.style.TextAlign
import androidx.compose.ui.unit.dp
import org.weft.app.R

/** The one switch of the app, large enough for a thumb; [locked] by the administrator, it only tells. */
@Composable
fun BigSwitch(
    on: Boolean,
    locked: Boolean,
    enabled: Boolean,
    onSwitch: (Boolean) -> Unit,
) {
    val label = stringResource(R.string.switch_label)
    val told = stringResource(if (on) R.string.switch_on else R.string.switch_off)
    Column(
        Modifier.fillMaxWidth(),
        Arrangement.spacedBy(8.dp),
        Alignment.CenterHorizontally,
    ) {
        Box(
            Modifier
                .clip(CircleShape)
                .toggleable(on, enabled && !(locked && on), Role.Switch, onValueChange = onSwitch)
                .semantics {
                    contentDescription = label
                    stateDescription = told
                },
        ) { Track(on, enabled && !(locked && on)) }
        val hint =
            when {
                locked && on -> R.string.switch_locked
                on -> R.string.switch_to_off
                else -> R.string.switch_to_on
            }
        Text(
            stringResource(hint),
            color = MaterialTheme.colorScheme.onSurfaceVariant,
            style = MaterialTheme.typography.bodyMedium,
            textAlign = TextAlign.Center,
        )
    }
}

@Composable
private fun Track(
    on: Boolean,
    enabled: Boolean,
) {
    val colours = MaterialTheme.colorScheme
    val place by animateFloatAsState(if (on) 1f else -1f, label = "switch")
    val track = if (on) colours.primary else colours.surfaceContainerHighest
    val thumb = if (on) colours.onPrimary else colours.outline
    val edge = if (on) colours.primary else colours.outline
    Box(
        Modifier
            .width(120.dp)
            .height(64.dp)
            .background(track.copy(alpha = if (enabled) 1f else DIMMED), CircleShape)
            .border(2.dp, edge.copy(alpha = if (enabled) 1f else DIMMED), CircleShape)
            .padding(8.dp),
        BiasAlignment(place, 0f),
    ) {
        Box(Modifier.size(48.dp).background(thumb, CircleShape), Alignment.Center) {
            Icon(
                painterResource(if (on) R.drawable.ic_shield else R.drawable.ic_shield_off),
                null,
                tint = if (on) colours.primary else colours.surfaceContainerHighest,
            )
        }
    }
}

private const val DIMMED = 0.5f
