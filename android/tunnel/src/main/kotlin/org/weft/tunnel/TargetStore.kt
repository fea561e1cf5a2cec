package org.weft.tunnel

import java.io.File

/** Whether the tunnel is to be up, kept over the death of the process: a file that is there or not. */
internal class TargetStore(
    private val folder: File,
) {
    private val file get() = File(folder, "wanted")

    var wanted: Boolean
        get() = file.exists()
        set(wanted) {
            // What cannot be stored is lost with the process and no sooner: the caller keeps it, too.
            if (wanted) {
                folder.mkdirs()
                file.runCatching { createNewFile() }
            } else {
                file.delete()
            }
        }
}
