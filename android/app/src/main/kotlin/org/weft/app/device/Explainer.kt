package org.weft.app.device

import org.weft.app.state.Explanation
import org.weft.app.state.Resolver
import org.weft.app.state.Route
import org.weft.core.DnsSource
import org.weft.core.Session
import org.weft.core.Way
import org.weft.core.WeftException

/** Asks the core what becomes of a name. Where that depends on its addresses, and [mayAsk], it asks for them too. */
internal class Explainer(
    private val core: Session,
    private val mayAsk: Boolean,
) {
    suspend fun explain(input: String): Explanation = if (isAddress(input)) address(input) else host(input)

    private suspend fun address(input: String): Explanation {
        val answer = core.explainAddress(input)
        return Explanation(answer.address, null, route(answer.way), answer.why)
    }

    private suspend fun host(input: String): Explanation {
        val answer = core.explainHost(input)
        val addresses =
            if (answer.way == null && mayAsk) {
                listOf("A", "AAAA").flatMap { look(answer.name, it) }.take(ADDRESSES).map { core.explainAddress(it) }
            } else {
                emptyList()
            }
        val way = answer.way ?: addresses.map { it.way }.toSet().singleOrNull()
        val lines = addresses.flatMap { address -> address.why.map { "${address.address}: $it" } }
        return Explanation(answer.name, resolver(answer.source), route(way), answer.why + lines)
    }

    /** The addresses of [name]; none where it does not resolve: that is no reason to explain nothing. */
    private suspend fun look(
        name: String,
        type: String,
    ): List<String> =
        try {
            core.dnsLookup(name, type).answers.mapNotNull { addressOf(it, type) }
        } catch (_: WeftException) {
            emptyList()
        }

    private fun route(way: Way?): Route =
        when (way) {
            Way.TUNNEL -> Route.Inside
            Way.OUTSIDE -> Route.Outside
            Way.BLOCKED -> Route.Blocked
            null -> Route.Unknown
        }

    private fun resolver(source: DnsSource?): Resolver =
        when (source) {
            is DnsSource.Doh -> Resolver.Gateway
            is DnsSource.Fallback -> Resolver.Fallback(source.suffix, source.servers)
            is DnsSource.Plain -> Resolver.Tunnel(source.servers)
            is DnsSource.System, is DnsSource.Portal, null -> Resolver.Network
            is DnsSource.Local, is DnsSource.Hosts, is DnsSource.Cache, is DnsSource.Refused -> Resolver.Weft
        }

    private companion object {
        /** More addresses than a screen holds tell nobody more. */
        const val ADDRESSES = 8
    }
}

/** The address of a line as a zone file has it ("name 60 IN A 192.0.2.1"), if it is of [type]. */
internal fun addressOf(
    line: String,
    type: String,
): String? {
    val words = line.split(' ', '\t').filter(String::isNotEmpty)
    val at = words.indexOf(type)
    return if (at > 0) words.getOrNull(at + 1)?.takeIf(::isAddress) else null
}

/** Whether somebody means an address: names hold no colon, and their last label is not of digits (RFC 1123, 2.1). */
internal fun isAddress(text: String): Boolean =
    ':' in text || (text.isNotEmpty() && text.all { it == '.' || it in '0'..'9' })

/** The name or address of what may have been copied from a browser's address line. */
internal fun hostOf(text: String): String {
    val rest = text.trim().substringAfter("://")
    val authority = rest.takeWhile { it !in "/?#" }.substringAfterLast('@')
    return when {
        authority.startsWith('[') -> authority.drop(1).substringBefore(']')
        authority.count { it == ':' } == 1 -> authority.substringBefore(':')
        else -> authority
    }
}
