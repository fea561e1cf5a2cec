package org.weft.tunnel

import android.app.Application
import android.net.ConnectivityManager
import android.net.IpPrefix
import android.net.LinkProperties
import android.net.Network
import android.net.NetworkCapabilities
import android.net.RouteInfo
import android.os.Looper
import org.robolectric.Shadows.shadowOf
import org.robolectric.shadows.ShadowNetwork
import org.robolectric.shadows.ShadowNetworkCapabilities
import java.net.Inet6Address
import java.net.InetAddress

/** The networks that the system knows, told to whoever listens as the system tells them. */
class TestNetworks(
    application: Application,
) {
    val connectivity: ConnectivityManager = application.getSystemService(ConnectivityManager::class.java)
    private val shadow = shadowOf(connectivity)

    /** What an app would read of a network. */
    class Description(
        val id: Int,
        val interfaceName: String = "wlan$id",
        val dns: List<String> = listOf("192.168.50.20", "fe80::1"),
        val v4: Boolean = true,
        val v6: Boolean = true,
        val metered: Boolean = false,
        val validated: Boolean = true,
        val portal: Boolean = false,
        val privateDnsHost: String? = null,
        val transport: Int = NetworkCapabilities.TRANSPORT_WIFI,
    ) {
        val network: Network = ShadowNetwork.newInstance(id)

        val capabilities: NetworkCapabilities =
            ShadowNetworkCapabilities.newInstance().also { capabilities ->
                val wanted =
                    listOf(
                        NetworkCapabilities.NET_CAPABILITY_INTERNET to true,
                        NetworkCapabilities.NET_CAPABILITY_NOT_VPN to true,
                        NetworkCapabilities.NET_CAPABILITY_NOT_METERED to !metered,
                        NetworkCapabilities.NET_CAPABILITY_VALIDATED to validated,
                        NetworkCapabilities.NET_CAPABILITY_CAPTIVE_PORTAL to portal,
                    )
                val shadow = shadowOf(capabilities)
                wanted.forEach { (capability, has) ->
                    if (has) shadow.addCapability(capability) else shadow.removeCapability(capability)
                }
                shadow.addTransportType(transport)
            }

        val link: LinkProperties =
            LinkProperties().also { link ->
                link.interfaceName = interfaceName
                link.setDnsServers(dns.map(::resolver))
                if (v4) link.addRoute(route("0.0.0.0"))
                if (v6) link.addRoute(route("::"))
                link.setPrivateDnsServerName(privateDnsHost)
                link.setUsePrivateDns(privateDnsHost != null)
            }

        /** A link-local one comes with its interface. */
        private fun resolver(text: String): InetAddress {
            val address = InetAddress.getByName(text)
            return if (address.isLinkLocalAddress) Inet6Address.getByAddress(null, address.address, id) else address
        }

        private fun route(any: String) = RouteInfo(IpPrefix(InetAddress.getByName(any), 0), null, interfaceName)
    }

    /** Every callback, in the order in which the system makes them for a network that it has just begun to use. */
    fun use(description: Description) {
        shadow.setNetworkCapabilities(description.network, description.capabilities)
        shadow.setLinkProperties(description.network, description.link)
        tell { it.onAvailable(description.network) }
        tell { it.onCapabilitiesChanged(description.network, description.capabilities) }
        tell { it.onLinkPropertiesChanged(description.network, description.link) }
    }

    fun lose(description: Description) = tell { it.onLost(description.network) }

    fun tell(what: (ConnectivityManager.NetworkCallback) -> Unit) {
        shadow.networkCallbacks.toList().forEach(what)
        shadowOf(Looper.getMainLooper()).idle()
    }

    val listeners: Int get() = shadow.networkCallbacks.size
}
