package org.weft.app.device

import org.weft.app.state.Explanation
import org.weft.app.state.Route
import org.weft.core.HostRoute
import org.weft.core.Session
import org.weft.core.WeftException

/** Asks the core what becomes of a name. Where that depends on its addresses, and [mayAsk], it asks for them too. */
internal class Explainer(
    private val core: Session,
    private val mayAsk: Boolean,
) {
    suspend fun explain(input: String): Explanation = if (isAddress(input)) address(input) else host(input)

    private suspend fun address(input: String): Explanation {
        val answer = core.explainAddress(input)
        return Explanation(answer.address, emptyList(), route(answer.tunnelled), answer.why)
    }

    private suspend fun host(input: String): Explanation {
        val answer = core.explainHost(input)
        // The core's first line says who resolves the name, those after it which way it goes.
        val who = answer.why.take(1)
        val why = answer.why.drop(1)
        return when (answer.route) {
            HostRoute.TUNNEL -> Explanation(answer.name, who, Route.Inside, why)
            HostRoute.OUTSIDE, HostRoute.NO_TUNNEL -> Explanation(answer.name, who, Route.Outside, why)
            HostRoute.BY_ADDRESS -> byAddress(answer.name, who, why)
        }
    }

    private suspend fun byAddress(
        name: String,
        who: List<String>,
        why: List<String>,
    ): Explanation {
        val addresses = if (mayAsk) listOf("A", "AAAA").flatMap { look(name, it) }.take(ADDRESSES) else emptyList()
        val each = addresses.map { core.explainAddress(it) }
        val ways = each.map { it.tunnelled }.toSet()
        val lines = each.flatMap { address -> address.why.map { "${address.address}: $it" } }
        return Explanation(name, who, ways.singleOrNull()?.let(::route) ?: Route.Unknown, why + lines)
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

    private fun route(tunnelled: Boolean) = if (tunnelled) Route.Inside else Route.Outside

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
    ':' in text || text.isNotEmpty() && text.all { it == '.' || it in '0'..'9' }

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
