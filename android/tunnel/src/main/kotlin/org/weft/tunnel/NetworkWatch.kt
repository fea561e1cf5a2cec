package org.weft.tunnel

import android.annotation.TargetApi
import android.net.ConnectivityManager
import android.net.LinkProperties
import android.net.Network
import android.net.NetworkCapabilities
import android.net.NetworkRequest
import android.os.Build
import android.os.Handler
import android.os.Looper
import org.weft.core.NetworkInfo
import org.weft.core.PrivateDns
import java.net.Inet4Address
import java.net.Inet6Address

/** The network below the tunnel. */
data class UnderlyingNetwork(
    /** Null: there is none. */
    val network: Network?,
    val info: NetworkInfo,
) {
    companion object {
        val NONE =
            UnderlyingNetwork(
                network = null,
                info =
                    NetworkInfo(
                        id = null,
                        `interface` = null,
                        hasV4 = false,
                        hasV6 = false,
                        dnsServers = emptyList(),
                        metered = false,
                        privateDns = PrivateDns.Off,
                    ),
            )

        internal fun of(
            network: Network,
            capabilities: NetworkCapabilities,
            link: LinkProperties,
        ) = UnderlyingNetwork(
            network = network,
            info =
                NetworkInfo(
                    id = network.networkHandle.toString(),
                    `interface` = link.interfaceName,
                    hasV4 = link.routes.any { it.isDefaultRoute && it.destination.address is Inet4Address },
                    hasV6 = link.routes.any { it.isDefaultRoute && it.destination.address is Inet6Address },
                    // A resolver with a scope cannot be reached without it, and the core takes addresses alone.
                    dnsServers = link.dnsServers.mapNotNull { it.hostAddress }.filterNot { '%' in it },
                    metered = !capabilities.hasCapability(NetworkCapabilities.NET_CAPABILITY_NOT_METERED),
                    privateDns = if (knowsPrivateDns()) privateDns(link) else PrivateDns.Off,
                ),
        )

        private fun knowsPrivateDns() = Build.VERSION.SDK_INT >= Build.VERSION_CODES.P

        @TargetApi(Build.VERSION_CODES.P)
        private fun privateDns(link: LinkProperties): PrivateDns {
            val host = link.privateDnsServerName
            return when {
                host != null -> PrivateDns.Strict(host)
                link.isPrivateDnsActive -> PrivateDns.Opportunistic
                else -> PrivateDns.Off
            }
        }
    }
}

/**
 * Follows the network that the device uses besides VPNs, and tells of each one that differs from the last. From API 31
 * the system names the best one; before, the best of all is picked here.
 */
class NetworkWatch(
    private val connectivity: ConnectivityManager,
    private val changed: (UnderlyingNetwork) -> Unit,
) {
    private class Part(
        var capabilities: NetworkCapabilities? = null,
        var link: LinkProperties? = null,
    )

    private val parts = LinkedHashMap<Network, Part>()
    private var told: UnderlyingNetwork? = null
    private val oneAtATime = Build.VERSION.SDK_INT >= Build.VERSION_CODES.S
    private var running = false

    private val callback =
        object : ConnectivityManager.NetworkCallback() {
            override fun onAvailable(network: Network) =
                change {
                    if (oneAtATime) parts.clear()
                    parts[network] = Part()
                }

            override fun onCapabilitiesChanged(
                network: Network,
                capabilities: NetworkCapabilities,
            ) = change { parts[network]?.capabilities = capabilities }

            override fun onLinkPropertiesChanged(
                network: Network,
                link: LinkProperties,
            ) = change { parts[network]?.link = link }

            override fun onLost(network: Network) = change { parts.remove(network) }
        }

    @Synchronized
    fun start() {
        if (running) return
        val request =
            NetworkRequest
                .Builder()
                .addCapability(NetworkCapabilities.NET_CAPABILITY_INTERNET)
                .addCapability(NetworkCapabilities.NET_CAPABILITY_NOT_VPN)
                .build()
        if (oneAtATime) watchBest(request) else connectivity.registerNetworkCallback(request, callback)
        running = true
    }

    @TargetApi(Build.VERSION_CODES.S)
    private fun watchBest(request: NetworkRequest) =
        connectivity.registerBestMatchingNetworkCallback(request, callback, Handler(Looper.getMainLooper()))

    @Synchronized
    fun stop() {
        if (!running) return
        connectivity.unregisterNetworkCallback(callback)
        running = false
        parts.clear()
        told = null
    }

    /** The network at this moment; asked of the system where nothing was told yet. */
    fun current(): UnderlyingNetwork = synchronized(this) { told } ?: ask()

    private fun ask(): UnderlyingNetwork {
        val network = connectivity.activeNetwork ?: return UnderlyingNetwork.NONE
        val capabilities = connectivity.getNetworkCapabilities(network) ?: return UnderlyingNetwork.NONE
        val link = connectivity.getLinkProperties(network) ?: return UnderlyingNetwork.NONE
        // The active network of an app inside a tunnel is the tunnel.
        if (!capabilities.hasCapability(NetworkCapabilities.NET_CAPABILITY_NOT_VPN)) return UnderlyingNetwork.NONE
        return UnderlyingNetwork.of(network, capabilities, link)
    }

    /** The system tells of one network in several calls: nothing is told on before all of it is known. */
    @Synchronized
    private fun change(what: () -> Unit) {
        what()
        val complete =
            parts.mapNotNull { (network, part) ->
                val capabilities = part.capabilities ?: return@mapNotNull null
                val link = part.link ?: return@mapNotNull null
                Triple(network, capabilities, link)
            }
        if (complete.isEmpty() && parts.isNotEmpty()) return
        val best = complete.maxByOrNull { (_, capabilities, _) -> rank(capabilities) }
        val now = best?.let { (network, capabilities, link) -> UnderlyingNetwork.of(network, capabilities, link) }
        tell(now ?: UnderlyingNetwork.NONE)
    }

    private fun tell(now: UnderlyingNetwork) {
        if (now == told) return
        told = now
        changed(now)
    }

    internal companion object {
        /** Higher is better: what works, then what costs nothing, then what is fastest. */
        fun rank(capabilities: NetworkCapabilities): Int {
            val validated = capabilities.hasCapability(NetworkCapabilities.NET_CAPABILITY_VALIDATED)
            val free = capabilities.hasCapability(NetworkCapabilities.NET_CAPABILITY_NOT_METERED)
            val transport =
                when {
                    capabilities.hasTransport(NetworkCapabilities.TRANSPORT_ETHERNET) -> 2
                    capabilities.hasTransport(NetworkCapabilities.TRANSPORT_WIFI) -> 1
                    else -> 0
                }
            return (if (validated) 8 else 0) + (if (free) 4 else 0) + transport
        }
    }
}
