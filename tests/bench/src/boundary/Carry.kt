package org.weft.bench

import com.sun.management.OperatingSystemMXBean
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.weft.core.Event
import org.weft.core.Host
import org.weft.core.HostException
import org.weft.core.NetworkInfo
import org.weft.core.PacketFlow
import org.weft.core.Plan
import org.weft.core.PrivateDns
import org.weft.core.Session
import org.weft.core.SessionConfig
import org.weft.core.State
import java.io.File
import java.lang.management.ManagementFactory
import java.net.InetAddress
import java.nio.ByteBuffer
import kotlin.time.DurationUnit
import kotlin.time.TimeSource

/** Packets of one call; two batches are under way at a time. */
private const val BATCH = 128

/** How long the JVM may compile before anything counts, in nanoseconds. */
private const val WARM_UP = 1_500_000_000L

private fun told(name: String) = requireNotNull(System.getenv(name)) { name }

private class AppHost : Host {
    override fun protect(fd: Int) = Unit

    override fun loadSecret(name: String): ByteArray = File(told("WEFT_STATE")).readBytes()

    override fun storeSecret(
        name: String,
        value: ByteArray?,
    ) {
        if (value == null) throw HostException.Failed("this device does not leave")
        File(told("WEFT_STATE")).writeBytes(value)
    }

    override fun network() = NetworkInfo("1", "eth0", true, false, emptyList(), false, PrivateDns.Off)
}

/** The Internet checksum (RFC 1071) of an even number of bytes. */
private fun checksum(bytes: ByteArray): Int {
    val words = ByteBuffer.wrap(bytes).asShortBuffer()
    var sum = 0
    while (words.hasRemaining()) sum += words.get().toInt() and 0xffff
    while (sum shr 16 != 0) sum = (sum and 0xffff) + (sum shr 16)
    return sum.inv() and 0xffff
}

/** An ICMP echo request (RFC 792) in an IPv4 packet (RFC 791). */
private fun echo(
    own: String,
    number: Int,
    size: Int,
): ByteArray {
    val message = ByteBuffer.allocate(size - 20)
    message.putShort(0x0800).putShort(0).putShort(7).putShort(number.toShort())
    message.putShort(2, checksum(message.array()).toShort())
    val head = ByteBuffer.allocate(20)
    head.putShort(0x4500).putShort(size.toShort()).putInt(0).putShort(0x4001).putShort(0)
    head.put(InetAddress.getByName(own).address).put(InetAddress.getByName(told("WEFT_ECHO")).address)
    head.putShort(10, checksum(head.array()).toShort())
    return head.array() + message.array()
}

private suspend fun connect(session: Session): Plan {
    session.connect()
    var last: Plan? = null
    while (true) {
        when (val event = checkNotNull(session.nextEvent()) { "the session has ended" }) {
            is Event.Plan -> {
                last = event.plan
                session.acknowledgePlan(event.plan.number, null)
            }
            is Event.Status -> if (event.status.state == State.CONNECTED) return checkNotNull(last)
            is Event.Panicked -> error(event.detail)
            else -> Unit
        }
    }
}

private class Carrier(
    private val flow: PacketFlow,
    packets: List<ByteArray>,
) {
    private val batch: ByteBuffer = ByteBuffer.allocateDirect(packets.sumOf { it.size })
    private val offsets = packets.runningFold(0u) { offset, packet -> offset + packet.size.toUInt() }
    private var underWay = 0

    init {
        packets.forEach(batch::put)
        batch.flip()
    }

    /** The echoes that come back within the time. */
    fun carry(nanoseconds: Long): Long {
        val end = System.nanoTime() + nanoseconds
        var back = 0L
        while (System.nanoTime() < end) {
            while (underWay <= BATCH) underWay += flow.send(batch.duplicate(), offsets).toInt()
            val came = maxOf(flow.receiveBlocking(1000u).offsets.size - 1, 0)
            back += came
            underWay = if (came == 0) 0 else underWay - came
        }
        return back
    }
}

private fun processorTime() = (ManagementFactory.getOperatingSystemMXBean() as OperatingSystemMXBean).processCpuTime

private fun peakMemory() =
    File("/proc/self/status").readLines().first { it.startsWith("VmHWM:") }.filter(Char::isDigit)

/**
 * Connects with the registration that was left, sends echoes for a while, and prints how many came back, the seconds, those
 * of the processor, and KiB of memory.
 */
fun main() =
    runBlocking {
        val session = Session(SessionConfig("phone", "linux", "", null, null), AppHost())
        val flow = session.packetFlow()
        val plan = withTimeout(30_000) { connect(session) }
        val own = checkNotNull(plan.`interface`).addresses.first { ':' !in it.address }.address
        val size = told("WEFT_SIZE").toInt()
        val carrier = Carrier(flow, List(BATCH) { echo(own, it, size) })
        carrier.carry(WARM_UP)
        val (begun, processor) = TimeSource.Monotonic.markNow() to processorTime()
        val back = carrier.carry(told("WEFT_SECONDS").toLong() * 1_000_000_000)
        val spent = processorTime() - processor
        println("$back ${begun.elapsedNow().toDouble(DurationUnit.SECONDS)} ${spent / 1e9} ${peakMemory()}")
        session.shutdown()
    }
