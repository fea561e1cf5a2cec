package org.weft.app

import android.content.Context
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.weft.app.state.ProblemKind
import org.weft.app.ui.words

/** Whatever is wrong, the user reads what, and what to do, in words of their own language. */
@RunWith(RobolectricTestRunner::class)
class WordsTest {
    private val context: Context = RuntimeEnvironment.getApplication()

    @Test
    fun everyProblemHasWordsAndAdvice() {
        val all = ProblemKind.entries.map { it.words() }
        assertEquals("two problems share their words", all.size, all.map { it.short }.toSet().size)
        ProblemKind.entries.forEach { kind ->
            val what = context.getString(kind.words().short)
            val advice = context.getString(kind.words().more)
            assertTrue("$kind: $what", what.endsWith(".") && advice.endsWith("."))
            assertFalse("$kind says the same twice", what == advice)
            // Words of the machine's are for the report below.
            listOf("TUN", "descriptor", "session", "weftd", "null", "registration").forEach {
                assertFalse("$kind: $it", it in what || it in advice)
            }
        }
    }
}
