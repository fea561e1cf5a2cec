package org.weft.app.state

/** What a user can do, one function each. */
interface Actions {
    fun go(screen: Screen)

    fun back()

    fun switch(on: Boolean)

    fun typeLink(text: String)

    fun readLink()

    fun scan()

    fun scanned(text: String)

    fun join()

    fun dismissInvitation()

    fun typeName(text: String)

    fun explain()

    fun shareLog()

    fun setMode(mode: Mode)

    fun askToLeave()

    fun leave()

    fun stay()

    fun open(page: SystemPage)

    fun openSupport()
}

/** What only the activity can do for the model. */
sealed interface Effect {
    /** Ask the system, and through it the user, that Weft may set up a VPN. */
    data object AskConsent : Effect

    /** Ask for the camera, then show the scanner. */
    data object AskCamera : Effect

    data class ShareLog(
        val lines: List<String>,
    ) : Effect

    data class OpenPage(
        val page: SystemPage,
    ) : Effect

    data class OpenUrl(
        val url: String,
    ) : Effect
}
