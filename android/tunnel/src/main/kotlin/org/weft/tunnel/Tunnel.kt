package org.weft.tunnel

import android.content.Context
import android.content.Intent
import android.net.ConnectivityManager
import android.net.VpnService
import android.provider.Settings
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineExceptionHandler
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Deferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.async
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.update
import kotlinx.coroutines.job
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext
import org.weft.core.Enrolment
import org.weft.core.Event
import org.weft.core.Plan
import org.weft.core.Session
import org.weft.core.State
import org.weft.core.WeftException
import java.io.File

/**
 * The tunnel of this app: owns the core's session, applies its plans by the service, and tells one [state]. There is
 * one in a process, whether the service runs or not. Nothing here throws but what says so; what goes wrong is part of
 * the state.
 */
class Tunnel internal constructor(
    private val context: Context,
    internal val options: TunnelOptions,
) : AutoCloseable {
    private val mutable = MutableStateFlow(TunnelState())

    /** All that there is to show. */
    val state: StateFlow<TunnelState> = mutable.asStateFlow()

    private val serial = Dispatchers.Default.limitedParallelism(1)
    private val unforeseen = CoroutineExceptionHandler { _, error -> failed(error) }
    private val scope = CoroutineScope(SupervisorJob() + serial + unforeseen)
    private val target = TargetStore(options.folder)
    private val networks = Channel<UnderlyingNetwork>(Channel.CONFLATED)
    private val watch =
        NetworkWatch(context.getSystemService(ConnectivityManager::class.java)) { networks.trySend(it) }
    private val wake = WakeWatch(context) { scope.launch { onCore { it.woke() } } }
    private val administered = Channel<ManagedSettings.Reading>(Channel.CONFLATED)
    private val managed = ManagedWatch(context) { administered.trySend(it) }
    private val applier = PlanApplier(PlanBuilder(android.os.Build.VERSION.SDK_INT, context.packageName))

    @Volatile
    private var vpn: VpnSide? = null
    private var latest: Plan? = null

    /** The plan that a service which is on its way is to take up. */
    private var awaiting: ULong? = null

    /** The core has ended, and nothing asked of it comes to anything. */
    private var ended = false

    private val session: Deferred<Session> =
        scope.async {
            val secrets = SecretStore(File(options.folder, "secrets"), options.keys)
            val host = CoreHost(secrets, watch, { vpn }) { warn(TunnelWarning.StateLost) }
            val reading = ManagedSettings.of(context)
            warnOfManaged(reading.fault)
            Session(sessionConfig(context, reading.config), host)
        }

    init {
        mutable.update { it.copy(wanted = target.wanted) }
        managed.start()
        scope.launch { follow() }
        scope.launch { for (network in networks) networkChanged(network) }
        scope.launch { for (reading in administered) takeManaged(reading) }
    }

    /**
     * The core's session, for what this class has no word of its own for.
     *
     * @throws WeftException the core did not start
     */
    suspend fun core(): Session = session.await()

    /** Whether the system lets Weft set up a VPN now. To be asked before each [connect]. */
    fun consent(): Consent {
        val ask = VpnService.prepare(context) ?: return Consent.Granted
        val other = alwaysOnApp()
        return if (other != null && other != context.packageName) Consent.Taken(other) else Consent.Ask(ask)
    }

    /** Brings the tunnel up, and keeps it up from then on. Does nothing but answer where consent is missing. */
    fun connect(): Consent {
        val consent = consent()
        if (consent is Consent.Granted) {
            startService()
        } else {
            mutable.update { it.copy(problem = TunnelProblem.ConsentMissing) }
        }
        return consent
    }

    /**
     * Takes the tunnel down, and the service with it; what is left of it, where the core has ended. A lock of the switch
     * outlives the core.
     *
     * @throws WeftException the administrator does not allow it; nothing changes then
     */
    suspend fun disconnect() =
        withContext(serial) {
            if (!ended) {
                core().disconnect()
            } else if (state.value.settings?.switchLocked == true) {
                throw WeftException.Forbidden("the switch is locked")
            }
            want(false)
            if (ended) letGo()
            finishWhereDown()
        }

    /**
     * Registers the device.
     *
     * @throws WeftException it came to nothing
     */
    suspend fun enrol(enrolment: Enrolment) =
        withContext(serial) {
            core().enrol(enrolment)
            mutable.update { it.copy(problem = null, warnings = it.warnings - TunnelWarning.StateLost) }
            refresh()
        }

    /**
     * Deletes the registration.
     *
     * @throws WeftException the administrator does not allow it, or the gateway cannot be told
     */
    suspend fun leave() =
        withContext(serial) {
            core().leave()
            want(false)
            refresh()
            finishWhereDown()
        }

    /** Ends the session and waits until its threads and descriptors are gone. The next [of] makes a new tunnel. */
    override fun close() {
        if (!instance.compareAndSet(this, null)) return
        watch.stop()
        wake.stop()
        managed.stop()
        networks.close()
        administered.close()
        runBlocking {
            val core = runCatching { session.await() }.getOrNull()
            core?.shutdown()
            // Only then: whoever asks for the next event must not find it gone.
            scope.coroutineContext.job.cancelAndJoin()
            core?.destroy()
        }
        applier.forget()
    }

    /** A service has started. False: there is nothing for it to do. */
    internal fun attach(
        service: VpnSide,
        cause: StartCause,
        alwaysOn: Boolean,
        lockdown: Boolean,
    ): Boolean {
        if (cause == StartCause.RESTART && !target.wanted) return false
        vpn = service
        watch.start()
        wake.start()
        mutable.update { it.copy(alwaysOn = alwaysOn, lockdown = lockdown, problem = null) }
        scope.launch { bringUp() }
        return true
    }

    /** The service has ended. */
    internal fun detach(service: VpnSide) {
        if (vpn !== service) return
        vpn = null
        watch.stop()
        wake.stop()
    }

    /** The user or another VPN took the interface away; it is closed already. */
    internal fun revoked(service: VpnSide) {
        detach(service)
        mutable.update { it.copy(problem = TunnelProblem.Revoked) }
        scope.launch {
            want(false)
            letGo()
            // A lock of the switch keeps nobody from having taken the interface away.
            onCore { it.interfaceRevoked() }
        }
    }

    /** The system does not let the service into the foreground. */
    internal fun refusedForeground(error: RuntimeException) {
        val detail = refusedStart(error)
        scope.launch {
            val plan = awaiting ?: return@launch
            awaiting = null
            onCore { it.acknowledgePlan(plan, detail) }
        }
    }

    private fun refusedStart(error: RuntimeException): String {
        val detail = "the system does not start the VPN: ${error.message}"
        mutable.update { it.copy(problem = TunnelProblem.Refused(detail)) }
        return detail
    }

    /** False where the system lets no service start now: from API 31 on, from the background. */
    private fun startService(action: String? = WeftVpnService.ACTION_CONNECT): Boolean =
        try {
            val intent = Intent(context, WeftVpnService::class.java).setAction(action)
            context.startForegroundService(intent) != null
        } catch (error: IllegalStateException) {
            refusedStart(error)
            false
        }

    private suspend fun bringUp() {
        if (ended) {
            mutable.update { it.copy(problem = ENDED) }
            return finishWhereDown()
        }
        want(true)
        awaiting = null
        // What the core holds in force already, the new service has to make anew.
        latest?.takeIf { it.`interface` != null || it.blocks }?.let { apply(it) }
        try {
            core().connect()
        } catch (error: WeftException) {
            // A service that was taken away meanwhile has its own reason.
            if (vpn == null) return
            refused(error)
            // An always-on service stays: while it runs, the sockets of a registration can pass a lockdown.
            if (error is WeftException.NotRegistered && !state.value.alwaysOn) {
                want(false)
                vpn?.finish()
            }
        }
    }

    private suspend fun follow() {
        val core =
            try {
                core()
            } catch (error: WeftException) {
                return mutable.update { it.copy(problem = TunnelProblem.CoreFailed(error.detailText())) }
            }
        refresh()
        while (true) {
            when (val event = core.nextEvent() ?: break) {
                is Event.Status -> {
                    mutable.update { it.copy(status = event.status) }
                    finishWhereDown()
                }
                is Event.Settings -> {
                    val registration = core.registration()
                    mutable.update { it.copy(settings = event.settings, registration = registration) }
                }
                is Event.Plan -> {
                    latest = event.plan
                    apply(event.plan)
                }
                is Event.Revoked -> refresh()
                is Event.Panicked -> warn(TunnelWarning.Panicked(event.detail))
            }
        }
        if (instance.get() === this) coreEnded()
    }

    /** What is wanted in the tunnel and has lost it is not to go another way. */
    private fun coreEnded() {
        ended = true
        if (state.value.wanted) applier.wall() else applier.forget()
        mutable.update { it.copy(problem = ENDED, blocked = applier.blocks) }
        finishWhereDown()
    }

    private fun letGo() {
        applier.forget()
        mutable.update { it.copy(blocked = applier.blocks) }
    }

    private suspend fun apply(plan: Plan) {
        // The core connects by itself where the profile says so; the service then takes the plan up in attach().
        if (plan.`interface` != null && vpn == null && mayStart() && startService()) {
            awaiting = plan.number
            return
        }
        val failure =
            try {
                if (applier.apply(plan, vpn, core().carrier())) {
                    warnOf(plan)
                    // A new interface follows the system's default network until it is told.
                    vpn?.underlying(watch.current().network)
                }
                null
            } catch (error: PlanFailure) {
                if (error.consent) mutable.update { it.copy(problem = TunnelProblem.ConsentMissing) }
                error.message
            } catch (error: WeftException) {
                error.detailText()
            }
        mutable.update { it.copy(blocked = applier.blocks) }
        onCore { it.acknowledgePlan(plan.number, failure) }
        finishWhereDown()
    }

    private fun mayStart() = state.value.problem != TunnelProblem.Revoked && VpnService.prepare(context) == null

    private fun warnOf(plan: Plan) {
        val browsers = if (plan.dns == null) emptyList() else Browsers.withOwnResolver(context.packageManager)
        mutable.update { state ->
            val kept = state.warnings.filterNot { it is TunnelWarning.BrowserDns }
            val told = listOfNotNull(browsers.ifEmpty { null }?.let(TunnelWarning::BrowserDns))
            state.copy(warnings = (kept + told).toSet())
        }
    }

    private suspend fun networkChanged(network: UnderlyingNetwork) {
        vpn?.underlying(network.network)
        val strict = network.info.privateDns as? org.weft.core.PrivateDns.Strict
        mutable.update { state ->
            val kept = state.warnings.filterNot { it is TunnelWarning.PrivateDns }
            state.copy(warnings = (kept + listOfNotNull(strict?.let { TunnelWarning.PrivateDns(it.host) })).toSet())
        }
        // A network that asks for a sign-in opens nothing, for any network can say so: it would get every name in clear.
        onCore { it.networkChanged(network.info) }
    }

    /** What the core finds wrong counts as none, as it does at the start. */
    private suspend fun takeManaged(reading: ManagedSettings.Reading) {
        var fault = reading.fault
        onCore { core ->
            try {
                core.setManaged(reading.config)
            } catch (error: WeftException.InvalidInput) {
                fault = error.detailText()
                core.setManaged(null)
            }
        }
        warnOfManaged(fault)
        refresh()
    }

    private fun warnOfManaged(fault: String?) =
        mutable.update { state ->
            val kept = state.warnings.filterNot { it is TunnelWarning.ManagedConfiguration }
            state.copy(warnings = (kept + listOfNotNull(fault?.let(TunnelWarning::ManagedConfiguration))).toSet())
        }

    /** The service goes when nobody wants the tunnel and nothing of it stands. */
    private fun finishWhereDown() {
        val now = state.value
        val down = ended || (now.status?.state == State.DISCONNECTED && latest?.`interface` == null)
        if (down && !now.blocked && !now.wanted && !now.alwaysOn) vpn?.finish()
    }

    private suspend fun refresh() {
        onCore { core ->
            val (status, settings, registration) = Triple(core.status(), core.settings(), core.registration())
            mutable.update {
                it.copy(
                    status = status ?: it.status,
                    settings = settings ?: it.settings,
                    registration = registration,
                )
            }
        }
    }

    private fun want(wanted: Boolean) {
        target.wanted = wanted
        mutable.update { it.copy(wanted = wanted) }
    }

    private fun warn(warning: TunnelWarning) = mutable.update { it.copy(warnings = it.warnings + warning) }

    /** What nobody foresaw is shown, too: an app that crashes leaves no tunnel at all. */
    private fun failed(error: Throwable) = mutable.update { it.copy(problem = TunnelProblem.CoreFailed("$error")) }

    private fun refused(error: WeftException) =
        mutable.update { it.copy(problem = TunnelProblem.Refused(error.detailText())) }

    /** A call whose failure is part of the state. */
    private suspend fun onCore(work: suspend (Session) -> Unit) {
        try {
            work(core())
        } catch (error: CancellationException) {
            throw error
        } catch (_: WeftException.Closed) {
            // On the way out.
        } catch (error: WeftException) {
            refused(error)
        }
    }

    /** The app that the system keeps as its VPN, where it says so: newer systems tell nobody. */
    private fun alwaysOnApp(): String? =
        try {
            Settings.Secure.getString(context.contentResolver, "always_on_vpn_app")
        } catch (_: SecurityException) {
            null
        }

    companion object {
        private val ENDED = TunnelProblem.CoreFailed("the core has ended")
        private val instance = java.util.concurrent.atomic.AtomicReference<Tunnel?>()

        /** The tunnel of this process. Options come from the application where it is a [TunnelOptionsProvider]. */
        fun of(context: Context): Tunnel {
            instance.get()?.let { return it }
            return synchronized(this) {
                instance.get() ?: make(context.applicationContext).also(instance::set)
            }
        }

        /** Starts the service where the tunnel is wanted and nobody has to be asked; else nothing is started at all. */
        internal fun resume(context: Context) {
            val application = context.applicationContext
            if (!TargetStore(optionsOf(application).folder).wanted || VpnService.prepare(application) != null) return
            of(application).startService(null)
        }

        private fun make(application: Context) = Tunnel(application, optionsOf(application))

        private fun optionsOf(application: Context) =
            (application as? TunnelOptionsProvider)?.tunnelOptions ?: TunnelOptions(application)
    }
}
