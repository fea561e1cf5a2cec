package org.weft.tunnel

import android.net.Network
import android.os.ParcelFileDescriptor
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.weft.core.AppRules
import org.weft.core.Plan
import org.weft.core.WeftException

@RunWith(RobolectricTestRunner::class)
class PlanApplierTest {
    private class Side : VpnSide {
        var next: () -> ParcelFileDescriptor? = { Descriptor() }
        val recorders = mutableListOf<Recorder>()

        override fun establish(fill: (TunnelBuilder) -> Unit): ParcelFileDescriptor? {
            val recorder = Recorder(setOf("org.example.app"))
            fill(recorder)
            val descriptor = next() ?: return null
            recorders += recorder
            return descriptor
        }

        override fun protect(fd: Int) = true

        override fun underlying(network: Network?) = Unit

        override fun finish() = Unit
    }

    private class Descriptor : ParcelFileDescriptor(null as ParcelFileDescriptor?) {
        var closed = false
        var kept: Descriptor? = null

        override fun detachFd() = NUMBER

        override fun dup() = Descriptor().also { kept = it }

        override fun close() {
            closed = true
        }
    }

    private val side = Side()
    private val attached = mutableListOf<Int>()

    /** The core, which may refuse a descriptor or give one up. */
    private val core =
        object : Carrier {
            var refusal: Exception? = null
            var has = false

            override fun attach(fd: Int) {
                refusal?.let { throw it }
                attached += fd
                has = true
            }

            override fun holds() = has
        }
    private val applier = PlanApplier(PlanBuilder(35, "org.weft.android"))

    private fun apply(
        plan: Plan,
        vpn: VpnSide? = side,
    ) = applier.apply(plan, vpn, core)

    @Test
    fun aPlanThatAsksForWhatStandsMakesNoNewInterface() {
        assertTrue(apply(Plans.exclude))
        assertFalse(apply(Plans.exclude))
        assertFalse(apply(Plans.exclude.copy(number = 8u)))
        assertEquals(listOf(NUMBER), attached)
        apply(Plans.include)
        assertEquals(2, attached.size)
        apply(Plans.none)
        apply(Plans.include)
        assertEquals(3, attached.size)
    }

    @Test
    fun whatIsToBeBlockedGoesIntoAnInterfaceThatIsKeptUntilThereIsAnother() {
        apply(Plans.include)
        val wall = Descriptor()
        side.next = { wall }
        apply(Plans.none.copy(blocks = true))
        apply(Plans.none.copy(blocks = true, number = 12u))
        assertTrue(applier.blocks)
        assertEquals(2, side.recorders.size)
        assertEquals(listOf("203.0.113.0/24"), side.recorders[1].of("route"))
        assertEquals("nobody but the shell has it", 1, attached.size)
        side.next = {
            assertFalse("the wall stands until the tunnel does", wall.closed)
            Descriptor()
        }
        apply(Plans.include)
        assertTrue(wall.closed)
        assertFalse(applier.blocks)
    }

    @Test
    fun theWallIsForTheAppsOfTheTunnel() {
        apply(Plans.include.copy(apps = AppRules.Only(listOf("org.example.app"))))
        apply(Plans.none.copy(blocks = true))
        assertEquals(listOf("org.example.app"), side.recorders[1].of("allow"))
    }

    @Test
    fun aDisconnectTakesTheWallDown() {
        val wall = Descriptor()
        side.next = { wall }
        apply(Plans.none.copy(blocks = true))
        apply(Plans.none)
        assertTrue(wall.closed)
    }

    @Test
    fun everyWayToFailIsAReasonAndLeavesWhatStood() {
        apply(Plans.exclude)
        side.next = { null }
        assertTrue(assertThrows(PlanFailure::class.java) { apply(Plans.include) }.consent)
        val refusals = listOf(IllegalArgumentException("bad"), IllegalStateException("gone"), SecurityException("no"))
        for (error in refusals + RuntimeException("dead system")) {
            side.next = { throw error }
            val failure = assertThrows(PlanFailure::class.java) { apply(Plans.include) }
            assertTrue(failure.message, error.message!! in failure.message!!)
        }
        assertThrows(PlanFailure::class.java) { apply(Plans.include, vpn = null) }
        assertFalse("the first plan stands", apply(Plans.exclude))
    }

    @Test
    fun whatTheCoreRefusesDoesNotStand() {
        core.refusal = WeftException.Closed("the session")
        assertThrows(WeftException::class.java) { apply(Plans.exclude) }
        core.refusal = null
        apply(Plans.exclude)
        assertEquals(1, attached.size)
        core.refusal = WeftException.Closed("the session")
        assertThrows(WeftException::class.java) { apply(Plans.include) }
        core.refusal = null
        assertTrue("nothing stands", apply(Plans.exclude))
    }

    @Test
    fun anInterfaceThatTheCoreGaveUpStaysUntilTheNextAndIsMadeAnew() {
        val first = Descriptor()
        side.next = { first }
        apply(Plans.exclude)
        core.has = false
        assertFalse("it stands without the core", first.kept!!.closed)
        val second = Descriptor()
        side.next = {
            assertFalse(first.kept!!.closed)
            second
        }
        assertTrue(apply(Plans.exclude.copy(number = 8u)))
        assertTrue(first.kept!!.closed)
        assertEquals(2, attached.size)
        apply(Plans.none)
        assertTrue(second.kept!!.closed)
    }

    @Test
    fun anInterfaceThatNobodyReadsBecomesTheWall() {
        val made = Descriptor()
        side.next = { made }
        apply(Plans.exclude)
        applier.wall()
        assertTrue(applier.blocks)
        assertFalse(made.kept!!.closed)
        applier.forget()
        assertTrue(made.kept!!.closed)
        applier.wall()
        assertFalse("there is nothing to make one of", applier.blocks)
    }

    private companion object {
        const val NUMBER = 77
    }
}
