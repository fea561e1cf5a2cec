package org.weft.tunnel

import android.net.Network
import android.os.ParcelFileDescriptor
import org.weft.core.AppRules
import org.weft.core.IpNetwork
import org.weft.core.Plan
import java.io.IOException

/** What a running service does for the tunnel. */
internal interface VpnSide {
    /** Makes the interface that [fill] describes. Null: the system gives none, for want of consent. */
    fun establish(fill: (TunnelBuilder) -> Unit): ParcelFileDescriptor?

    /** Keeps a socket outside the tunnel; false where the system refuses. */
    fun protect(fd: Int): Boolean

    /** Tells the system which network carries the tunnel; null = whatever is the default one. */
    fun underlying(network: Network?)

    /** The service is of no more use. */
    fun finish()
}

/** Why a plan is not in force. */
internal class PlanFailure(
    message: String,
    val consent: Boolean = false,
    cause: Throwable? = null,
) : Exception(message, cause)

/** What takes over the interfaces that a plan asks for: the core. */
internal interface Carrier {
    /** Hands over a descriptor, which is the carrier's from then on. */
    fun attach(fd: Int)

    /** Whether it still holds the one that it took last: it closes one by itself where packets no longer pass. */
    fun holds(): Boolean
}

/**
 * Brings plans into force, one at a time, and remembers what stands. It keeps a descriptor of each interface itself, so
 * that one which the core closes stays until the next has taken its place: what goes into it is lost, not shown around.
 */
internal class PlanApplier(
    private val builder: PlanBuilder,
) {
    private var standing: Plan? = null
    private var routes: List<IpNetwork> = emptyList()

    /** Whom the last interface carried; a plan without an interface names nobody. */
    private var apps: AppRules? = null

    /** The interface that the core reads, or read last. */
    private var kept: ParcelFileDescriptor? = null

    /** The interface that leads nowhere, which nobody but this holds. */
    private var blocking: ParcelFileDescriptor? = null

    val blocks: Boolean get() = blocking != null

    /**
     * Brings [plan] into force. A plan that asks for what stands changes nothing: a new interface would cost the
     * programs their connections.
     *
     * @return whether anything changed
     * @throws PlanFailure it is not in force; what stood before stands
     */
    fun apply(
        plan: Plan,
        vpn: VpnSide?,
        core: Carrier,
    ): Boolean {
        when {
            plan.`interface` == null && !plan.blocks -> forget()
            plan.`interface` == null -> if (blocks) return false else block(plan, vpn)
            stands(plan) && core.holds() -> return false
            else -> raise(plan, vpn, core)
        }
        return true
    }

    /** No interface is to stand any more. */
    fun forget() {
        standing = null
        release()
        blocking?.close()
        blocking = null
    }

    /** Nobody reads the interface any more and it is to stay: what goes into it goes nowhere. */
    fun wall() {
        standing = null
        blocking = blocking ?: kept
        kept = null
    }

    private fun stands(plan: Plan): Boolean = standing?.copy(number = plan.number, blocks = plan.blocks) == plan

    private fun raise(
        plan: Plan,
        vpn: VpnSide?,
        core: Carrier,
    ) {
        val made = make(vpn) { builder.put(plan, it) }
        // The system has replaced the former one already, whatever comes now.
        standing = null
        val own =
            try {
                made.dup()
            } catch (error: IOException) {
                made.close()
                throw PlanFailure("the interface cannot be kept: ${error.message}", cause = error)
            }
        release()
        kept = own
        core.attach(made.detachFd())
        standing = plan
        routes = plan.routes
        apps = plan.apps
        // Only now: the new interface has taken the place of the blocking one, with no moment between.
        blocking?.close()
        blocking = null
    }

    private fun block(
        plan: Plan,
        vpn: VpnSide?,
    ) {
        blocking = make(vpn) { builder.block(routes, apps ?: plan.apps, it) }
        standing = null
        release()
    }

    private fun release() {
        kept?.close()
        kept = null
    }

    private fun make(
        vpn: VpnSide?,
        fill: (TunnelBuilder) -> Unit,
    ): ParcelFileDescriptor {
        if (vpn == null) throw PlanFailure("the VPN service does not run")
        return try {
            vpn.establish(fill)
        } catch (error: IllegalArgumentException) {
            throw PlanFailure("the system does not take the plan: ${error.message}", cause = error)
        } catch (error: SecurityException) {
            throw PlanFailure("the system does not allow the VPN: ${error.message}", cause = error)
        } catch (error: RuntimeException) {
            // Whatever it is, the core is told: it tries again.
            throw PlanFailure("the system cannot make the interface: ${error.message}", cause = error)
        } ?: throw PlanFailure("the user has not agreed to the VPN", consent = true)
    }
}
