package org.weft.tunnel

import android.os.Build
import org.weft.core.AppRules
import org.weft.core.IpNetwork
import org.weft.core.Plan
import java.net.Inet4Address
import java.net.InetAddress

/**
 * Puts a plan into a builder: a pure function of both, of the system's API level and of the app's own package name.
 *
 * - API 33 and later take excludes; earlier ones take their complement, which the core has worked out.
 * - Apps that are not installed are left to the system, which passes over them: a list for a whole organisation names
 *   more than one phone has, and an app is not told which others are installed.
 * - Weft's own package is never excluded: its sockets are protected one by one, and the rest of it (a help page) is
 *   like any other app.
 *
 * @param api the system's API level
 * @param self the app's own package name
 */
class PlanBuilder(
    private val api: Int,
    private val self: String,
) {
    /** @throws IllegalArgumentException where the plan holds something that is no address */
    fun put(
        plan: Plan,
        into: TunnelBuilder,
    ) {
        val link = requireNotNull(plan.`interface`) { "a plan without an interface" }
        into.session(SESSION)
        into.blocking(false)
        into.mtu(link.mtu.toInt())
        link.addresses.forEach { into.address(it.ip(), it.prefix.toInt()) }
        putRoutes(plan.routes, plan.excludedRoutes, into)
        plan.dns?.let { dns ->
            dns.servers.forEach { into.dnsServer(literal(it)) }
            dns.search.forEach(into::searchDomain)
        }
        if (api >= Build.VERSION_CODES.Q) into.metered(link.metered)
        putApps(plan.apps, into)
    }

    /**
     * A tunnel that nobody reads: what is routed into it goes nowhere.
     *
     * @param routes what it takes; nothing = all there is
     */
    fun block(
        routes: List<IpNetwork>,
        apps: AppRules,
        into: TunnelBuilder,
    ) {
        into.session(SESSION)
        into.blocking(false)
        into.mtu(BLOCKING_MTU)
        BLOCKING_ADDRESSES.forEach { (address, prefix) -> into.address(literal(address), prefix) }
        routes.ifEmpty { EVERYTHING }.forEach { into.route(it.ip(), it.prefix.toInt()) }
        if (api >= Build.VERSION_CODES.Q) into.metered(false)
        putApps(apps, into)
    }

    /** Both say the same; the shorter one goes into the system's tables, which a binder call has to hold whole. */
    private fun putRoutes(
        routes: List<IpNetwork>,
        excluded: List<IpNetwork>,
        into: TunnelBuilder,
    ) {
        val ways = destinations(routes)
        val out = destinations(excluded)
        // A family that the system finds nothing of is blocked, which only a plan that leaves none of it out wants.
        out.filter { (_, prefix) -> prefix == 0 }.forEach { (address, _) -> into.allowFamily(address) }
        if (api < Build.VERSION_CODES.TIRAMISU || out.size >= ways.size) {
            ways.forEach { (address, prefix) -> into.route(address, prefix) }
            return
        }
        // A family that the plan routes nothing of has no default route: without addresses the system blocks it.
        val families = ways.map { (address, _) -> address is Inet4Address }.toSet()
        if (true in families) into.route(literal("0.0.0.0"), 0)
        if (false in families) into.route(literal("::"), 0)
        out.filter { (address, _) -> (address is Inet4Address) in families }.forEach { (address, prefix) ->
            into.excludeRoute(address, prefix)
        }
    }

    /** The system refuses a whole plan for a range of loopback addresses, which never leave the device anyway. */
    private fun destinations(networks: List<IpNetwork>): List<Pair<InetAddress, Int>> =
        networks.map { it.ip() to it.prefix.toInt() }.filterNot { (address, _) -> address.isLoopbackAddress }

    private fun putApps(
        apps: AppRules,
        into: TunnelBuilder,
    ) {
        when (apps) {
            is AppRules.All -> Unit
            is AppRules.Except -> (apps.packages - self).forEach(into::disallow)
            // A list of allowed apps that came out empty would mean every app to the system.
            is AppRules.Only -> if (apps.packages.count(into::allow) == 0) into.allow(self)
        }
    }

    companion object {
        /** What the system calls the VPN. */
        const val SESSION = "Weft"

        /** The least that carries IPv6 (RFC 8200, section 5). */
        private const val BLOCKING_MTU = 1280

        /** Addresses of documentation (RFC 5737 and RFC 3849): nothing is ever sent from them. */
        private val BLOCKING_ADDRESSES = listOf("192.0.2.1" to 32, "2001:db8::1" to 128)

        private val EVERYTHING =
            listOf(IpNetwork(address = "0.0.0.0", prefix = 0u), IpNetwork(address = "::", prefix = 0u))

        private val LITERAL = Regex("[0-9a-fA-F:.]+")

        /** An address of digits, without its scope. Never a look-up. */
        internal fun literal(text: String): InetAddress {
            val address = text.substringBefore('%')
            require(LITERAL.matches(address) && (':' in address || address.count { it == '.' } == 3)) {
                "no IP address: $text"
            }
            return InetAddress.getByName(address)
        }

        private fun IpNetwork.ip() = literal(address)
    }
}
