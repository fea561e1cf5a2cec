package org.weft.tunnel

import android.content.pm.PackageManager
import android.net.Network
import android.net.VpnService
import android.os.ParcelFileDescriptor
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Implementation
import org.robolectric.annotation.Implements
import org.robolectric.annotation.RealObject
import org.robolectric.shadows.ShadowVpnService
import org.robolectric.util.ReflectionHelpers
import java.net.InetAddress

/** What the system's side of the service does in a test. */
object FakeSystem {
    /** Makes the interface that a builder describes, and gives its descriptor; null = the user has not agreed. */
    var establish: (Built) -> Int? = { null }

    /** Keeps a socket outside; false = it fails. */
    var protect: (Int) -> Boolean = { true }

    /** Apps that are refused as the documentation has it for those that are not installed. No system does so. */
    var refusedApps = emptySet<String>()

    /** The user made it the VPN that the system keeps, and lets nothing past it. */
    var alwaysOn = false
    var lockdown = false

    /** The networks that carry the tunnel, as the system was told last for the interface that stands. */
    var underlying: List<Network>? = null

    /** Everything that was established, the oldest first. */
    val built = mutableListOf<Built>()

    fun reset() {
        establish = { null }
        protect = { true }
        refusedApps = emptySet()
        alwaysOn = false
        lockdown = false
        underlying = null
        built.clear()
    }
}

/** What the system's own builder held when it was told to establish. */
data class Built(
    val addresses: List<String>,
    val routes: List<String>,
    val excluded: List<String>,
    val dns: List<String>,
    val search: List<String>,
    val mtu: Int,
    val allowed: List<String>?,
    val disallowed: List<String>?,
    val metered: Boolean?,
    val blocking: Boolean,
    /** Whether IPv6 that is routed nowhere goes past the VPN. */
    val allowsV6: Boolean,
)

/** Gives a descriptor where the system would. */
@Implements(VpnService.Builder::class)
class ShadowBuilder {
    @RealObject
    lateinit var real: VpnService.Builder

    /** The real one asks the package service over binder, which Robolectric lacks, and takes any answer: none too. */
    @Implementation
    fun verifyApp(packageName: String) {
        if (packageName in FakeSystem.refusedApps) throw PackageManager.NameNotFoundException(packageName)
    }

    private val old = mutableListOf<String>()

    /** The older systems' routes want constants of addresses that Java's own library lacks. */
    @Implementation(maxSdk = 32)
    fun addRoute(
        address: InetAddress,
        prefix: Int,
    ): VpnService.Builder {
        old += "${address.hostAddress}/$prefix"
        return real
    }

    @Implementation
    fun establish(): ParcelFileDescriptor? {
        val config: Any = ReflectionHelpers.getField(real, "mConfig")
        val built = read(config)
        val descriptor = FakeSystem.establish(built) ?: return null
        FakeSystem.built += built
        FakeSystem.underlying = null
        return HeldDescriptor(descriptor)
    }

    private fun read(config: Any): Built {
        // A route is printed as "destination -> gateway interface type mtu".
        val routes = ReflectionHelpers.getField<List<Any>>(real, "mRoutes")
        val (into, out) = routes.partition { RuntimeEnvironment.getApiLevel() < 33 || type(it) == UNICAST }
        return Built(
            addresses = ReflectionHelpers.getField<List<Any>>(real, "mAddresses").map(Any::toString),
            routes = old + into.map(::destination),
            excluded = out.map(::destination),
            dns = field<List<String>>(config, "dnsServers").orEmpty(),
            search = field<List<String>>(config, "searchDomains").orEmpty(),
            mtu = ReflectionHelpers.getField(config, "mtu"),
            allowed = field(config, "allowedApplications"),
            disallowed = field(config, "disallowedApplications"),
            metered = if (RuntimeEnvironment.getApiLevel() >= 29) field(config, "isMetered") else null,
            blocking = ReflectionHelpers.getField(config, "blocking"),
            allowsV6 = ReflectionHelpers.getField(config, "allowIPv6"),
        )
    }

    private fun <T> field(
        config: Any,
        name: String,
    ): T? = ReflectionHelpers.getField<T?>(config, name)

    private fun destination(route: Any) = route.toString().substringBefore(' ')

    private fun type(route: Any): Int = ReflectionHelpers.callInstanceMethod(route, "getType")

    private companion object {
        const val UNICAST = 1
    }
}

/** ParcelFileDescriptor's own shadow knows only files. */
class HeldDescriptor(
    private var fd: Int,
) : ParcelFileDescriptor(null as ParcelFileDescriptor?) {
    override fun getFd() = fd

    override fun detachFd() = fd.also { fd = GONE }

    override fun dup() = HeldDescriptor(Libc.dup(fd))

    override fun close() {
        if (fd != GONE) Libc.close(detachFd())
    }

    private companion object {
        const val GONE = -1
    }
}

/** Robolectric's own shadow leaves protect(int) to the system, which answers false. */
@Implements(VpnService::class)
class ShadowVpn : ShadowVpnService() {
    @Implementation
    fun protect(socket: Int): Boolean = FakeSystem.protect(socket)

    @Implementation(minSdk = 29)
    fun isAlwaysOn(): Boolean = FakeSystem.alwaysOn

    @Implementation(minSdk = 29)
    fun isLockdownEnabled(): Boolean = FakeSystem.lockdown

    @Implementation
    fun setUnderlyingNetworks(networks: Array<Network>?): Boolean {
        FakeSystem.underlying = networks?.toList()
        return true
    }
}
