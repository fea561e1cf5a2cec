package org.weft.tunnel

import com.sun.jna.Library
import com.sun.jna.Memory
import com.sun.jna.Native
import com.sun.jna.Pointer

/** What a test needs of the system below the JVM. */
object Libc {
    private interface Calls : Library {
        fun open(
            path: String,
            flags: Int,
        ): Int

        fun close(fd: Int): Int

        fun dup(fd: Int): Int

        fun ioctl(
            fd: Int,
            request: Long,
            argument: Memory,
        ): Int

        fun setsockopt(
            fd: Int,
            level: Int,
            option: Int,
            value: Pointer,
            length: Int,
        ): Int

        fun pipe(ends: IntArray): Int
    }

    private val calls = Native.load("c", Calls::class.java)

    private const val O_RDWR = 2
    private const val IFF_TUN = 1
    private const val IFF_NO_PI = 0x1000
    private const val TUNSETIFF = 0x400454caL
    private const val NAME_BYTES = 16L
    private const val IFREQ_BYTES = 40L
    private const val SOL_SOCKET = 1
    private const val SO_MARK = 36

    fun close(fd: Int) = check(calls.close(fd) == 0) { "close($fd): errno ${Native.getLastError()}" }

    fun dup(fd: Int): Int = calls.dup(fd).also { check(it >= 0) { "dup($fd): errno ${Native.getLastError()}" } }

    /** A descriptor that is open and no TUN device's. */
    fun pipe(): Int {
        val ends = IntArray(2)
        check(calls.pipe(ends) == 0) { "pipe: errno ${Native.getLastError()}" }
        close(ends[1])
        return ends[0]
    }

    /** A TUN device of this network namespace. */
    fun tun(name: String): Int {
        val fd = calls.open("/dev/net/tun", O_RDWR)
        check(fd >= 0) { "/dev/net/tun: errno ${Native.getLastError()}" }
        val request = Memory(IFREQ_BYTES).apply { clear() }
        request.setString(0, name)
        request.setShort(NAME_BYTES, (IFF_TUN or IFF_NO_PI).toShort())
        check(calls.ioctl(fd, TUNSETIFF, request) == 0) { "TUNSETIFF: errno ${Native.getLastError()}" }
        return fd
    }

    /** Gives a socket a mark, by which rules tell it from others. */
    fun mark(
        fd: Int,
        mark: Int,
    ): Boolean {
        val value = Memory(Int.SIZE_BYTES.toLong()).apply { setInt(0, mark) }
        return calls.setsockopt(fd, SOL_SOCKET, SO_MARK, value, Int.SIZE_BYTES) == 0
    }
}
