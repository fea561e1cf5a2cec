package org.weft.tunnel

import android.net.NetworkCapabilities.TRANSPORT_CELLULAR
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import org.weft.core.PrivateDns
import org.weft.tunnel.TestNetworks.Description

@RunWith(RobolectricTestRunner::class)
class NetworkWatchTest {
    private val networks = TestNetworks(RuntimeEnvironment.getApplication())
    private val told = mutableListOf<UnderlyingNetwork>()
    private val watch = NetworkWatch(networks.connectivity) { told += it }.apply { start() }

    /** Old systems' routes want constants of addresses that Java's own library lacks. */
    private val routes = RuntimeEnvironment.getApiLevel() >= 33
    private val home = Description(1, v4 = routes, v6 = routes)

    @Test
    fun aNetworkIsToldOnceItIsKnownWhole() {
        networks.tell { it.onAvailable(home.network) }
        networks.tell { it.onCapabilitiesChanged(home.network, home.capabilities) }
        assertEquals(0, told.size)
        networks.tell { it.onLinkPropertiesChanged(home.network, home.link) }
        val now = told.single()
        assertEquals(home.network, now.network)
        assertEquals("wlan1", now.info.`interface`)
        assertEquals(listOf("192.168.50.20"), now.info.dnsServers)
        assertTrue(now.info.hasV4 && now.info.hasV6)
        assertEquals(false, now.info.metered)
        assertEquals(PrivateDns.Off, now.info.privateDns)
        assertEquals(now, watch.current())
    }

    @Test
    fun whatChangesNothingIsNotTold() {
        networks.use(home)
        networks.tell { it.onCapabilitiesChanged(home.network, home.capabilities) }
        networks.tell { it.onLinkPropertiesChanged(home.network, home.link) }
        assertEquals(1, told.size)
    }

    @Test
    fun anotherNetworkTakesItsPlaceAndTheLossOfItLeavesNone() {
        networks.use(home)
        val mobile = Description(2, interfaceName = "rmnet0", v6 = false, metered = true)
        networks.use(mobile)
        assertEquals(2, told.size)
        assertTrue(told[0].info.id != told[1].info.id)
        assertEquals(true, told[1].info.metered)
        assertEquals(false, told[1].info.hasV6)
        networks.lose(mobile)
        assertEquals(UnderlyingNetwork.NONE, told.last())
        assertNull(watch.current().network)
    }

    /** Below API 31 the system tells of every network, and of none that it is the best. */
    @Test
    @Config(sdk = [28])
    fun onOldSystemsTheBestOfAllIsPicked() {
        val mobile =
            Description(2, "rmnet0", v4 = routes, v6 = routes, metered = true, transport = TRANSPORT_CELLULAR)
        networks.use(mobile)
        networks.use(home)
        assertEquals(listOf(mobile.network, home.network), told.map { it.network })
        val broken = Description(1, v4 = routes, v6 = routes, validated = false)
        networks.tell { it.onCapabilitiesChanged(home.network, broken.capabilities) }
        assertEquals("Wi-Fi that leads nowhere", mobile.network, told.last().network)
        networks.tell { it.onCapabilitiesChanged(home.network, home.capabilities) }
        networks.lose(home)
        assertEquals(mobile.network, told.last().network)
    }

    @Test
    fun privateDnsIsSeen() {
        networks.use(Description(1, privateDnsHost = "dns.example"))
        assertEquals(PrivateDns.Strict("dns.example"), told.single().info.privateDns)
    }

    @Test
    fun afterTheStopNobodyListens() {
        assertEquals(1, networks.listeners)
        watch.start()
        assertEquals(1, networks.listeners)
        watch.stop()
        watch.stop()
        assertEquals(0, networks.listeners)
    }
}
