package org.weft.tunnel

import android.annotation.TargetApi
import android.content.pm.PackageManager
import android.net.IpPrefix
import android.net.VpnService
import android.os.Build
import android.system.OsConstants
import java.net.Inet4Address
import java.net.InetAddress

/** The system's own builder. Calls that the running system does not know are never made: see [PlanBuilder]. */
class SystemTunnelBuilder(
    private val builder: VpnService.Builder,
) : TunnelBuilder {
    override fun session(name: String) {
        builder.setSession(name)
    }

    override fun mtu(bytes: Int) {
        builder.setMtu(bytes)
    }

    override fun address(
        address: InetAddress,
        prefix: Int,
    ) {
        builder.addAddress(address, prefix)
    }

    override fun route(
        address: InetAddress,
        prefix: Int,
    ) {
        builder.addRoute(address, prefix)
    }

    @TargetApi(Build.VERSION_CODES.TIRAMISU)
    override fun excludeRoute(
        address: InetAddress,
        prefix: Int,
    ) {
        builder.excludeRoute(IpPrefix(address, prefix))
    }

    override fun allowFamily(address: InetAddress) {
        builder.allowFamily(if (address is Inet4Address) OsConstants.AF_INET else OsConstants.AF_INET6)
    }

    override fun dnsServer(address: InetAddress) {
        builder.addDnsServer(address)
    }

    override fun searchDomain(domain: String) {
        builder.addSearchDomain(domain)
    }

    override fun allow(packageName: String) = known { builder.addAllowedApplication(packageName) }

    override fun disallow(packageName: String) {
        known { builder.addDisallowedApplication(packageName) }
    }

    @TargetApi(Build.VERSION_CODES.Q)
    override fun metered(metered: Boolean) {
        builder.setMetered(metered)
    }

    override fun blocking(blocking: Boolean) {
        builder.setBlocking(blocking)
    }

    /**
     * The builder is documented to throw for an app that is not installed. Android 8 to 15 take any name; their VPN
     * service passes over the names that it does not find.
     */
    private fun known(add: () -> Unit) =
        try {
            add()
            true
        } catch (_: PackageManager.NameNotFoundException) {
            false
        }
}
