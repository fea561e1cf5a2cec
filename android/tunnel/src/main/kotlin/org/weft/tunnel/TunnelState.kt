package org.weft.tunnel

import android.content.Intent
import org.weft.core.RegistrationInfo
import org.weft.core.Settings
import org.weft.core.State
import org.weft.core.Status

/** All that an app shows of the tunnel, complete each time. */
data class TunnelState(
    /** What the core says; null before it has said anything. */
    val status: Status? = null,
    /** The values in force; null before the core has read them. */
    val settings: Settings? = null,
    /** Who the device is; null = it is not registered. */
    val registration: RegistrationInfo? = null,
    /** The tunnel is to be up: kept over the death of the process. */
    val wanted: Boolean = false,
    /** What of the shell's own is in the way. */
    val problem: TunnelProblem? = null,
    val warnings: Set<TunnelWarning> = emptySet(),
    /** The system itself starts the VPN and keeps it. */
    val alwaysOn: Boolean = false,
    /** The system lets nothing past the VPN. */
    val lockdown: Boolean = false,
    /** What belongs into the tunnel goes nowhere at the moment, by an interface that leads nowhere. */
    val blocked: Boolean = false,
) {
    /** Nothing of Weft's is in the way of the device's traffic. */
    val isDown: Boolean get() = !blocked && (status == null || status.state == State.DISCONNECTED)
}

/** What of the system, not of the core, is in the way. */
sealed interface TunnelProblem {
    /** The user has not agreed to the VPN, or chose another one. */
    data object ConsentMissing : TunnelProblem

    /** The user, the system or another VPN took the tunnel away. */
    data object Revoked : TunnelProblem

    /** The core did not start, or stopped: nothing works before the app starts anew. */
    data class CoreFailed(
        val detail: String,
    ) : TunnelProblem

    /** The core refused a call. */
    data class Refused(
        val detail: String,
    ) : TunnelProblem
}

/** What works, but not as somebody might think. */
sealed interface TunnelWarning {
    /** The system sends its names to this resolver by itself, past Weft's rules (private DNS, strict). */
    data class PrivateDns(
        val host: String,
    ) : TunnelWarning

    /** These browsers may send names to a resolver of their own (DNS over HTTPS). */
    data class BrowserDns(
        val packages: List<String>,
    ) : TunnelWarning

    /** The administrator's configuration holds what cannot be, and counts as none. */
    data class ManagedConfiguration(
        val detail: String,
    ) : TunnelWarning

    /** What was stored cannot be opened any more: the device has to be registered anew. */
    data object StateLost : TunnelWarning

    /** A part of the core failed; it goes on without it. */
    data class Panicked(
        val detail: String,
    ) : TunnelWarning
}

/** Whether the system lets Weft set up a VPN. */
sealed interface Consent {
    data object Granted : Consent

    /** The user has to be asked, by starting this for a result. */
    data class Ask(
        val intent: Intent,
    ) : Consent

    /** Another app is the always-on VPN: the system asks nobody before that is switched off in its settings. */
    data class Taken(
        val packageName: String,
    ) : Consent
}
