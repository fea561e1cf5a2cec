package org.weft.app

import android.content.ClipData
import android.content.Context
import android.content.Intent
import androidx.core.content.FileProvider
import java.io.File
import java.io.IOException

/** Hands the log to an app that the user chooses. */
object LogShare {
    /** The folder that the provider of files may lend from; see res/xml/file_paths.xml. */
    private const val FOLDER = "shared"
    private const val FILE = "weft-log.txt"

    /** What was handed out before is gone with the log that it was made of. */
    fun forget(context: Context) {
        file(context).delete()
    }

    private fun file(context: Context) = File(File(context.cacheDir, FOLDER), FILE)

    /**
     * Writes [lines] to a file that replaces the one before, and asks whom to give it to. Not for the main thread.
     *
     * @throws IOException the storage is full or fails
     */
    fun intent(
        context: Context,
        lines: List<String>,
    ): Intent {
        val file = file(context)
        file.parentFile?.mkdirs()
        file.writeText(lines.joinToString("\n", postfix = "\n"))
        val uri = FileProvider.getUriForFile(context, context.packageName + ".files", file)
        val send =
            Intent(Intent.ACTION_SEND)
                .setType("text/plain")
                .putExtra(Intent.EXTRA_SUBJECT, context.getString(R.string.logs_subject))
                .putExtra(Intent.EXTRA_STREAM, uri)
                .addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION)
        // The chooser passes the permission on by the clip.
        send.clipData = ClipData.newRawUri(FILE, uri)
        return Intent.createChooser(send, context.getString(R.string.logs_share))
    }
}
