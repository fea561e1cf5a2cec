package org.weft.tunnel

import org.weft.core.Host
import org.weft.core.HostException
import org.weft.core.NetworkInfo
import java.io.IOException
import java.security.ProviderException

/** What the core asks of Android. Called on a thread of the core's. */
internal class CoreHost(
    private val secrets: SecretStore,
    private val watch: NetworkWatch,
    private val vpn: () -> VpnSide?,
    private val lost: () -> Unit,
) : Host {
    /** Without a running service there is no tunnel of Weft's that the socket could fall into. */
    override fun protect(fd: Int) {
        val vpn = vpn() ?: return
        if (!vpn.protect(fd)) throw HostException.Failed("the system does not protect the socket")
    }

    override fun loadSecret(name: String): ByteArray? = storage { secrets.load(name, lost) }

    override fun storeSecret(
        name: String,
        value: ByteArray?,
    ) = storage { secrets.store(name, value) }

    override fun network(): NetworkInfo = watch.current().info

    private fun <T> storage(work: () -> T): T =
        try {
            work()
        } catch (error: IOException) {
            throw HostException.Failed(error.message ?: "the storage fails")
        } catch (error: ProviderException) {
            throw HostException.Failed(error.message ?: "the key store fails")
        } catch (error: IllegalArgumentException) {
            throw HostException.Failed(error.message ?: "not a name")
        }
}
