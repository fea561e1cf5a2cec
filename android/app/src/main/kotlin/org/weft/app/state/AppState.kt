package org.weft.app.state

/** Where in the app the user is. */
enum class Screen { Home, Enrol, Scan, Explain, Logs, Settings, Licences }

/** What the connection looks like to somebody who holds the phone. */
enum class Phase {
    /** The core has not said anything yet. */
    Starting,

    /** The device belongs to no organisation. */
    NotEnrolled,

    /** Off: nothing of Weft's is in the way of the device's traffic. */
    Off,

    /** On the way up. */
    Connecting,

    /** Up and proven. */
    On,

    /** It should be up and is not: what belongs into the tunnel is held back. */
    Blocked,

    /** On the way down. */
    Stopping,

    /** It cannot come up without the user or the administrator. */
    Failed,
    ;

    /** Where the switch stands. */
    val switchedOn: Boolean get() = this == Connecting || this == On || this == Blocked || this == Failed
}

/** The connection as the home screen shows it. */
data class Connection(
    val phase: Phase = Phase.Starting,
    val problem: Problem? = null,
    /** The step of a connect that is under way, in the core's words; null while there is none. */
    val step: String? = null,
    /** The gateway's name; null while the device belongs to none. */
    val gateway: String? = null,
    /** The profile's name; null before one was delivered. */
    val profile: String? = null,
    /** The tunnel endpoint in use, as address and port. */
    val endpoint: String? = null,
    val mode: Mode = Mode.TrafficAndDns,
    val warnings: List<Warning> = emptyList(),
    /** The administrator does not let the user switch off. */
    val switchLocked: Boolean = false,
    val supportUrl: String? = null,
)

/** The service modes, in WARP's terms. */
enum class Mode { TrafficAndDns, DnsOnly, TrafficOnly, LocalProxy, PostureOnly }

/** What works, but not as somebody might think. */
sealed interface Warning {
    /** The core's own line. */
    data class Core(
        val text: String,
    ) : Warning

    /** The system looks names up at [host], past Weft. */
    data class PrivateDns(
        val host: String,
    ) : Warning

    /** These browsers may look names up by themselves. */
    data class BrowserDns(
        val apps: List<String>,
    ) : Warning

    /** The administrator's configuration of this app cannot be used. */
    data class ManagedConfiguration(
        val detail: String,
    ) : Warning

    /** What was stored cannot be opened any more. */
    data object StateLost : Warning

    /** A part of the core failed. */
    data class Panicked(
        val detail: String,
    ) : Warning
}

/** Pages of the system's settings. */
enum class SystemPage { Vpn, Network }

/** What a device is asked to join with. The token is neither shown nor printed. */
data class Invitation(
    val url: String,
    val token: String,
    val fingerprint: String?,
    val deviceName: String?,
) {
    /** The gateway's name, as it is to be judged. */
    val host: String get() = url.substringAfter("://")

    override fun toString() = "Invitation($url)"
}

/** Joining an organisation. */
data class EnrolState(
    val text: String = "",
    val invitation: Invitation? = null,
    /** The administrator's configuration asks the device to join. */
    val managed: Boolean = false,
    val error: Problem? = null,
    val busy: Boolean = false,
    /** Why the camera cannot scan; null while it can or was not asked. */
    val camera: CameraTrouble? = null,
) {
    /** Without what was typed: a link holds a token. */
    override fun toString() =
        "EnrolState(text=${text.length} characters, invitation=${invitation?.host}, managed=$managed, error=$error, " +
            "busy=$busy, camera=$camera)"
}

/** Why the camera cannot be used. */
enum class CameraTrouble { None, Denied, Failed }

/** What becomes of a name or an address. */
data class Explanation(
    val input: String,
    /** Who looks it up; null for an address. */
    val resolver: Resolver?,
    val route: Route,
    /** The core's reasons, a sentence each. */
    val reasons: List<String>,
)

/** Who looks a name up. */
sealed interface Resolver {
    data object Gateway : Resolver

    /** Private resolvers; none named: those of the network that the device is on. */
    data class Fallback(
        val suffix: String,
        val servers: List<String>,
    ) : Resolver

    /** Plain resolvers inside the tunnel. */
    data class Tunnel(
        val servers: List<String>,
    ) : Resolver

    data object Weft : Resolver

    /** The resolvers of the network that the device is on, past Weft. */
    data object Network : Resolver
}

/** Where traffic goes. */
enum class Route {
    Inside,
    Outside,

    /** Nowhere: the tunnel alone may carry it, and cannot. */
    Blocked,

    /** As each address does. */
    Unknown,
}

/** The page that explains a name. */
data class ExplainState(
    val text: String = "",
    val answer: Explanation? = null,
    val error: Problem? = null,
    val busy: Boolean = false,
)

/** Who decided a value. */
enum class Origin { Default, User, Organisation, DevicePolicy }

/** One value in force and who decided it; [name] as in the profile ("service_mode"). */
data class SettingRow(
    val name: String,
    val value: String,
    val origin: Origin,
)

/** The settings page. */
data class SettingsState(
    val rows: List<SettingRow> = emptyList(),
    val allowModeSwitch: Boolean = false,
    val allowedToLeave: Boolean = true,
    /** The system itself keeps Weft running. */
    val alwaysOn: Boolean = false,
    /** The system lets nothing past Weft. */
    val lockdown: Boolean = false,
    val confirmLeave: Boolean = false,
    val version: String = "",
    val error: Problem? = null,
)

/** All that the screens are drawn from. */
data class AppState(
    val screen: Screen = Screen.Home,
    val connection: Connection = Connection(),
    val enrol: EnrolState = EnrolState(),
    val explain: ExplainState = ExplainState(),
    val logs: List<String> = emptyList(),
    val settings: SettingsState = SettingsState(),
    /** The library texts of the licences page. */
    val licences: String = "",
)
