package org.weft.tunnel

import org.weft.core.AppRules
import org.weft.core.DnsPlan
import org.weft.core.InterfacePlan
import org.weft.core.IpNetwork
import org.weft.core.Plan
import java.net.InetAddress

/** Plans and parts of plans, for tests. */
object Plans {
    fun network(text: String) = IpNetwork(text.substringBefore('/'), text.substringAfter('/').toUByte())

    /** A plan that excludes 10.0.0.0/8 by one range, or routes the eight ranges around it. */
    val exclude =
        Plan(
            number = 7u,
            `interface` =
                InterfacePlan(
                    addresses = listOf("172.16.0.2/32", "2001:db8::2/128").map(::network),
                    mtu = 1280u,
                    metered = false,
                ),
            routes =
                listOf(
                    "0.0.0.0/5",
                    "8.0.0.0/7",
                    "11.0.0.0/8",
                    "12.0.0.0/6",
                    "16.0.0.0/4",
                    "32.0.0.0/3",
                    "64.0.0.0/2",
                    "128.0.0.0/1",
                    "::/0",
                ).map(::network),
            excludedRoutes = listOf(network("10.0.0.0/8")),
            dns = DnsPlan(servers = listOf("100.100.100.53", "fd01:db8:1111::53"), search = listOf("corp.example")),
            apps = AppRules.All,
            blocks = false,
        )

    /** A plan that takes one range, whose complement is long. */
    val include =
        exclude.copy(
            routes = listOf(network("203.0.113.0/24")),
            excludedRoutes = (1..24).map { network("198.51.100.$it/32") } + network("::/0"),
        )

    val none =
        Plan(
            number = 9u,
            `interface` = null,
            routes = emptyList(),
            excludedRoutes = emptyList(),
            dns = null,
            apps = AppRules.All,
            blocks = false,
        )
}

/** Keeps what a builder was given, one line each. */
class Recorder(
    private val installed: Set<String> = emptySet(),
) : TunnelBuilder {
    val lines = mutableListOf<String>()

    fun of(word: String) = lines.filter { it.startsWith("$word ") }.map { it.substringAfter(' ') }

    override fun session(name: String) = note("session $name")

    override fun mtu(bytes: Int) = note("mtu $bytes")

    override fun address(
        address: InetAddress,
        prefix: Int,
    ) = note("address ${address.hostAddress}/$prefix")

    override fun route(
        address: InetAddress,
        prefix: Int,
    ) = note("route ${address.hostAddress}/$prefix")

    override fun excludeRoute(
        address: InetAddress,
        prefix: Int,
    ) = note("exclude ${address.hostAddress}/$prefix")

    override fun allowFamily(address: InetAddress) = note("family ${address.hostAddress}")

    override fun dnsServer(address: InetAddress) = note("dns ${address.hostAddress}")

    override fun searchDomain(domain: String) = note("search $domain")

    override fun allow(packageName: String) = (packageName in installed).also { if (it) note("allow $packageName") }

    override fun disallow(packageName: String) {
        if (packageName in installed) note("disallow $packageName")
    }

    override fun metered(metered: Boolean) = note("metered $metered")

    override fun blocking(blocking: Boolean) = note("blocking $blocking")

    private fun note(line: String) {
        lines += line
    }
}
