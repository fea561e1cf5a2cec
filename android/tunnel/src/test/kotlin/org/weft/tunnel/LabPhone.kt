package org.weft.tunnel

import android.content.Intent
import android.net.VpnService
import android.os.Looper
import kotlinx.coroutines.runBlocking
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assume.assumeTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ServiceController
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowVpnService
import org.weft.core.LogLevel
import org.weft.core.WeftException
import org.weft.core.initLogging
import org.weft.core.parseEnrolmentLink
import org.weft.core.recentLog
import java.io.BufferedReader
import java.io.File
import java.net.InetAddress
import java.net.ServerSocket
import java.net.SocketTimeoutException

/**
 * A phone on a host of the network laboratory: the library with the real core and real TUN devices, told what to do
 * over a connection from the test that built the laboratory (tests/e2e/tests/phone_android). One line is one command,
 * with one line of JSON for an answer. Without WEFT_PHONE_PORT there is nobody to listen to.
 */
@RunWith(RobolectricTestRunner::class)
@Config(application = TestApplication::class, shadows = [ShadowBuilder::class, ShadowVpn::class])
class LabPhone {
    private val application = RuntimeEnvironment.getApplication() as TestApplication
    private var service: ServiceController<WeftVpnService>? = null
    private var network: TestNetworks.Description? = null
    private lateinit var system: LabSystem
    private lateinit var tunnel: Tunnel

    @Test
    fun obey() {
        val port = System.getenv("WEFT_PHONE_PORT")
        assumeTrue("started by the test that builds the laboratory", port != null)
        application.folder = File(System.getenv("WEFT_PHONE_FOLDER"))
        ShadowVpnService.setPrepareResult(null)
        initLogging(LogLevel.INFO, null)
        system = LabSystem()
        FakeSystem.establish = system::establish
        FakeSystem.protect = system::protect
        tunnel = Tunnel.of(application)
        ServerSocket(port.toInt(), 1, InetAddress.getLoopbackAddress()).use { server ->
            println("the phone listens")
            server.accept().use { socket ->
                socket.soTimeout = TICK_MS
                val reader = socket.getInputStream().bufferedReader()
                val writer = socket.getOutputStream().writer()
                while (true) {
                    val line = next(reader) ?: break
                    writer.write("${answer(line)}\n")
                    writer.flush()
                }
            }
        }
        tunnel.close()
    }

    /** The main thread's own work goes on between commands. */
    private fun next(reader: BufferedReader): String? {
        while (true) {
            shadowOf(Looper.getMainLooper()).idle()
            try {
                return reader.readLine()
            } catch (_: SocketTimeoutException) {
                // Nothing was said yet.
            }
        }
    }

    private fun answer(line: String): JSONObject =
        try {
            val (word, rest) = "$line ".split(' ', limit = 2)
            obey(word, rest.trim())
            state()
        } catch (error: WeftException) {
            JSONObject().put("error", error.toString())
        }

    private fun obey(
        word: String,
        rest: String,
    ) {
        when (word) {
            "state" -> Unit
            "network" -> use(JSONObject(rest))
            "lose" -> network?.let { TestNetworks(application).lose(it) }
            "enrol" -> runBlocking { tunnel.enrol(parseEnrolmentLink(rest)) }
            "connect" -> check(tunnel.connect() is Consent.Granted)
            "refresh" -> runBlocking { tunnel.core().refreshProfile() }
            "destroy" -> service = service!!.destroy().let { null }
            "disconnect" -> runBlocking { tunnel.disconnect() }
            "always-on" -> start(Intent(VpnService.SERVICE_INTERFACE))
            "restart" -> start(null)
            "log" -> recentLog().forEach(::println)
            "revoke" -> {
                system.revoke()
                service!!.get().onRevoke()
            }
            else -> error("no command: $word")
        }
        system.showResolvers()
        destroyWhereStopped()
        shadowOf(application).nextStartedService?.let(::start)
    }

    /** As the system does it: a service that runs already is only told. */
    private fun start(intent: Intent?) {
        val running =
            service ?: Robolectric.buildService(WeftVpnService::class.java, intent).create().also { service = it }
        running.get().onStartCommand(intent, 0, 1)
        // Whoever begins to listen hears of the network that is there already.
        network?.let { TestNetworks(application).use(it) }
    }

    private fun destroyWhereStopped() {
        val stopped = service?.takeIf { shadowOf(it.get()).isStoppedBySelf } ?: return
        stopped.destroy()
        service = null
    }

    private fun use(words: JSONObject) {
        val resolvers = words.getJSONArray("dns").let { list -> List(list.length(), list::getString) }
        val description =
            TestNetworks.Description(
                id = words.getInt("id"),
                interfaceName = words.getString("interface"),
                dns = resolvers,
                privateDnsHost = words.optString("private_dns").ifEmpty { null },
            )
        network = description
        system.use(resolvers)
        TestNetworks(application).use(description)
    }

    private fun state(): JSONObject {
        val state = tunnel.state.value
        return JSONObject()
            .put("state", state.status?.state?.name ?: "")
            .put("reason", state.status?.reasonText ?: "")
            .put("registered", state.registration != null)
            .put("wanted", state.wanted)
            .put("problem", state.problem?.toString() ?: "")
            .put("warnings", JSONArray(state.warnings.map(Any::toString)))
            .put("service", service != null)
            .put("interfaces", FakeSystem.built.size)
            .put("tunnel", system.hasTunnel)
            .put("underlying", JSONArray(FakeSystem.underlying.orEmpty().map { shadowOf(it).netId }))
            .put("dns", JSONArray(FakeSystem.built.lastOrNull()?.dns.orEmpty()))
            .put("excluded", FakeSystem.built.lastOrNull()?.excluded.orEmpty().size)
    }

    private companion object {
        /** How often the main thread looks for work of its own, in milliseconds. */
        const val TICK_MS = 20
    }
}
