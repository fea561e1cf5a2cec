package org.weft.app

import android.Manifest
import android.app.Activity
import android.app.Application
import android.content.Intent
import android.content.RestrictionsManager
import android.net.Uri
import android.net.VpnService
import android.os.Bundle
import android.os.Looper
import androidx.core.content.FileProvider
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowVpnService
import org.weft.tunnel.Tunnel
import org.weft.tunnel.WeftVpnService
import java.io.File
import java.time.Duration

/** The app's own activity over the real core: what the user types goes through the core's rules and back. */
@RunWith(RobolectricTestRunner::class)
@Config(qualifiers = "w360dp-h640dp-hdpi", application = TestApplication::class)
class RealCoreTest {
    private val application: Application = RuntimeEnvironment.getApplication()

    private var opened: ActivityController<MainActivity>? = null

    @Before
    fun begin() = forgotten(application)

    @After
    fun end() {
        val looper = shadowOf(Looper.getMainLooper())
        looper.idleFor(Duration.ofSeconds(1))
        opened?.close()
        Tunnel.of(application).close()
        // Compose has one dispatcher in a process: a frame that it still waits for would never come in the next test.
        looper.idleFor(Duration.ofSeconds(1))
    }

    private fun open(intent: Intent = Intent(Intent.ACTION_MAIN)): Stage {
        val full = Intent(intent).setClass(application, MainActivity::class.java)
        val controller = Robolectric.buildActivity(MainActivity::class.java, full).setup()
        opened = controller
        return Stage(controller.get())
    }

    private fun Stage.shows(vararg texts: String) {
        eventually({ "${texts.toList()} among ${texts()}" }) {
            frame()
            val shown = texts()
            texts.all { text -> shown.any { text in it } }
        }
    }

    private fun link(text: String) = Intent(Intent.ACTION_VIEW, Uri.parse(text))

    @Test
    fun aDeviceThatNobodyHasSetUp() {
        val stage = open()
        stage.shows("Join your organisation")
        stage.tap("Set up this device")
        stage.type("weft://enrol?url=https%3A%2F%2Fgateway.example%3A8443&token=t0k")
        stage.tap("Continue")
        stage.shows("Join gateway.example:8443?", "public authorities")
        assertFalse("the token is shown", stage.texts().any { "t0k" in it })
    }

    @Test
    fun aLinkOpensTheQuestion() {
        val fingerprint = "5f1c".repeat(16)
        val stage = open(link("https://gateway.example/enrol#token=t0k&ca=$fingerprint&name=Anna"))
        stage.shows("Join gateway.example?", "5f1c 5f1c", "Anna")
    }

    @Test
    fun aLinkThatIsNoneSaysWhy() {
        val stage = open(link("weft://enrol?url=http://gateway.example&token=t0k"))
        stage.shows("This is no enrolment link.", "For a report:")
        assertFalse("the token is shown", stage.texts().any { "t0k" in it })
    }

    @Test
    fun aDeviceThatHasJoined() {
        joined(application)
        val stage = open()
        stage.shows("Off", "gateway.example", "Staff", "Tap to connect")
        stage.tap("Settings")
        stage.shows("Names only", "Split tunnel", "your organisation")
    }

    @Test
    fun namesAreExplainedByTheRulesInForce() {
        joined(application)
        val stage = open()
        stage.shows("Off")
        stage.tap("Where does a name go?")
        stage.type("https://wiki.corp.example/page")
        stage.tap("Explain")
        stage.shows("Through the tunnel", "wiki.corp.example", "10.0.0.53", "*.corp.example")
        stage.type("elsewhere.example")
        stage.tap("Explain")
        stage.shows("By its address", "Your organisation's gateway.", "The gateway answers")
        stage.type("wiki..example")
        stage.tap("Explain")
        stage.shows("This is no name and no address.")
    }

    @Test
    fun switchingOnStartsTheServiceOnceTheSystemAgrees() {
        joined(application)
        shadowOf(application).grantPermissions(Manifest.permission.POST_NOTIFICATIONS)
        val stage = open()
        stage.shows("Off")
        ShadowVpnService.setPrepareResult(Intent("ask the user"))
        stage.tap("Connection")
        val asked = shadowOf(stage.activity).nextStartedActivityForResult
        assertEquals("ask the user", asked.intent.action)
        shadowOf(stage.activity).receiveResult(asked.intent, Activity.RESULT_CANCELED, null)
        stage.shows("Android has not been told that Weft may connect.", "Off")
        stage.tap("Connection")
        val again = shadowOf(stage.activity).nextStartedActivityForResult
        ShadowVpnService.setPrepareResult(null)
        shadowOf(stage.activity).receiveResult(again.intent, Activity.RESULT_OK, null)
        stage.idle()
        val started = shadowOf(application).nextStartedService
        assertEquals(WeftVpnService::class.java.name, started.component?.className)
        assertEquals(WeftVpnService.ACTION_CONNECT, started.action)
        assertFalse(VpnService.SERVICE_INTERFACE == started.action)
    }

    @Test
    fun aSystemThatCannotAskForConsentIsToldOfAndNoCrash() {
        joined(application)
        val stage = open()
        stage.shows("Off")
        ShadowVpnService.setPrepareResult(Intent("a page that this system lacks"))
        shadowOf(application).checkActivities(true)
        stage.tap("Connection")
        stage.shows("Android has not been told that Weft may connect.", "Off")
    }

    @Test
    fun aManagedConfigurationThatCannotBeIsSeenBeforeTheDeviceIsSetUp() {
        val set = Bundle().apply { putString("switch_locked", "true") }
        shadowOf(application.getSystemService(RestrictionsManager::class.java)).setApplicationRestrictions(set)
        open().shows("Join your organisation", "counts as nothing set: switch_locked must be true or false")
    }

    @Test
    fun aLogThatWasHandedOutIsForgotten() {
        val shared = File(application.cacheDir, "shared/weft-log.txt")
        assertTrue(shared.parentFile!!.mkdirs() && shared.createNewFile())
        LogShare.forget(application)
        assertFalse(shared.exists())
    }

    @Test
    fun theLogIsHandedOutAsAFile() {
        val intent = LogShare.intent(application, listOf("one", "two"))
        assertEquals(Intent.ACTION_CHOOSER, intent.action)
        @Suppress("DEPRECATION")
        val send = checkNotNull(intent.getParcelableExtra<Intent>(Intent.EXTRA_INTENT))

        @Suppress("DEPRECATION")
        val uri = checkNotNull(send.getParcelableExtra<Uri>(Intent.EXTRA_STREAM))
        assertEquals("org.weft.android.files", uri.authority)
        assertTrue(send.flags and Intent.FLAG_GRANT_READ_URI_PERMISSION != 0)
        val read = application.contentResolver.openInputStream(uri)!!.bufferedReader().use { it.readText() }
        assertEquals("one\ntwo\n", read)
        val secrets = application.noBackupFilesDir
        val lent = runCatching { FileProvider.getUriForFile(application, "org.weft.android.files", secrets) }
        assertTrue("the provider lends more than the log", lent.isFailure)
    }
}
