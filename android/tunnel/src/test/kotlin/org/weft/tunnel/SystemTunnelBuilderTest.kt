package org.weft.tunnel

import android.net.VpnService
import android.os.Build
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import org.weft.core.AppRules
import org.weft.core.Plan
import java.net.InetAddress

/** The same plan in the real builder of three systems: below excludes and meteredness, at excludes, today's. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [28, 33, 35], shadows = [ShadowBuilder::class, ShadowVpn::class])
class SystemTunnelBuilderTest {
    private fun establish(
        plan: Plan,
        refused: Set<String> = emptySet(),
    ): Built {
        FakeSystem.reset()
        FakeSystem.refusedApps = refused
        FakeSystem.establish = { Libc.pipe() }
        val service = Robolectric.buildService(Plain::class.java).create().get()
        val builder = service.Builder()
        PlanBuilder(Build.VERSION.SDK_INT, RuntimeEnvironment.getApplication().packageName)
            .put(plan, SystemTunnelBuilder(builder))
        builder.establish()!!.close()
        return FakeSystem.built.single()
    }

    @Test
    fun thePlanIsInTheSystemsBuilder() {
        val built = establish(Plans.exclude)
        assertEquals(listOf("172.16.0.2/32", "2001:db8::2/128").map(::short), built.addresses.map(::short))
        assertEquals(1280, built.mtu)
        assertEquals(listOf("100.100.100.53", "fd01:db8:1111::53").map(::short), built.dns.map(::short))
        assertEquals(listOf("corp.example"), built.search)
        assertEquals(false, built.blocking)
        assertEquals(if (Build.VERSION.SDK_INT >= 29) false else null, built.metered)
    }

    @Test
    fun theRoutesAreWhatTheSystemCanTake() {
        val loopback = listOf("127.0.0.0/8", "::1/128").map(Plans::network)
        val built = establish(Plans.exclude.copy(excludedRoutes = Plans.exclude.excludedRoutes + loopback))
        if (Build.VERSION.SDK_INT >= 33) {
            assertEquals(listOf("0.0.0.0/0", "::/0").map(::short), built.routes.map(::short))
            assertEquals(listOf("10.0.0.0/8"), built.excluded)
        } else {
            assertEquals(Plans.exclude.routes.map { short("${it.address}/${it.prefix}") }, built.routes.map(::short))
            assertEquals(emptyList<String>(), built.excluded)
        }
    }

    @Test
    fun whatIsLeftOutWholeIsNotBlocked() {
        val four = Plans.network("172.16.0.2/32")
        val include = Plans.include.copy(`interface` = Plans.include.`interface`!!.copy(addresses = listOf(four)))
        val narrow = include.copy(dns = null)
        assertEquals(true, establish(narrow).allowsV6)
        val everything = Plans.exclude.routes.dropLast(1)
        assertEquals(false, establish(narrow.copy(routes = everything, excludedRoutes = emptyList())).allowsV6)
    }

    @Test
    fun listsOfAppsReachTheSystem() {
        val apps = listOf("org.example.mail", "org.example.gone")
        val only = establish(Plans.exclude.copy(apps = AppRules.Only(apps)))
        assertEquals(apps, only.allowed)
        assertNull(only.disallowed)
        val except = establish(Plans.exclude.copy(apps = AppRules.Except(apps)))
        assertEquals(apps, except.disallowed)
        assertNull(except.allowed)
    }

    @Test
    fun appsThatTheSystemRefusesArePassedOverAndNeverMeanEveryApp() {
        val (mail, gone) = "org.example.mail" to "org.example.gone"
        val except = establish(Plans.exclude.copy(apps = AppRules.Except(listOf(gone, mail))), setOf(gone))
        assertEquals(listOf(mail), except.disallowed)
        val only = establish(Plans.exclude.copy(apps = AppRules.Only(listOf(gone, mail))), setOf(gone))
        assertEquals(listOf(mail), only.allowed)
        val none = establish(Plans.exclude.copy(apps = AppRules.Only(listOf(gone))), setOf(gone))
        assertEquals(listOf(RuntimeEnvironment.getApplication().packageName), none.allowed)
    }

    /** One spelling: Java prints IPv6 in full, Android's own classes in short. */
    private fun short(text: String): String {
        val (address, prefix) = if ('/' in text) text.split('/') else listOf(text, "")
        return "${InetAddress.getByName(address).hostAddress}/$prefix"
    }

    /** A service of no consequence, so that no core is loaded. */
    class Plain : VpnService()
}
