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
    /** Who the device belongs to: the profile's name, or the gateway's host name. */
    val organisation: String? = null,
    val gateway: String? = null,
    /** The tunnel endpoint in use, as address and port. */
    val endpoint: String? = null,
    val mode: Mode = Mode.TrafficAndDns,
    val warnings: List<Warning> = emptyList(),
    /** The administrator keeps the switch where it is. */
    val switchLocked: Boolean = false,
    val supportUrl: String? = null,
)

/** The service modes, in WARP's terms. */
enum class Mode { TrafficAndDns, DnsOnly, TrafficOnly, LocalProxy, PostureOnly }

/** What else the user should know: the core's line, and the page of the system's settings that helps. */
data class Warning(
    val text: String,
    val page: SystemPage? = null,
)

/** Pages of the system's settings. */
enum class SystemPage { Vpn, PrivateDns, Notifications }

/** What an enrolment link holds that a user may judge; the token is not shown. */
data class Invitation(
    val link: String,
    val host: String,
    val fingerprint: String?,
    val deviceName: String?,
)

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
)

/** Why the camera cannot be used. */
enum class CameraTrouble { None, Denied, Failed }

/** What becomes of a name or an address. */
data class Explanation(
    val input: String,
    /** Who resolves it, and by which entry of which list; empty for an address. */
    val resolution: List<String>,
    val route: Route,
    val reasons: List<String>,
)

/** Where traffic goes. */
enum class Route { Inside, Outside, Unknown }

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
    val deviceName: String? = null,
    val allowModeSwitch: Boolean = false,
    val allowedToLeave: Boolean = true,
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
