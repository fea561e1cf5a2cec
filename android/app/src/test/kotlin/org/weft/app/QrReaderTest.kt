package org.weft.app

import com.google.zxing.BarcodeFormat
import com.google.zxing.qrcode.QRCodeWriter
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Test
import org.weft.app.scan.QrReader
import java.nio.ByteBuffer

/** Codes as a camera sees them: grey, in lines longer than the picture, turned, dark on light or the reverse. */
class QrReaderTest {
    private val link = "weft://enrol?url=https%3A%2F%2Fgateway.example&token=0123456789abcdef&ca=" + "5f1c".repeat(16)

    private fun picture(
        dark: Int,
        light: Int,
        turned: Boolean = false,
    ): ByteBuffer {
        val code = QRCodeWriter().encode(link, BarcodeFormat.QR_CODE, CODE, CODE)
        val bytes = ByteArray(STRIDE * (HEIGHT - 1) + WIDTH) { light.toByte() }
        for (y in 0 until CODE) {
            for (x in 0 until CODE) {
                val on = if (turned) code[y, CODE - 1 - x] else code[x, y]
                if (on) bytes[(y + TOP) * STRIDE + x + LEFT] = dark.toByte()
            }
        }
        return ByteBuffer.wrap(bytes)
    }

    private fun read(luma: ByteBuffer) = QrReader().read(luma, WIDTH, HEIGHT, STRIDE)

    @Test
    fun aLinkIsRead() {
        assertEquals(link, read(picture(dark = 40, light = 190)))
        assertEquals("turned", link, read(picture(dark = 40, light = 190, turned = true)))
        assertEquals("light on dark", link, read(picture(dark = 200, light = 30)))
    }

    @Test
    fun aReaderServesManyPictures() {
        val reader = QrReader()
        val nothing = ByteBuffer.allocate(STRIDE * HEIGHT)
        repeat(3) {
            assertNull(reader.read(nothing.duplicate(), WIDTH, HEIGHT, STRIDE))
            assertEquals(link, reader.read(picture(20, 220), WIDTH, HEIGHT, STRIDE))
        }
    }

    @Test
    fun whatIsNoPictureIsNone() {
        val bytes = ByteBuffer.allocate(100)
        assertNull("short", QrReader().read(bytes, WIDTH, HEIGHT, STRIDE))
        assertNull("no lines", QrReader().read(bytes, 10, 0, 10))
        assertNull("lines shorter than the picture", QrReader().read(bytes, 10, 10, 5))
        assertNull("empty", QrReader().read(ByteBuffer.allocate(0), 0, 0, 0))
    }

    private companion object {
        const val WIDTH = 640
        const val HEIGHT = 480
        const val STRIDE = 704
        const val CODE = 300
        const val TOP = 90
        const val LEFT = 170
    }
}
