package org.weft.tunnel

import java.io.File

/**
 * What Android does below a VPN service, on a Linux host of its own: interfaces out of what the builder holds, routes
 * that everybody but the protected sockets takes, and the resolvers that programs ask.
 *
 * Each interface is a TUN device; its routes stand in a table that a rule shows to every socket without [MARK]. A new
 * one takes the place of the last, which vanishes with its descriptor.
 */
class LabSystem {
    private var number = 0
    private var network: List<String> = emptyList()
    private var tunnel: List<String> = emptyList()

    private val device get() = "tun$number"

    /** Whether the interface that was made last is still there. */
    val hasTunnel: Boolean get() = File("/sys/class/net/$device").exists() || "$device:" in run("ip", "-o", "link")

    init {
        for (family in FAMILIES) {
            ip(family, "rule add not fwmark $MARK lookup $TABLE")
        }
    }

    fun protect(fd: Int): Boolean = Libc.mark(fd, MARK)

    fun establish(built: Built): Int {
        number++
        val fd = Libc.tun(device)
        ip(V4, "link set $device mtu ${built.mtu} up")
        built.addresses.forEach { ip(familyOf(it), "addr add $it dev $device") }
        for (family in FAMILIES) {
            // What the last one left out is the business of the last one.
            attempt("ip $family route flush table $TABLE type throw")
        }
        built.routes.forEach { ip(familyOf(it), "route replace $it dev $device table $TABLE") }
        built.excluded.forEach { ip(familyOf(it), "route replace throw $it table $TABLE") }
        tunnel = built.dns
        showResolvers()
        return fd
    }

    /** The system itself takes the interface away. */
    fun revoke() {
        if (hasTunnel) ip(V4, "link del $device")
        showResolvers()
    }

    fun use(resolvers: List<String>) {
        network = resolvers
        showResolvers()
    }

    /** Programs ask the tunnel's resolvers while it stands and names any, and else those of the network. */
    fun showResolvers() {
        val servers = if (hasTunnel) tunnel.ifEmpty { network } else network
        val text = servers.joinToString("") { "nameserver $it\n" }
        val file = File("/etc/resolv.conf")
        if (file.readText() != text) file.writeText(text)
    }

    private fun ip(
        family: String,
        words: String,
    ) = run("ip", family, *words.split(' ').toTypedArray())

    private fun attempt(line: String) = ProcessBuilder(line.split(' ')).start().waitFor()

    private fun run(vararg words: String): String {
        val process = ProcessBuilder(*words).redirectErrorStream(true).start()
        val said = process.inputStream.bufferedReader().readText()
        check(process.waitFor() == 0) { "${words.joinToString(" ")}: $said" }
        return said
    }

    private companion object {
        /** What tells protected sockets, and the table that the others take. */
        const val MARK = 0x100cf
        const val TABLE = 65743
        const val V4 = "-4"
        val FAMILIES = listOf(V4, "-6")

        fun familyOf(network: String) = if (':' in network) "-6" else V4
    }
}
