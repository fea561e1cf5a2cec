package org.weft.app

import org.weft.app.state.AppState
import org.weft.app.state.Connection
import org.weft.app.state.EnrolState
import org.weft.app.state.ExplainState
import org.weft.app.state.Explanation
import org.weft.app.state.Invitation
import org.weft.app.state.Origin
import org.weft.app.state.Phase
import org.weft.app.state.Problem
import org.weft.app.state.ProblemKind
import org.weft.app.state.Resolver
import org.weft.app.state.Route
import org.weft.app.state.Screen
import org.weft.app.state.SettingRow
import org.weft.app.state.SettingsState
import org.weft.app.state.Warning

/** States that the pictures are drawn from. */
object States {
    private val enrolled = Connection(phase = Phase.Off, gateway = "gateway.example", profile = "Staff")

    val notEnrolled = AppState(connection = Connection(Phase.NotEnrolled))

    val off = AppState(connection = enrolled)

    val connecting = AppState(connection = enrolled.copy(phase = Phase.Connecting, step = "Establishing the tunnel"))

    val connected = AppState(connection = enrolled.copy(phase = Phase.On, endpoint = "203.0.113.7:2408"))

    val warned =
        AppState(
            connection = connected.connection.copy(warnings = listOf(Warning.PrivateDns("dns.example"))),
        )

    val blocked = AppState(connection = enrolled.copy(phase = Phase.Blocked, problem = Problem(ProblemKind.Silent)))

    private const val NO_ENDPOINT = "no tunnel endpoint answers: is UDP to the gateway blocked?"

    val failed =
        AppState(
            connection =
                enrolled.copy(
                    phase = Phase.Failed,
                    problem = Problem(ProblemKind.Endpoint, NO_ENDPOINT),
                    supportUrl = "https://help.example",
                ),
        )

    val otherAlwaysOn =
        AppState(connection = enrolled.copy(problem = Problem(ProblemKind.OtherAlwaysOn, "Other VPN")))

    val locked = AppState(connection = connected.connection.copy(switchLocked = true))

    val enrol = AppState(Screen.Enrol, notEnrolled.connection)

    val invitation =
        AppState(
            Screen.Enrol,
            notEnrolled.connection,
            EnrolState(
                invitation = Invitation("https://gateway.example", "secret-token", "5f1c".repeat(16), null),
            ),
        )

    val explain =
        AppState(
            Screen.Explain,
            connected.connection,
            explain =
                ExplainState(
                    "wiki.corp.example",
                    Explanation(
                        "wiki.corp.example",
                        Resolver.Fallback("corp.example", listOf("10.0.0.53")),
                        Route.Inside,
                        listOf(
                            "The fallback domain corp.example has its own resolvers.",
                            "The split tunnel includes *.corp.example.",
                        ),
                    ),
                ),
        )

    val logs =
        AppState(
            Screen.Logs,
            connected.connection,
            logs =
                listOf(
                    "12:00:01 INFO  connecting: establishing the tunnel",
                    "12:00:01 INFO  tunnel up after 84 ms",
                    "12:00:02 INFO  connected",
                    "12:07:40 WARN  the gateway does not answer; reconnecting",
                ),
        )

    val settings =
        AppState(
            Screen.Settings,
            connected.connection,
            settings =
                SettingsState(
                    rows =
                        listOf(
                            SettingRow("service_mode", "traffic-and-dns", Origin.Organisation),
                            SettingRow("switch_locked", "no", Origin.Default),
                            SettingRow("split_tunnel", "exclude 16 ranges, 0 hosts", Origin.Organisation),
                            SettingRow("a_new_one", "yes", Origin.DevicePolicy),
                        ),
                    allowModeSwitch = true,
                    version = "0.1.0",
                ),
        )
}
