package org.weft.app.state

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.receiveAsFlow
import kotlinx.coroutines.flow.update
import kotlinx.coroutines.launch

/** Turns what the user does into calls of the [device], and what the device tells into an [AppState]. */
class AppModel(
    private val device: Device,
    private val scope: CoroutineScope,
    licences: String = "",
) : Actions {
    private val mutable = MutableStateFlow(AppState(licences = licences))
    private val pending = Channel<Effect>(EFFECTS)

    val state: StateFlow<AppState> = mutable.asStateFlow()

    /** What the activity is to do, each once. */
    val effects: Flow<Effect> = pending.receiveAsFlow()

    init {
        scope.launch { device.state.collect(::show) }
    }

    private fun show(now: DeviceState) {
        val first = mutable.value.connection.phase == Phase.Starting
        mutable.update {
            val joined = it.connection.phase == Phase.NotEnrolled && now.connection.phase != Phase.NotEnrolled
            it.copy(
                screen = if (joined && it.screen in ENROLLING) Screen.Home else it.screen,
                connection = now.connection.copy(problem = now.connection.problem ?: keptProblem(it, now)),
                settings = now.settings.copy(confirmLeave = it.settings.confirmLeave, error = it.settings.error),
            )
        }
        if (first && now.connection.phase == Phase.NotEnrolled) offerManaged()
    }

    /** A refused consent stays on the screen until the device does something else. */
    private fun keptProblem(
        before: AppState,
        now: DeviceState,
    ): Problem? = before.connection.problem?.takeIf { it.kind in CONSENT && now.connection.phase == Phase.Off }

    override fun go(screen: Screen) {
        mutable.update { it.copy(screen = screen) }
        when (screen) {
            Screen.Logs -> mutable.update { it.copy(logs = device.log()) }
            Screen.Enrol -> offerManaged()
            else -> Unit
        }
    }

    override fun back() =
        mutable.update {
            it.copy(
                screen =
                    when (it.screen) {
                        Screen.Scan -> Screen.Enrol
                        Screen.Licences -> Screen.Settings
                        else -> Screen.Home
                    },
            )
        }

    /** Shows the administrator's invitation, if there is one and the user has brought none. */
    private fun offerManaged() {
        if (mutable.value.enrol.invitation != null) return
        val offer = device.managedInvitation() ?: return
        mutable.update { it.copy(screen = Screen.Enrol, enrol = EnrolState(invitation = offer, managed = true)) }
    }

    override fun switch(on: Boolean) {
        if (!on && mutable.value.connection.switchLocked) return
        if (on) send(Effect.AskConsent) else work(::connectionFailed) { device.disconnect() }
    }

    /** The user, or the system for them, agreed to the VPN. */
    fun consentGiven() {
        mutable.update { it.copy(connection = it.connection.copy(problem = null)) }
        work(::connectionFailed) { device.connect() }
    }

    /** The system gave no consent; [other] is the app that holds the always-on VPN, where that is known. */
    fun consentRefused(other: String?) {
        val kind = if (other == null) ProblemKind.Consent else ProblemKind.OtherAlwaysOn
        connectionFailed(Problem(kind, other.orEmpty()))
    }

    override fun typeLink(text: String) =
        mutable.update { it.copy(enrol = it.enrol.copy(text = text.take(LINK_LENGTH), error = null)) }

    override fun readLink() = invite(mutable.value.enrol.text)

    override fun scan() = send(Effect.AskCamera)

    override fun scanned(text: String) = invite(text)

    /** The camera may be used, or [trouble] says why not. */
    fun camera(trouble: CameraTrouble?) =
        mutable.update {
            it.copy(
                screen = if (trouble == null) Screen.Scan else Screen.Enrol,
                enrol = it.enrol.copy(camera = trouble),
            )
        }

    /** Shows what a link of any origin asks for. Nothing is joined before the user has agreed. */
    fun invite(link: String) {
        mutable.update { it.copy(screen = Screen.Enrol) }
        if (mutable.value.enrol.busy) return
        val invitation = attempt(::enrolFailed) { device.readLink(link.trim()) } ?: return
        val shown = mutable.value.enrol.invitation
        when (shown) {
            null -> mutable.update { it.copy(enrol = EnrolState(invitation = invitation)) }
            invitation -> Unit
            // What the user is reading is not exchanged under their finger.
            else -> enrolFailed(Problem(ProblemKind.OtherLink))
        }
    }

    override fun dismissInvitation() = mutable.update { it.copy(enrol = EnrolState()) }

    override fun join() {
        val invitation = mutable.value.enrol.invitation ?: return
        if (mutable.value.enrol.busy) return
        mutable.update { it.copy(enrol = it.enrol.copy(busy = true, error = null)) }
        work(::enrolFailed) {
            device.enrol(invitation)
            mutable.update { it.copy(screen = Screen.Home, enrol = EnrolState()) }
        }
    }

    override fun typeName(text: String) =
        mutable.update { it.copy(explain = it.explain.copy(text = text.take(NAME_LENGTH), error = null)) }

    override fun explain() {
        val input = mutable.value.explain.text.trim()
        if (input.isEmpty() || mutable.value.explain.busy) return
        mutable.update { it.copy(explain = it.explain.copy(busy = true, answer = null, error = null)) }
        work({ problem -> mutable.update { it.copy(explain = it.explain.copy(busy = false, error = problem)) } }) {
            val answer = device.explain(input)
            mutable.update { it.copy(explain = it.explain.copy(busy = false, answer = answer)) }
        }
    }

    override fun shareLog() = send(Effect.ShareLog(mutable.value.logs))

    override fun setMode(mode: Mode) {
        mutable.update { it.copy(settings = it.settings.copy(error = null)) }
        work(::settingsFailed) { device.setMode(mode) }
    }

    override fun askToLeave() = mutable.update { it.copy(settings = it.settings.copy(confirmLeave = true)) }

    override fun stay() = mutable.update { it.copy(settings = it.settings.copy(confirmLeave = false)) }

    override fun leave() {
        stay()
        work(::settingsFailed) {
            device.leave()
            mutable.update { it.copy(screen = Screen.Home) }
        }
    }

    override fun open(page: SystemPage) = send(Effect.OpenPage(page))

    override fun openSupport() {
        mutable.value.connection.supportUrl?.let { send(Effect.OpenUrl(it)) }
    }

    private fun connectionFailed(problem: Problem) =
        mutable.update { it.copy(connection = it.connection.copy(problem = problem)) }

    private fun settingsFailed(problem: Problem) =
        mutable.update { it.copy(settings = it.settings.copy(error = problem)) }

    private fun enrolFailed(problem: Problem) =
        mutable.update { it.copy(enrol = it.enrol.copy(busy = false, error = problem)) }

    private fun send(effect: Effect) {
        // A full queue means that no activity is there to act; the newest wish is then the one to lose.
        pending.trySend(effect)
    }

    private fun <T> attempt(
        failed: (Problem) -> Unit,
        what: () -> T,
    ): T? =
        try {
            what()
        } catch (e: ProblemException) {
            failed(e.problem)
            null
        }

    private fun work(
        failed: (Problem) -> Unit,
        what: suspend () -> Unit,
    ) {
        scope.launch {
            try {
                what()
            } catch (e: CancellationException) {
                throw e
            } catch (e: ProblemException) {
                failed(e.problem)
            }
        }
    }

    companion object {
        /** Wishes that wait for an activity: more than one user can utter between two of its frames. */
        const val EFFECTS = 8

        /** A link of 4 KiB holds a URL of 2,048 and a token of 1,024 bytes, each escaped where needed. */
        const val LINK_LENGTH = 4096

        /** A name has no more than 253 characters (RFC 1035, 2.3.4); somewhat more may be typed and is then refused. */
        const val NAME_LENGTH = 300

        private val ENROLLING = setOf(Screen.Enrol, Screen.Scan)
        private val CONSENT = setOf(ProblemKind.Consent, ProblemKind.OtherAlwaysOn)
    }
}
