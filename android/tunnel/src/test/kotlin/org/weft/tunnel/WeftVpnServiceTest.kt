package org.weft.tunnel

import android.app.Application
import android.app.NotificationManager
import android.app.Service
import android.content.Intent
import android.content.RestrictionsManager
import android.content.pm.ServiceInfo
import android.net.VpnService
import android.os.Bundle
import android.os.Looper
import kotlinx.coroutines.runBlocking
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ServiceController
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowVpnService
import org.weft.core.State
import org.weft.core.WeftException
import java.io.File
import javax.crypto.spec.SecretKeySpec

/** The life of the service, with the real core in the same process. */
@RunWith(RobolectricTestRunner::class)
@Config(application = TestApplication::class, shadows = [ShadowBuilder::class, ShadowVpn::class])
class WeftVpnServiceTest {
    @get:Rule
    val temporary = TemporaryFolder()

    private val application get() = RuntimeEnvironment.getApplication() as TestApplication
    private val tunnel get() = Tunnel.of(application)
    private val wanted get() = File(application.folder, "wanted").exists()

    @Before
    fun begin() {
        FakeSystem.reset()
        application.folder = temporary.newFolder()
        ShadowVpnService.setPrepareResult(null)
    }

    @After
    fun end() = tunnel.close()

    private fun start(intent: Intent?): ServiceController<WeftVpnService> =
        Robolectric.buildService(WeftVpnService::class.java, intent).create().also { controller ->
            controller.get().let { result = it.onStartCommand(intent, 0, 1) }
        }

    private var result = 0

    /** Looks again and again, for the core answers from threads of its own. */
    private fun eventually(
        what: String,
        holds: () -> Boolean,
    ) {
        val end = System.nanoTime() + PATIENCE_NS
        while (!holds()) {
            check(System.nanoTime() < end) { "never: $what; ${tunnel.state.value}" }
            shadowOf(Looper.getMainLooper()).idle()
            Thread.onSpinWait()
        }
    }

    /** The device is registered with a gateway that nobody runs. */
    private fun register(
        profile: String,
        registration: String = REGISTRATION,
    ) {
        val options = application.tunnelOptions
        val state = """{"registration":$registration,"profile":$profile}"""
        SecretStore(File(options.folder, "secrets"), options.keys).store("state", state.toByteArray())
    }

    @Test
    fun aRevokedTunnelEndsWhereTheSwitchIsLockedToo() {
        register("""{"switch_locked":true,"auto_connect":5}""")
        val service = start(Intent(WeftVpnService.ACTION_CONNECT)).get()
        eventually("it connects") { tunnel.state.value.status?.state == State.CONNECTING }
        assertThrows(WeftException.Forbidden::class.java) { runBlocking { tunnel.disconnect() } }
        assertTrue(wanted)
        service.onRevoke()
        eventually("the core has ended its connection") { tunnel.state.value.isDown && !wanted }
        assertEquals(TunnelProblem.Revoked, tunnel.state.value.problem)
        assertTrue(tunnel.state.value.status!!.timers.isEmpty())
    }

    /** The tunnel is to be up, and the core ends of itself. */
    private fun withoutCore(profile: String): WeftVpnService {
        register(profile)
        FakeSystem.establish = { Libc.pipe() }
        val service = start(Intent(WeftVpnService.ACTION_CONNECT)).get()
        eventually("an interface is made") { FakeSystem.built.isNotEmpty() && tunnel.state.value.settings != null }
        runBlocking { tunnel.core().shutdown() }
        eventually("the end is told") { tunnel.state.value.problem is TunnelProblem.CoreFailed }
        return service
    }

    @Test
    fun whatWasTunnelledStaysBlockedOnceTheCoreHasEnded() {
        val service = withoutCore("{}")
        assertTrue(tunnel.state.value.blocked && wanted)
        assertFalse(tunnel.state.value.isDown)
        assertFalse("the interface would go with it", shadowOf(service).isStoppedBySelf)
        runBlocking { tunnel.disconnect() }
        assertFalse(tunnel.state.value.blocked || wanted)
        assertTrue(shadowOf(service).isStoppedBySelf)
    }

    @Test
    fun aLockedSwitchStaysLockedOnceTheCoreHasEnded() {
        val service = withoutCore("""{"switch_locked":true}""")
        assertThrows(WeftException.Forbidden::class.java) { runBlocking { tunnel.disconnect() } }
        assertTrue(tunnel.state.value.blocked && wanted)
        service.onRevoke()
        eventually("nothing is left") { !tunnel.state.value.blocked && !wanted }
    }

    @Test
    fun aTunnelThatIsClosedWhileItComesUpAsksNothingOfACoreThatIsGone() {
        register("{}")
        repeat(CLOSED) {
            start(Intent(WeftVpnService.ACTION_CONNECT))
            val closed = tunnel
            closed.close()
            val problem = closed.state.value.problem
            assertFalse("$problem", problem is TunnelProblem.CoreFailed)
        }
    }

    @Test
    fun aPlanThatWaitsForARefusedServiceIsAnswered() {
        register("{}")
        val first = start(Intent(WeftVpnService.ACTION_CONNECT))
        eventually("the plan has failed") { tunnel.state.value.status?.error?.code == "plan_failed" }
        first.destroy()
        // The next attempt finds no service and starts one, which the system does not let into the foreground.
        eventually("a service is asked for") { shadowOf(application).nextStartedService != null }
        val second = Robolectric.buildService(WeftVpnService::class.java).create().get()
        shadowOf(second).setThrowInStartForeground(SecurityException("not now"))
        second.onStartCommand(Intent(WeftVpnService.ACTION_CONNECT), 0, 2)
        eventually("the core knows") { "not now" in tunnel.state.value.status?.error?.text.orEmpty() }
    }

    /** It would get every name in clear, and any network can say that it wants one. */
    @Test
    fun aNetworkThatWantsASignInOpensNothing() {
        register("{}", REGISTRATION.replace("\"dns\":\"system\"", DOH))
        start(Intent(WeftVpnService.ACTION_CONNECT))
        eventually("it connects") { tunnel.state.value.status?.state == State.CONNECTING }
        val networks = TestNetworks(application)
        // A network is dealt with before the next one is: the second one's warning says that the first has been.
        for (id in 1..2) {
            val host = "dns$id.example"
            networks.use(TestNetworks.Description(id, portal = true, validated = false, privateDnsHost = host))
            eventually("network $id is told") { TunnelWarning.PrivateDns(host) in tunnel.state.value.warnings }
        }
        val status = checkNotNull(runBlocking { tunnel.core().status() })
        assertEquals(emptyList<String>(), status.warnings.filter { "portal" in it })
    }

    /** Where another start is on its way, the system kills the app whose service ends without asking for it. */
    @Test
    fun theServiceEndsAfterTheStartThatItKnowsOfAndNoLaterOne() {
        val service = Robolectric.buildService(WeftVpnService::class.java).create().get()
        service.onStartCommand(null, 0, 7)
        assertTrue(shadowOf(service).isStoppedBySelf)
        assertEquals(7, shadowOf(service).stopSelfId)
        val refused = Robolectric.buildService(WeftVpnService::class.java).create().get()
        shadowOf(refused).setThrowInStartForeground(SecurityException("not now"))
        refused.onStartCommand(Intent(WeftVpnService.ACTION_CONNECT), 0, 8)
        assertEquals(8, shadowOf(refused).stopSelfId)
    }

    @Test
    fun aManagedConfigurationThatCannotBeCountsAsNoneAndIsShown() {
        register("{}")
        manage { putString("support_url", "http://help.example") }
        eventually("the core's word at its start") { "support_url" in coreWarnings() }
        manage { putString("switch_locked", "true") }
        eventually("the shell's own") { faults() == listOf("switch_locked must be true or false") }
        eventually("the former word is gone") { "support_url" !in coreWarnings() }
        manage { putBoolean("switch_locked", true) }
        eventually("it is locked") { tunnel.state.value.settings?.switchLocked == true && faults().isEmpty() }
        manage {
            putBoolean("switch_locked", true)
            putString("support_url", "http://help.example")
        }
        eventually("the core's own word") { faults().singleOrNull()?.contains("support_url") == true }
        eventually("it counts as none") { tunnel.state.value.settings?.switchLocked == false }
        assertNull(tunnel.state.value.problem)
        manage { putBoolean("switch_locked", true) }
        eventually("it is locked") { tunnel.state.value.settings?.switchLocked == true && faults().isEmpty() }
    }

    private fun coreWarnings() = "${tunnel.state.value.status?.warnings}"

    private fun faults() =
        tunnel.state.value.warnings
            .filterIsInstance<TunnelWarning.ManagedConfiguration>()
            .map { it.detail }

    /** The administrator sets what is in the bundle, and nothing else. */
    private fun manage(fill: Bundle.() -> Unit) {
        val restrictions = application.getSystemService(RestrictionsManager::class.java)
        shadowOf(restrictions).setApplicationRestrictions(Bundle().apply(fill))
        application.sendBroadcast(Intent(Intent.ACTION_APPLICATION_RESTRICTIONS_CHANGED))
        shadowOf(Looper.getMainLooper()).idle()
    }

    @Test
    fun theCoreStartsDisconnectedAndUnregistered() {
        eventually("the core has said its state") { tunnel.state.value.status != null }
        assertEquals(State.DISCONNECTED, tunnel.state.value.status!!.state)
        assertNull(tunnel.state.value.registration)
        assertTrue(tunnel.state.value.isDown)
    }

    @Test
    fun withoutConsentConnectAsksAndStartsNothing() {
        val ask = Intent("ask")
        ShadowVpnService.setPrepareResult(ask)
        assertEquals(Consent.Ask(ask), tunnel.connect())
        assertEquals(TunnelProblem.ConsentMissing, tunnel.state.value.problem)
        assertNull(shadowOf(application).nextStartedService)
    }

    @Test
    fun connectStartsTheServiceInTheForegroundWithItsType() {
        FakeSystem.alwaysOn = true // so that a device without a registration keeps it
        assertEquals(Consent.Granted, tunnel.connect())
        val intent = shadowOf(application).nextStartedService
        assertEquals(WeftVpnService::class.java.name, intent.component!!.className)
        val service = start(intent).get()
        assertEquals(Service.START_STICKY, result)
        assertNotNull(shadowOf(service).lastForegroundNotification)
        assertEquals(ServiceInfo.FOREGROUND_SERVICE_TYPE_SYSTEM_EXEMPTED, service.foregroundServiceType)
    }

    @Test
    fun aForegroundThatTheSystemRefusesIsShownAndNoCrash() {
        val service = Robolectric.buildService(WeftVpnService::class.java).create().get()
        shadowOf(service).setThrowInStartForeground(SecurityException("not now"))
        val started = service.onStartCommand(Intent(WeftVpnService.ACTION_CONNECT), 0, 1)
        assertEquals(Service.START_NOT_STICKY, started)
        assertTrue(shadowOf(service).isStoppedBySelf)
        assertTrue("not now" in (tunnel.state.value.problem as TunnelProblem.Refused).detail)
    }

    @Test
    fun anUnregisteredDeviceSaysSoAndTheServiceGoes() {
        val service = start(Intent(WeftVpnService.ACTION_CONNECT)).get()
        eventually("the service has ended itself") { shadowOf(service).isStoppedBySelf }
        assertTrue(tunnel.state.value.problem is TunnelProblem.Refused)
        assertFalse(wanted)
    }

    @Test
    fun anAlwaysOnServiceStaysForTheRegistration() {
        FakeSystem.alwaysOn = true
        FakeSystem.lockdown = true
        val service = start(Intent(VpnService.SERVICE_INTERFACE)).get()
        eventually("the core has refused") { tunnel.state.value.problem is TunnelProblem.Refused }
        assertTrue(tunnel.state.value.alwaysOn && tunnel.state.value.lockdown && wanted)
        assertFalse(shadowOf(service).isStoppedBySelf)
    }

    @Test
    fun afterTheDeathOfTheProcessTheWantedStateIsTakenUpAndNoOther() {
        val idle = start(null).get()
        assertEquals(Service.START_NOT_STICKY, result)
        assertTrue(shadowOf(idle).isStoppedBySelf)
        File(application.folder, "wanted").createNewFile()
        start(null)
        assertEquals(Service.START_STICKY, result)
    }

    @Test
    fun aStartOfTheDeviceTakesUpWhatWasWantedAndAsksNobody() {
        val receiver = ResumeReceiver()
        val causes = listOf(Intent.ACTION_BOOT_COMPLETED, Intent.ACTION_MY_PACKAGE_REPLACED).map(::Intent)
        causes.forEach { receiver.onReceive(application, it) }
        assertNull("nobody wants it", shadowOf(application).nextStartedService)
        File(application.folder, "wanted").createNewFile()
        receiver.onReceive(application, Intent("org.example.other"))
        ShadowVpnService.setPrepareResult(Intent("ask"))
        causes.forEach { receiver.onReceive(application, it) }
        assertNull(shadowOf(application).nextStartedService)
        ShadowVpnService.setPrepareResult(null)
        for (cause in causes) {
            receiver.onReceive(application, cause)
            val intent = shadowOf(application).nextStartedService
            assertEquals(WeftVpnService::class.java.name, intent.component!!.className)
            assertNull("the service looks itself what is wanted", intent.action)
        }
    }

    @Test
    fun theNotificationGoesWithTheServiceWhateverIsDrawnLate() {
        FakeSystem.alwaysOn = true
        val controller = start(Intent(VpnService.SERVICE_INTERFACE))
        val manager = shadowOf(application.getSystemService(NotificationManager::class.java))
        eventually("it is drawn") { manager.getNotification(WeftVpnService.NOTIFICATION) != null }
        controller.destroy()
        assertNull(manager.getNotification(WeftVpnService.NOTIFICATION))
    }

    @Test
    fun theSystemsOwnStartIsHeededWhateverWasWanted() {
        start(Intent(VpnService.SERVICE_INTERFACE))
        assertEquals(Service.START_STICKY, result)
    }

    @Test
    fun theSystemCanBindToRevokeAndNobodyElseGetsAnything() {
        val service = start(Intent(WeftVpnService.ACTION_CONNECT)).get()
        assertNotNull(service.onBind(Intent(VpnService.SERVICE_INTERFACE)))
        assertNull(service.onBind(Intent("org.example.other")))
    }

    @Test
    fun aRevokedTunnelIsNotWantedAnyMoreAndTheServiceGoes() {
        File(application.folder, "wanted").createNewFile()
        val service = start(null).get()
        service.onRevoke()
        assertTrue(shadowOf(service).isStoppedBySelf)
        eventually("nobody wants it") { !wanted }
        assertEquals(TunnelProblem.Revoked, tunnel.state.value.problem)
    }

    @Test
    fun strictPrivateDnsIsWarnedOfAndForgottenWithItsNetwork() {
        FakeSystem.alwaysOn = true
        start(Intent(VpnService.SERVICE_INTERFACE))
        val networks = TestNetworks(application)
        val warning = TunnelWarning.PrivateDns("dns.example")
        networks.use(TestNetworks.Description(1, privateDnsHost = "dns.example"))
        eventually("the warning") { warning in tunnel.state.value.warnings }
        networks.use(TestNetworks.Description(2))
        eventually("no warning") { warning !in tunnel.state.value.warnings }
    }

    @Test
    fun closingLeavesNoListenerAndTheNextTunnelIsAnother() {
        start(Intent(VpnService.SERVICE_INTERFACE))
        val first = tunnel
        first.close()
        first.close()
        assertEquals(0, TestNetworks(application).listeners)
        assertTrue(tunnel !== first)
    }

    private companion object {
        const val PATIENCE_NS = 30_000_000_000L
        const val DOH =
            """"dns":{"doh":{"name":"gateway.example","path":"/dns-query","inside":"100.64.0.1:443"}}"""

        /** How many tunnels are closed at whatever moment. */
        const val CLOSED = 20
        val REGISTRATION =
            """
            {"id":"office","source":"imported","private_key":"qMqVhGHXzEsNPVsrCLbWYvhBlCzFTBWcPKaBJGdNC3c=",
             "addresses":["172.16.0.2/32"],"gateways":[{"dns":"system","tunnel":{"addresses":["127.0.0.1"],"ports":[9],
             "public_key":"HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="}}]}
            """.trimIndent()
    }
}

/** An application that keeps its state where a test wants it, under a key that the JVM knows. */
class TestApplication :
    Application(),
    TunnelOptionsProvider {
    lateinit var folder: File

    override val tunnelOptions get() = TunnelOptions(this, folder = folder, keys = { SecretKeySpec(KEY, "AES") })

    private companion object {
        val KEY = ByteArray(32) { it.toByte() }
    }
}
