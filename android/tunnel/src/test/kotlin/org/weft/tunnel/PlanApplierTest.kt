package org.weft.tunnel

import android.net.Network
import android.os.ParcelFileDescriptor
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.weft.core.Plan
import org.weft.core.WeftException

@RunWith(RobolectricTestRunner::class)
class PlanApplierTest {
    private class Side : VpnSide {
        var next: () -> ParcelFileDescriptor? = { Descriptor() }
        val recorders = mutableListOf<Recorder>()

        override fun establish(fill: (TunnelBuilder) -> PlanBuilder.Applied): Established? {
            val recorder = Recorder()
            val applied = fill(recorder)
            val descriptor = next() ?: return null
            recorders += recorder
            return Established(descriptor, applied)
        }

        override fun protect(fd: Int) = true

        override fun underlying(network: Network?) = Unit

        override fun finish() = Unit
    }

    private class Descriptor : ParcelFileDescriptor(null as ParcelFileDescriptor?) {
        var closed = false

        override fun detachFd() = NUMBER

        override fun close() {
            closed = true
        }
    }

    private val side = Side()
    private val attached = mutableListOf<Int>()
    private val applier = PlanApplier(PlanBuilder(35, "org.weft.android"))

    private fun apply(
        plan: Plan,
        vpn: VpnSide? = side,
    ) = applier.apply(plan, vpn, attached::add)

    @Test
    fun aPlanThatAsksForWhatStandsMakesNoNewInterface() {
        assertEquals(emptyList<String>(), apply(Plans.exclude))
        assertNull(apply(Plans.exclude))
        assertNull(apply(Plans.exclude.copy(number = 8u)))
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
        for (error in listOf(IllegalArgumentException("bad"), IllegalStateException("gone"), SecurityException("no"))) {
            side.next = { throw error }
            val failure = assertThrows(PlanFailure::class.java) { apply(Plans.include) }
            assertTrue(failure.message, error.message!! in failure.message!!)
        }
        assertThrows(PlanFailure::class.java) { apply(Plans.include, vpn = null) }
        assertNull("the first plan stands", apply(Plans.exclude))
    }

    @Test
    fun whatTheCoreRefusesDoesNotStand() {
        val refusal = WeftException.Closed("the session")
        assertThrows(WeftException::class.java) { applier.apply(Plans.exclude, side) { throw refusal } }
        apply(Plans.exclude)
        assertEquals(1, attached.size)
    }

    private companion object {
        const val NUMBER = 77
    }
}
