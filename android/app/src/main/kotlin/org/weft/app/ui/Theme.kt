package org.weft.app.ui

import androidx.compose.foundation.isSystemInDarkTheme
import androidx.compose.material3.ColorScheme
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.darkColorScheme
import androidx.compose.material3.lightColorScheme
import androidx.compose.runtime.Composable
import androidx.compose.runtime.CompositionLocalProvider
import androidx.compose.runtime.Immutable
import androidx.compose.runtime.staticCompositionLocalOf
import androidx.compose.ui.graphics.Color

/** A background and what is written on it. */
@Immutable
data class Ink(
    val background: Color,
    val text: Color,
)

/** What Material has no role for: calm for "connected", and care for "blocked". */
@Immutable
data class Tones(
    val good: Ink,
    val care: Ink,
)

internal val lightTones =
    Tones(
        good = Ink(Color(0xFFB9F0C4), Color(0xFF00210B)),
        care = Ink(Color(0xFFFFDF9E), Color(0xFF261A00)),
    )

internal val darkTones =
    Tones(
        good = Ink(Color(0xFF0F4A25), Color(0xFFB9F0C4)),
        care = Ink(Color(0xFF5B4300), Color(0xFFFFE6B5)),
    )

internal val lightColours =
    lightColorScheme(
        primary = Color(0xFF00626F),
        onPrimary = Color(0xFFFFFFFF),
        primaryContainer = Color(0xFFB2EBF5),
        onPrimaryContainer = Color(0xFF001F25),
        secondary = Color(0xFF4A6267),
        onSecondary = Color(0xFFFFFFFF),
        secondaryContainer = Color(0xFFCDE7ED),
        onSecondaryContainer = Color(0xFF051F23),
        tertiary = Color(0xFF2C6A3F),
        onTertiary = Color(0xFFFFFFFF),
        error = Color(0xFFBA1A1A),
        onError = Color(0xFFFFFFFF),
        errorContainer = Color(0xFFFFDAD6),
        onErrorContainer = Color(0xFF410002),
        background = Color(0xFFF5FAFC),
        onBackground = Color(0xFF171D1E),
        surface = Color(0xFFF5FAFC),
        onSurface = Color(0xFF171D1E),
        surfaceVariant = Color(0xFFDBE4E7),
        onSurfaceVariant = Color(0xFF3F484B),
        outline = Color(0xFF6F797B),
        outlineVariant = Color(0xFFBFC8CB),
        surfaceContainerLowest = Color(0xFFFFFFFF),
        surfaceContainerLow = Color(0xFFEFF5F6),
        surfaceContainer = Color(0xFFE9EFF1),
        surfaceContainerHigh = Color(0xFFE3E9EB),
        surfaceContainerHighest = Color(0xFFDEE3E5),
    )

internal val darkColours =
    darkColorScheme(
        primary = Color(0xFF84D2E1),
        onPrimary = Color(0xFF00363E),
        primaryContainer = Color(0xFF004E59),
        onPrimaryContainer = Color(0xFFB2EBF5),
        secondary = Color(0xFFB1CBD1),
        onSecondary = Color(0xFF1C3438),
        secondaryContainer = Color(0xFF334A4F),
        onSecondaryContainer = Color(0xFFCDE7ED),
        tertiary = Color(0xFF97D5A2),
        onTertiary = Color(0xFF003917),
        error = Color(0xFFFFB4AB),
        onError = Color(0xFF690005),
        errorContainer = Color(0xFF7A1014),
        onErrorContainer = Color(0xFFFFDAD6),
        background = Color(0xFF0E1415),
        onBackground = Color(0xFFDEE3E5),
        surface = Color(0xFF0E1415),
        onSurface = Color(0xFFDEE3E5),
        surfaceVariant = Color(0xFF3F484B),
        onSurfaceVariant = Color(0xFFBFC8CB),
        outline = Color(0xFF899295),
        outlineVariant = Color(0xFF3F484B),
        surfaceContainerLowest = Color(0xFF090F10),
        surfaceContainerLow = Color(0xFF171D1E),
        surfaceContainer = Color(0xFF1B2122),
        surfaceContainerHigh = Color(0xFF252B2C),
        surfaceContainerHighest = Color(0xFF303637),
    )

internal val LocalTones = staticCompositionLocalOf { lightTones }

@Composable
fun WeftTheme(
    dark: Boolean = isSystemInDarkTheme(),
    content: @Composable () -> Unit,
) {
    val colours: ColorScheme = if (dark) darkColours else lightColours
    CompositionLocalProvider(LocalTones provides if (dark) darkTones else lightTones) {
        MaterialTheme(colours, content = content)
    }
}
