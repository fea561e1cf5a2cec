package org.weft.app

import android.graphics.Bitmap
import android.graphics.Canvas
import android.os.Looper
import android.view.View
import android.view.ViewGroup
import androidx.activity.ComponentActivity
import androidx.activity.compose.setContent
import androidx.compose.runtime.mutableStateOf
import androidx.compose.ui.node.RootForTest
import androidx.compose.ui.semantics.SemanticsActions
import androidx.compose.ui.semantics.SemanticsNode
import androidx.compose.ui.semantics.SemanticsProperties
import androidx.compose.ui.semantics.getOrNull
import androidx.compose.ui.text.AnnotatedString
import androidx.compose.ui.text.TextLayoutResult
import org.robolectric.Robolectric
import org.robolectric.Shadows.shadowOf
import org.weft.app.state.Actions
import org.weft.app.state.AppState
import org.weft.app.ui.App
import org.weft.app.ui.WeftTheme
import java.io.File
import java.time.Duration

/** A screen on a phone: what it shows, what can be touched, and its picture. */
class Stage(
    val activity: ComponentActivity,
) {
    private val window: View get() = activity.window.decorView

    /** Everything that a screen reader finds, in its order; [merged] as it reads it, else each piece by itself. */
    fun nodes(merged: Boolean = true): List<SemanticsNode> {
        idle()
        val owner = checkNotNull(compose(window)) { "nothing is drawn by Compose" }.semanticsOwner
        val first = if (merged) owner.rootSemanticsNode else owner.unmergedRootSemanticsNode
        return below(first)
    }

    /** The texts on the screen, those of fields too. */
    fun texts(): List<String> = nodes(merged = false).flatMap(::textsOf)

    fun node(text: String): SemanticsNode =
        nodes().firstOrNull { text in textsOf(it) || text in labelsOf(it) }
            ?: throw AssertionError("no “$text” among ${nodes().flatMap { textsOf(it) + labelsOf(it) }}")

    fun tap(text: String) {
        val node = node(text)
        // What is disabled still names its action.
        if (node.config.getOrNull(SemanticsProperties.Disabled) != null) throw AssertionError("“$text” is disabled")
        val click = node.config.getOrNull(SemanticsActions.OnClick)?.action
        checkNotNull(click) { "“$text” cannot be tapped" }()
        idle()
    }

    /** Types into the only field. */
    fun type(text: String) {
        val field = nodes(merged = false).single { it.config.getOrNull(SemanticsActions.SetText) != null }
        checkNotNull(field.config[SemanticsActions.SetText].action)(AnnotatedString(text))
        idle()
    }

    /** How far the page scrolls, in pixels. */
    fun scrollable(): Float =
        nodes()
            .mapNotNull { it.config.getOrNull(SemanticsProperties.VerticalScrollAxisRange) }
            .maxOfOrNull { it.maxValue() } ?: 0f

    val width: Int get() = window.width

    val height: Int get() = window.height

    fun px(dp: Int): Float = dp * activity.resources.displayMetrics.density

    /** The picture, which is also left in the folder of screens as [name].png. */
    fun photograph(name: String): Bitmap {
        idle()
        val bitmap = Bitmap.createBitmap(width, height, Bitmap.Config.ARGB_8888)
        window.draw(Canvas(bitmap))
        val folder = File(System.getProperty("weft.screens") ?: "build/screens").apply { mkdirs() }
        File(folder, "$name.png").outputStream().use { bitmap.compress(Bitmap.CompressFormat.PNG, 100, it) }
        return bitmap
    }

    fun idle() = shadowOf(Looper.getMainLooper()).idle()

    /** Lets the clock of the screen go on by a frame: without it, what other threads have changed is not drawn. */
    fun frame() = shadowOf(Looper.getMainLooper()).idleFor(Duration.ofMillis(FRAME))

    companion object {
        private const val FRAME = 17L

        /** The screens, drawn from [state]. */
        fun of(
            state: AppState,
            actions: Actions,
        ): Stage {
            val activity = Robolectric.buildActivity(ComponentActivity::class.java).setup().get()
            val shown = mutableStateOf(state)
            activity.setContent { WeftTheme { App(shown.value, actions) {} } }
            return Stage(activity).apply { idle() }
        }

        fun textsOf(node: SemanticsNode): List<String> =
            node.config.getOrNull(SemanticsProperties.Text).orEmpty().map { it.text } +
                listOfNotNull(node.config.getOrNull(SemanticsProperties.EditableText)?.text)

        fun labelsOf(node: SemanticsNode): List<String> =
            node.config.getOrNull(SemanticsProperties.ContentDescription).orEmpty()

        fun layoutOf(node: SemanticsNode): TextLayoutResult? {
            val results = mutableListOf<TextLayoutResult>()
            node.config.getOrNull(SemanticsActions.GetTextLayoutResult)?.action?.invoke(results)
            return results.firstOrNull()
        }

        private fun below(node: SemanticsNode): List<SemanticsNode> = listOf(node) + node.children.flatMap(::below)

        private fun compose(view: View): RootForTest? =
            when (view) {
                is RootForTest -> view
                is ViewGroup -> (0 until view.childCount).firstNotNullOfOrNull { compose(view.getChildAt(it)) }
                else -> null
            }
    }
}
