package org.weft.tunnel

import android.net.Network
import android.os.ParcelFileDescriptor
import org.weft.core.IpNetwork
import org.weft.core.Plan

/** What a running service does for the tunnel. */
internal interface VpnSide {
    /** Makes the interface that [fill] describes. Null: the system gives none, for want of consent. */
    fun establish(fill: (TunnelBuilder) -> PlanBuilder.Applied): Established?

    /** Keeps a socket outside the tunnel; false where the system refuses. */
    fun protect(fd: Int): Boolean

    /** Tells the system which network carries the tunnel; null = whatever is the default one. */
    fun underlying(network: Network?)

    /** The service is of no more use. */
    fun finish()
}

/** A tunnel interface that the system made. */
internal class Established(
    val descriptor: ParcelFileDescriptor,
    val applied: PlanBuilder.Applied,
)

/** Why a plan is not in force. */
internal class PlanFailure(
    message: String,
    val consent: Boolean = false,
    cause: Throwable? = null,
) : Exception(message, cause)

/** Brings plans into force, one at a time, and remembers what stands. */
internal class PlanApplier(
    private val builder: PlanBuilder,
) {
    private var standing: Plan? = null
    private var routes: List<IpNetwork> = emptyList()

    /** The interface that leads nowhere, which nobody but this holds. */
    private var blocking: ParcelFileDescriptor? = null

    val blocks: Boolean get() = blocking != null

    /**
     * Brings [plan] into force. A plan that asks for what stands changes nothing: a new interface would cost the
     * programs their connections.
     *
     * @param attach hands the core a descriptor, which is the core's from then on
     * @return the apps of the plan's lists that are not installed, or null where nothing changed
     * @throws PlanFailure it is not in force; what stood before stands
     */
    fun apply(
        plan: Plan,
        vpn: VpnSide?,
        attach: (Int) -> Unit,
    ): List<String>? =
        when {
            plan.`interface` != null -> if (stands(plan)) null else raise(plan, vpn, attach)
            plan.blocks -> if (blocks) null else block(plan, vpn)
            else -> {
                forget()
                emptyList()
            }
        }

    /** The system has taken the interface away, or the core has closed it. */
    fun forget() {
        standing = null
        blocking?.close()
        blocking = null
    }

    private fun stands(plan: Plan): Boolean = standing?.copy(number = plan.number, blocks = plan.blocks) == plan

    private fun raise(
        plan: Plan,
        vpn: VpnSide?,
        attach: (Int) -> Unit,
    ): List<String> {
        val made = make(vpn) { builder.put(plan, it) }
        attach(made.descriptor.detachFd())
        standing = plan
        routes = plan.routes
        // Only now: the new interface has taken the place of the blocking one, with no moment between.
        blocking?.close()
        blocking = null
        return made.applied.missingApps
    }

    private fun block(
        plan: Plan,
        vpn: VpnSide?,
    ): List<String> {
        val made = make(vpn) { builder.block(routes, plan.apps, it) }
        blocking = made.descriptor
        standing = null
        return made.applied.missingApps
    }

    private fun make(
        vpn: VpnSide?,
        fill: (TunnelBuilder) -> PlanBuilder.Applied,
    ): Established {
        if (vpn == null) throw PlanFailure("the VPN service does not run")
        return try {
            vpn.establish(fill)
        } catch (error: IllegalArgumentException) {
            throw PlanFailure("the system does not take the plan: ${error.message}", cause = error)
        } catch (error: IllegalStateException) {
            throw PlanFailure("the system cannot make the interface: ${error.message}", cause = error)
        } catch (error: SecurityException) {
            throw PlanFailure("the system does not allow the VPN: ${error.message}", cause = error)
        } ?: throw PlanFailure("the user has not agreed to the VPN", consent = true)
    }
}
