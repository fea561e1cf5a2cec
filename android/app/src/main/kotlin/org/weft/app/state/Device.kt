package org.weft.app.state

import kotlinx.coroutines.flow.StateFlow

/** The device as the app sees it; the screens and the model know nothing of the service behind it. */
interface Device {
    val state: StateFlow<DeviceState>

    /** Reads an enrolment link. Throws [ProblemException] where it is none. */
    fun readLink(text: String): Invitation

    /** The invitation that the administrator's configuration holds, if any. */
    fun managedInvitation(): Invitation?

    suspend fun enrol(invitation: Invitation)

    suspend fun leave()

    suspend fun connect()

    suspend fun disconnect()

    suspend fun setMode(mode: Mode)

    /** What becomes of a host name or an address. */
    suspend fun explain(input: String): Explanation

    /** The newest log lines, oldest first; no key, token, and above debug level no name or address. */
    fun log(): List<String>
}

/** The device's state, complete each time. */
data class DeviceState(
    val connection: Connection = Connection(),
    val settings: SettingsState = SettingsState(),
)

/** Something the device refused or could not do. */
class ProblemException(
    val problem: Problem,
    cause: Throwable? = null,
) : Exception(problem.kind.name, cause)
