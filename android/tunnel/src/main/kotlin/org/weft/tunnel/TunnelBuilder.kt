package org.weft.tunnel

import java.net.InetAddress

/**
 * What a plan is put into: [SystemTunnelBuilder] on a device. Names and meaning are those of
 * [android.net.VpnService.Builder].
 */
interface TunnelBuilder {
    fun session(name: String)

    /** @param bytes 68 to 65535 */
    fun mtu(bytes: Int)

    fun address(
        address: InetAddress,
        prefix: Int,
    )

    fun route(
        address: InetAddress,
        prefix: Int,
    )

    /** From API 33. */
    fun excludeRoute(
        address: InetAddress,
        prefix: Int,
    )

    /** Lets what is routed nowhere of the family of [address] go past the VPN; without it the system blocks it. */
    fun allowFamily(address: InetAddress)

    fun dnsServer(address: InetAddress)

    fun searchDomain(domain: String)

    /** False where the system refuses the name, for want of such an app. */
    fun allow(packageName: String): Boolean

    /** Without effect where the system refuses the name, for want of such an app. */
    fun disallow(packageName: String)

    /** From API 29; before it every VPN counts as metered. */
    fun metered(metered: Boolean)

    /** Whether a read of the descriptor waits for a packet. */
    fun blocking(blocking: Boolean)
}
