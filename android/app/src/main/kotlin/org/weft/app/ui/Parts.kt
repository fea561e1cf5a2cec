package org.weft.app.ui

import androidx.annotation.DrawableRes
import androidx.compose.foundation.BorderStroke
import androidx.compose.foundation.background
import androidx.compose.foundation.clickable
import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Box
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.ColumnScope
import androidx.compose.foundation.layout.Row
import androidx.compose.foundation.layout.WindowInsets
import androidx.compose.foundation.layout.fillMaxSize
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.heightIn
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.layout.safeDrawing
import androidx.compose.foundation.layout.size
import androidx.compose.foundation.layout.widthIn
import androidx.compose.foundation.layout.windowInsetsPadding
import androidx.compose.foundation.rememberScrollState
import androidx.compose.foundation.shape.RoundedCornerShape
import androidx.compose.foundation.verticalScroll
import androidx.compose.material3.ButtonDefaults
import androidx.compose.material3.Icon
import androidx.compose.material3.IconButton
import androidx.compose.material3.LocalContentColor
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.OutlinedButton
import androidx.compose.material3.Surface
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.ui.Alignment
import androidx.compose.ui.Modifier
import androidx.compose.ui.draw.clip
import androidx.compose.ui.res.painterResource
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.semantics.LiveRegionMode
import androidx.compose.ui.semantics.Role
import androidx.compose.ui.semantics.heading
import androidx.compose.ui.semantics.liveRegion
import androidx.compose.ui.semantics.semantics
import androidx.compose.ui.unit.dp
import org.weft.app.R
import org.weft.app.state.Problem

/** The widest that text is set: lines beyond it are hard to read on a tablet or a Chromebook. */
private val widest = 640.dp
private val corner = RoundedCornerShape(20.dp)

/**
 * A page: its title and what is below it scroll together, so that nothing is cut at any font size. [onBack] null: the
 * first page.
 */
@Composable
fun Page(
    title: String,
    onBack: (() -> Unit)?,
    content: @Composable ColumnScope.() -> Unit,
) {
    Surface(Modifier.fillMaxSize(), color = MaterialTheme.colorScheme.background) {
        Box(Modifier.windowInsetsPadding(WindowInsets.safeDrawing), Alignment.TopCenter) {
            Column(
                Modifier
                    .widthIn(max = widest)
                    .fillMaxSize()
                    .verticalScroll(rememberScrollState())
                    .padding(horizontal = 20.dp, vertical = 12.dp),
                Arrangement.spacedBy(16.dp),
            ) {
                PageHead(title, onBack)
                content()
            }
        }
    }
}

@Composable
private fun PageHead(
    title: String,
    onBack: (() -> Unit)?,
) {
    Row(verticalAlignment = Alignment.CenterVertically, horizontalArrangement = Arrangement.spacedBy(4.dp)) {
        if (onBack != null) {
            IconButton(onBack) { Icon(painterResource(R.drawable.ic_back), stringResource(R.string.back)) }
        } else {
            Icon(
                painterResource(R.drawable.ic_weft),
                null,
                Modifier.padding(end = 4.dp).size(32.dp),
                MaterialTheme.colorScheme.primary,
            )
        }
        Text(
            title,
            Modifier.padding(vertical = 8.dp).semantics { heading() },
            color = MaterialTheme.colorScheme.onBackground,
            style = MaterialTheme.typography.headlineSmall,
        )
    }
}

/** A rounded area that holds what belongs together. */
@Composable
fun Panel(
    ink: Ink = Ink(MaterialTheme.colorScheme.surfaceContainer, MaterialTheme.colorScheme.onSurface),
    modifier: Modifier = Modifier,
    content: @Composable ColumnScope.() -> Unit,
) {
    Surface(modifier.fillMaxWidth(), corner, ink.background, ink.text) {
        Column(Modifier.padding(20.dp), Arrangement.spacedBy(8.dp), content = content)
    }
}

/** The title of a part of a page. */
@Composable
fun PartTitle(text: String) {
    Text(
        text,
        Modifier.semantics { heading() },
        color = MaterialTheme.colorScheme.primary,
        style = MaterialTheme.typography.titleSmall,
    )
}

/** A line that leads somewhere. */
@Composable
fun NavigationLine(
    @DrawableRes icon: Int,
    title: String,
    text: String,
    enabled: Boolean = true,
    onClick: () -> Unit,
) {
    val colours = MaterialTheme.colorScheme
    Row(
        Modifier
            .fillMaxWidth()
            .clip(corner)
            .clickable(enabled, role = Role.Button, onClick = onClick)
            .background(colours.surfaceContainer)
            .heightIn(min = 64.dp)
            .padding(horizontal = 20.dp, vertical = 12.dp),
        Arrangement.spacedBy(16.dp),
        Alignment.CenterVertically,
    ) {
        Icon(painterResource(icon), null, tint = if (enabled) colours.primary else colours.onSurfaceVariant)
        Column(Modifier.weight(1f)) {
            Text(title, color = colours.onSurface, style = MaterialTheme.typography.titleMedium)
            Text(text, color = colours.onSurfaceVariant, style = MaterialTheme.typography.bodyMedium)
        }
        if (enabled) Icon(painterResource(R.drawable.ic_next), null, tint = colours.onSurfaceVariant)
    }
}

/** A name and a value below each other: side by side they would not fit in large type. */
@Composable
fun Fact(
    name: String,
    value: String,
) {
    Column(Modifier.fillMaxWidth().semantics(mergeDescendants = true) {}) {
        Text(name, style = MaterialTheme.typography.labelMedium)
        Text(value, style = MaterialTheme.typography.bodyLarge)
    }
}

/** What a button with an icon holds. */
@Composable
fun IconAndText(
    @DrawableRes icon: Int,
    text: String,
) {
    Icon(painterResource(icon), null, Modifier.padding(end = ButtonDefaults.IconSpacing))
    Text(text)
}

/** A button on a panel, in the panel's own colour. */
@Composable
fun PanelButton(
    text: String,
    onClick: () -> Unit,
) {
    val colour = LocalContentColor.current
    OutlinedButton(
        onClick,
        Modifier.heightIn(min = 48.dp),
        colors = ButtonDefaults.outlinedButtonColors(contentColor = colour),
        border = BorderStroke(1.dp, colour),
    ) { Text(text) }
}

/** What is wrong, what to do, and the core's own line; read out as soon as it appears. */
@Composable
fun ProblemPanel(problem: Problem) {
    Panel(
        Ink(MaterialTheme.colorScheme.errorContainer, MaterialTheme.colorScheme.onErrorContainer),
        Modifier.semantics(mergeDescendants = true) { liveRegion = LiveRegionMode.Polite },
    ) { ProblemText(problem) }
}

/** The text of a problem, for a panel that says more. */
@Composable
fun ProblemText(problem: Problem) {
    Text(problem.title(), style = MaterialTheme.typography.titleMedium)
    Text(stringResource(problem.kind.words().more), style = MaterialTheme.typography.bodyMedium)
    problem.report()?.let {
        Text(stringResource(R.string.home_report, it), style = MaterialTheme.typography.bodySmall)
    }
}
