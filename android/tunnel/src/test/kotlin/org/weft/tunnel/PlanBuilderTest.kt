package org.weft.tunnel

import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test
import org.weft.core.AppRules
import org.weft.core.Plan
import org.weft.tunnel.Plans.network

/** The function from a plan to a builder, without any Android. */
class PlanBuilderTest {
    private val self = "org.weft.android"
    private val mail = "org.example.mail"

    private fun put(
        plan: Plan,
        api: Int = 35,
        into: Recorder = Recorder(setOf(self, mail)),
    ) = into.also { PlanBuilder(api, self).put(plan, it) }

    @Test
    fun everyPartOfThePlanGetsToTheBuilder() {
        val built = put(Plans.exclude)
        assertEquals(listOf("172.16.0.2/32", "2001:db8:0:0:0:0:0:2/128"), built.of("address"))
        assertEquals(listOf("1280"), built.of("mtu"))
        assertEquals(listOf("100.100.100.53", "fd01:db8:1111:0:0:0:0:53"), built.of("dns"))
        assertEquals(listOf("corp.example"), built.of("search"))
        assertEquals(listOf("false"), built.of("metered"))
        assertEquals(listOf("false"), built.of("blocking"))
    }

    @Test
    fun fromApi33ExcludesAreTakenAsTheyAre() {
        val built = put(Plans.exclude, api = 33)
        assertEquals(listOf("0.0.0.0/0", "0:0:0:0:0:0:0:0/0"), built.of("route"))
        assertEquals(listOf("10.0.0.0/8"), built.of("exclude"))
    }

    @Test
    fun loopbackIsNotPutToTheSystem() {
        val out = listOf("10.0.0.0/8", "127.0.0.0/8", "::1/128").map(::network)
        assertEquals(listOf("10.0.0.0/8"), put(Plans.exclude.copy(excludedRoutes = out)).of("exclude"))
    }

    @Test
    fun beforeApi33TheComplementIsRouted() {
        val built = put(Plans.exclude, api = 32)
        assertEquals(9, built.of("route").size)
        assertEquals("0.0.0.0/5", built.of("route").first())
        assertEquals(emptyList<String>(), built.of("exclude"))
    }

    @Test
    fun whatIsIncludedIsRoutedAndNotExpressedByAllTheRest() {
        val built = put(Plans.include)
        assertEquals(listOf("203.0.113.0/24"), built.of("route"))
        assertEquals(emptyList<String>(), built.of("exclude"))
    }

    @Test
    fun aFamilyThatThePlanRoutesNothingOfGetsNoDefaultRoute() {
        val plan = Plans.exclude.copy(routes = Plans.exclude.routes.dropLast(1))
        val built = put(plan.copy(excludedRoutes = listOf("10.0.0.0/8", "fe80::/10").map(::network)))
        assertEquals(listOf("0.0.0.0/0"), built.of("route"))
        assertEquals(listOf("10.0.0.0/8"), built.of("exclude"))
    }

    @Test
    fun aFamilyThatIsLeftOutWholeGoesPastTheTunnelAndNoOther() {
        for (api in listOf(26, 35)) {
            assertEquals(listOf("0:0:0:0:0:0:0:0"), put(Plans.include, api).of("family"))
            assertEquals(emptyList<String>(), put(Plans.exclude, api).of("family"))
            // IPv6 in neither list: the tunnel would carry it, and cannot.
            val narrow = Plans.exclude.copy(routes = Plans.exclude.routes.dropLast(1))
            assertEquals(emptyList<String>(), put(narrow, api).of("family"))
        }
    }

    @Test
    fun beforeApi29NothingIsSaidOfMeteredness() =
        assertEquals(emptyList<String>(), put(Plans.exclude, 28).of("metered"))

    @Test
    fun appsThatTheSystemRefusesAreLeftOut() {
        val built = put(Plans.exclude.copy(apps = AppRules.Except(listOf("org.example.gone", mail))))
        assertEquals(listOf(mail), built.of("disallow"))
    }

    @Test
    fun weftItselfIsNeverExcluded() {
        val built = put(Plans.exclude.copy(apps = AppRules.Except(listOf(self, mail))))
        assertEquals(listOf(mail), built.of("disallow"))
    }

    @Test
    fun aListOfAllowedAppsThatAreAllMissingDoesNotMeanEveryApp() {
        val built = put(Plans.exclude.copy(apps = AppRules.Only(listOf("org.example.gone"))))
        assertEquals(listOf(self), built.of("allow"))
        assertEquals(listOf(self), put(Plans.exclude.copy(apps = AppRules.Only(emptyList()))).of("allow"))
    }

    @Test
    fun aBlockingTunnelTakesWhatThePlanBeforeTookAndElseEverything() {
        val some = Recorder().also { PlanBuilder(35, self).block(Plans.include.routes, AppRules.All, it) }
        assertEquals(listOf("203.0.113.0/24"), some.of("route"))
        val all = Recorder().also { PlanBuilder(35, self).block(emptyList(), AppRules.All, it) }
        assertEquals(listOf("0.0.0.0/0", "0:0:0:0:0:0:0:0/0"), all.of("route"))
        assertEquals(listOf("192.0.2.1/32", "2001:db8:0:0:0:0:0:1/128"), all.of("address"))
        assertEquals(emptyList<String>(), all.of("dns"))
    }

    @Test
    fun onlyDigitsAreAddressesAndNamesAreNeverLookedUp() {
        assertEquals("fe80:0:0:0:0:0:0:1", PlanBuilder.literal("fe80::1%wlan0").hostAddress)
        for (text in listOf("localhost", "cafe", "1.2.3", "", "1.2.3.4.example", "%wlan0")) {
            assertThrows(text, IllegalArgumentException::class.java) { PlanBuilder.literal(text) }
        }
    }
}
