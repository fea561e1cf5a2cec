package org.weft.app.scan

import android.annotation.SuppressLint
import android.content.Context
import android.graphics.ImageFormat
import android.graphics.Matrix
import android.graphics.RectF
import android.graphics.SurfaceTexture
import android.hardware.camera2.CameraAccessException
import android.hardware.camera2.CameraCaptureSession
import android.hardware.camera2.CameraCharacteristics
import android.hardware.camera2.CameraDevice
import android.hardware.camera2.CameraManager
import android.hardware.camera2.CaptureRequest
import android.media.ImageReader
import android.os.Handler
import android.os.HandlerThread
import android.view.Surface
import android.view.TextureView

/**
 * The camera's picture, read for QR codes as long as it is on the screen. The app must hold the camera's permission.
 * [onText] gets each code that is read, [onTrouble] hears that there will be none; both on the main thread.
 */
@SuppressLint("ViewConstructor")
class ScannerView(
    context: Context,
    private val onText: (String) -> Unit,
    private val onTrouble: () -> Unit,
) : TextureView(context),
    TextureView.SurfaceTextureListener {
    private val main = Handler(context.mainLooper)
    private var camera: OpenCamera? = null

    init {
        surfaceTextureListener = this
    }

    override fun onSurfaceTextureAvailable(
        texture: SurfaceTexture,
        width: Int,
        height: Int,
    ) {
        texture.setDefaultBufferSize(OpenCamera.WIDTH, OpenCamera.HEIGHT)
        turn(width, height)
        val opened =
            OpenCamera(
                Surface(texture),
                { text -> main.post { if (camera != null) onText(text) } },
                { main.post { if (camera != null) onTrouble() } },
            )
        camera = opened
        opened.open(context.getSystemService(CameraManager::class.java))
    }

    override fun onSurfaceTextureSizeChanged(
        texture: SurfaceTexture,
        width: Int,
        height: Int,
    ) = turn(width, height)

    override fun onSurfaceTextureDestroyed(texture: SurfaceTexture): Boolean {
        camera?.close()
        camera = null
        return true
    }

    override fun onSurfaceTextureUpdated(texture: SurfaceTexture) = Unit

    /** The system turns the picture for an upright display; a display on its side needs the rest. */
    private fun turn(
        width: Int,
        height: Int,
    ) {
        val rotation = display?.rotation ?: Surface.ROTATION_0
        val matrix = Matrix()
        val centre = RectF(0f, 0f, width.toFloat(), height.toFloat())
        if (rotation == Surface.ROTATION_90 || rotation == Surface.ROTATION_270) {
            val buffer = RectF(0f, 0f, height.toFloat(), width.toFloat())
            buffer.offset(centre.centerX() - buffer.centerX(), centre.centerY() - buffer.centerY())
            matrix.setRectToRect(centre, buffer, Matrix.ScaleToFit.FILL)
            matrix.postRotate(QUARTER * (rotation - 2), centre.centerX(), centre.centerY())
        } else if (rotation == Surface.ROTATION_180) {
            matrix.postRotate(2 * QUARTER, centre.centerX(), centre.centerY())
        }
        setTransform(matrix)
    }

    private companion object {
        const val QUARTER = 90f
    }
}

/** One camera at work on its own thread, from [open] to [close]. */
private class OpenCamera(
    private val preview: Surface,
    private val onText: (String) -> Unit,
    private val onTrouble: () -> Unit,
) {
    private val thread = HandlerThread("weft-camera").apply { start() }
    private val handler = Handler(thread.looper)
    private val reader = QrReader()
    private val pictures = ImageReader.newInstance(WIDTH, HEIGHT, ImageFormat.YUV_420_888, PICTURES)
    private var device: CameraDevice? = null
    private var closed = false

    @SuppressLint("MissingPermission")
    fun open(manager: CameraManager) {
        pictures.setOnImageAvailableListener(::look, handler)
        handler.post {
            try {
                val id = back(manager)
                if (id == null) onTrouble() else manager.openCamera(id, opened, handler)
            } catch (_: CameraAccessException) {
                onTrouble()
            } catch (_: SecurityException) {
                onTrouble()
            }
        }
    }

    /** The camera at the back, else any. */
    private fun back(manager: CameraManager): String? =
        manager.cameraIdList.firstOrNull {
            manager.getCameraCharacteristics(it)[CameraCharacteristics.LENS_FACING] ==
                CameraCharacteristics.LENS_FACING_BACK
        } ?: manager.cameraIdList.firstOrNull()

    fun close() {
        handler.post {
            closed = true
            device?.close()
            device = null
            pictures.close()
            preview.release()
            thread.quitSafely()
        }
    }

    private fun look(from: ImageReader) {
        if (closed) return
        from.acquireLatestImage()?.use { image ->
            val plane = image.planes[0]
            reader.read(plane.buffer, image.width, image.height, plane.rowStride)?.let(onText)
        }
    }

    private val opened =
        object : CameraDevice.StateCallback() {
            override fun onOpened(camera: CameraDevice) {
                if (closed) return camera.close()
                device = camera
                try {
                    // The call that replaces it is API 28's; this one works on.
                    @Suppress("DEPRECATION")
                    camera.createCaptureSession(listOf(preview, pictures.surface), session, handler)
                } catch (_: CameraAccessException) {
                    onTrouble()
                } catch (_: IllegalStateException) {
                    onTrouble()
                }
            }

            override fun onDisconnected(camera: CameraDevice) = fail(camera)

            override fun onError(
                camera: CameraDevice,
                error: Int,
            ) = fail(camera)

            private fun fail(camera: CameraDevice) {
                camera.close()
                device = null
                onTrouble()
            }
        }

    private val session =
        object : CameraCaptureSession.StateCallback() {
            override fun onConfigured(session: CameraCaptureSession) {
                val camera = device ?: return
                try {
                    val request = camera.createCaptureRequest(CameraDevice.TEMPLATE_PREVIEW)
                    request.addTarget(preview)
                    request.addTarget(pictures.surface)
                    request[CaptureRequest.CONTROL_AF_MODE] = CaptureRequest.CONTROL_AF_MODE_CONTINUOUS_PICTURE
                    session.setRepeatingRequest(request.build(), null, handler)
                } catch (_: CameraAccessException) {
                    onTrouble()
                } catch (_: IllegalStateException) {
                    onTrouble()
                }
            }

            override fun onConfigureFailed(session: CameraCaptureSession) = onTrouble()
        }

    companion object {
        /** 4:3 as sensors have it, offered by every camera, and ample for a code that fills half of it. */
        const val WIDTH = 640
        const val HEIGHT = 480

        /** One that is read and one that is filled. */
        const val PICTURES = 2
    }
}
