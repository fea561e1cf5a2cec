package org.weft.app

import androidx.compose.material3.ColorScheme
import androidx.compose.ui.graphics.Color
import androidx.compose.ui.graphics.luminance
import org.junit.Assert.assertTrue
import org.junit.Test
import org.weft.app.ui.Tones
import org.weft.app.ui.darkColours
import org.weft.app.ui.darkTones
import org.weft.app.ui.lightColours
import org.weft.app.ui.lightTones

/** People who see little can read it: text at least 4.5 to 1 (WCAG 2.2, 1.4.3), shapes 3 to 1 (1.4.11). */
class ThemeTest {
    private fun contrast(
        one: Color,
        other: Color,
    ): Float {
        val (low, high) = listOf(one.luminance(), other.luminance()).sorted()
        return (high + 0.05f) / (low + 0.05f)
    }

    private fun check(
        scheme: ColorScheme,
        tones: Tones,
    ) {
        val texts =
            listOf(
                "page" to (scheme.background to scheme.onBackground),
                "panel" to (scheme.surfaceContainer to scheme.onSurface),
                "second line" to (scheme.surfaceContainer to scheme.onSurfaceVariant),
                "hint" to (scheme.background to scheme.onSurfaceVariant),
                "title of a part" to (scheme.background to scheme.primary),
                "title in a panel" to (scheme.surfaceContainer to scheme.primary),
                "button" to (scheme.primary to scheme.onPrimary),
                "under way" to (scheme.secondaryContainer to scheme.onSecondaryContainer),
                "error" to (scheme.errorContainer to scheme.onErrorContainer),
                "good" to (tones.good.background to tones.good.text),
                "care" to (tones.care.background to tones.care.text),
            )
        texts.forEach { (name, pair) ->
            val found = contrast(pair.first, pair.second)
            assertTrue("$name: $found", found >= 4.5f)
        }
        val shapes =
            listOf(
                "the switch's edge" to (scheme.background to scheme.outline),
                "the switch when on" to (scheme.background to scheme.primary),
            )
        shapes.forEach { (name, pair) ->
            val found = contrast(pair.first, pair.second)
            assertTrue("$name: $found", found >= 3f)
        }
    }

    @Test
    fun light() = check(lightColours, lightTones)

    @Test
    fun dark() = check(darkColours, darkTones)
}
