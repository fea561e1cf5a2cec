package org.weft.app

import org.weft.app.state.Actions
import org.weft.app.state.Mode
import org.weft.app.state.Screen
import org.weft.app.state.SystemPage

/** Writes down what the screens ask for. */
class Recorder : Actions {
    val asked = mutableListOf<String>()

    override fun go(screen: Screen) = note("go $screen")

    override fun back() = note("back")

    override fun switch(on: Boolean) = note("switch $on")

    override fun typeLink(text: String) = note("link $text")

    override fun readLink() = note("read")

    override fun scan() = note("scan")

    override fun scanned(text: String) = note("scanned $text")

    override fun join() = note("join")

    override fun dismissInvitation() = note("dismiss")

    override fun typeName(text: String) = note("name $text")

    override fun explain() = note("explain")

    override fun shareLog() = note("share")

    override fun setMode(mode: Mode) = note("mode $mode")

    override fun askToLeave() = note("ask to leave")

    override fun leave() = note("leave")

    override fun stay() = note("stay")

    override fun open(page: SystemPage) = note("open $page")

    override fun openSupport() = note("support")

    private fun note(what: String) {
        asked += what
    }
}
