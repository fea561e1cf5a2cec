package org.weft.tunnel

import android.content.pm.PackageManager

/**
 * Browsers that may ask a resolver of their own choice whatever the system's is. Others (Chrome's) do so only where the
 * system's resolver is one that they know, which Weft's is not. The library's manifest names the same packages, without
 * which the system hides them.
 */
internal object Browsers {
    private val OWN_RESOLVER =
        listOf(
            "org.mozilla.firefox",
            "org.mozilla.firefox_beta",
            "org.mozilla.fenix",
            "org.mozilla.focus",
            "com.opera.browser",
            "com.kiwibrowser.browser",
        )

    fun withOwnResolver(packages: PackageManager): List<String> =
        OWN_RESOLVER.filter { name ->
            try {
                packages.getApplicationInfo(name, 0).enabled
            } catch (_: PackageManager.NameNotFoundException) {
                false
            }
        }
}
