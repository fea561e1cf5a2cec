package org.weft.app.scan

import com.google.zxing.BarcodeFormat
import com.google.zxing.BinaryBitmap
import com.google.zxing.DecodeHintType
import com.google.zxing.LuminanceSource
import com.google.zxing.PlanarYUVLuminanceSource
import com.google.zxing.ReaderException
import com.google.zxing.common.HybridBinarizer
import com.google.zxing.qrcode.QRCodeReader
import java.nio.ByteBuffer

/** Finds a QR code in the brightness of a camera's picture. Holds its buffers: one reader for one thread. */
class QrReader {
    private val reader = QRCodeReader()
    private val hints =
        mapOf(DecodeHintType.POSSIBLE_FORMATS to listOf(BarcodeFormat.QR_CODE), DecodeHintType.TRY_HARDER to true)
    private var pixels = ByteArray(0)

    /**
     * The text of the code in the picture, or null where there is none. [luma] holds [height] lines, [stride] bytes
     * from one to the next, of which [width] are a picture's.
     */
    fun read(
        luma: ByteBuffer,
        width: Int,
        height: Int,
        stride: Int,
    ): String? {
        if (width <= 0 || height <= 0 || stride < width) return null
        // The last line may end with its last pixel.
        if (luma.remaining() < stride * (height - 1) + width) return null
        if (pixels.size != width * height) pixels = ByteArray(width * height)
        val start = luma.position()
        for (line in 0 until height) {
            luma.position(start + line * stride)
            luma.get(pixels, line * width, width)
        }
        val source = PlanarYUVLuminanceSource(pixels, width, height, 0, 0, width, height, false)
        // Light on dark, as a screen in its dark theme may show it.
        return decode(source) ?: decode(source.invert())
    }

    private fun decode(source: LuminanceSource): String? =
        try {
            reader.decode(BinaryBitmap(HybridBinarizer(source)), hints).text
        } catch (_: ReaderException) {
            null
        } finally {
            reader.reset()
        }
}
