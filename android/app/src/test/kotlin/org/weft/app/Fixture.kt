package org.weft.app

import android.app.Application
import android.content.Context
import org.weft.tunnel.KeySource
import org.weft.tunnel.SecretStore
import org.weft.tunnel.Tunnel
import org.weft.tunnel.TunnelOptions
import org.weft.tunnel.TunnelOptionsProvider
import java.io.File
import java.util.Base64
import java.util.concurrent.locks.LockSupport
import javax.crypto.spec.SecretKeySpec

/** The app with a key of its own: a JVM has no key store of Android's. The core is the real one. */
class TestApplication :
    Application(),
    TunnelOptionsProvider {
    override val tunnelOptions: TunnelOptions by lazy {
        TunnelOptions(this, keys = KEY, notification = StateNotification)
    }

    companion object {
        val KEY = KeySource { SecretKeySpec(ByteArray(32) { 7 }, "AES") }
    }
}

/** Makes sure that nobody has set the device up. */
fun forgotten(context: Context) {
    File(context.noBackupFilesDir, "weft").deleteRecursively()
}

/** Leaves the device as one that has joined gateway.example, where nobody answers. Before the first [Tunnel.of]. */
fun joined(
    context: Context,
    profile: String = PROFILE,
) {
    val key = { fill: Int -> Base64.getEncoder().encodeToString(ByteArray(32) { fill.toByte() }) }
    val state =
        """
        {
          "registration": {
            "id": "device-1", "source": "orchestrated", "private_key": "${key(64)}", "addresses": ["172.16.0.2/32"],
            "gateways": [{
              "api": {"name": "gateway.example", "addresses": ["192.0.2.1:443"]},
              "tunnel": {"public_key": "${key(9)}", "addresses": ["192.0.2.1"], "ports": [2408]},
              "dns": {"doh": {"name": "gateway.example", "path": "/dns-query", "inside": "100.64.0.1:443"}}
            }]
          },
          "profile": $profile
        }
        """
    SecretStore(File(context.noBackupFilesDir, "weft/secrets"), TestApplication.KEY).store("state", state.toByteArray())
}

const val PROFILE =
    """{
      "name": "Staff", "allow_mode_switch": true, "support_url": "https://help.example",
      "include": [{"host": "*.corp.example"}, {"address": "10.0.0.0/8"}],
      "fallback_domains": [{"suffix": "corp.example", "dns_server": ["10.0.0.53"]}]
    }"""

/** Looks until [holds], or says [what] has not come. */
fun eventually(
    what: () -> String,
    holds: () -> Boolean,
) {
    val end = System.nanoTime() + 20_000_000_000
    while (!holds()) {
        if (System.nanoTime() > end) throw AssertionError("has not come: ${what()}")
        LockSupport.parkNanos(10_000_000)
    }
}
