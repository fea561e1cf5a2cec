package org.weft.app

import android.Manifest
import android.app.Application
import android.content.ActivityNotFoundException
import android.content.Intent
import android.content.pm.PackageManager
import android.net.Uri
import android.os.Build
import android.os.Bundle
import android.provider.Settings
import android.util.Log
import androidx.activity.ComponentActivity
import androidx.activity.compose.setContent
import androidx.activity.enableEdgeToEdge
import androidx.activity.result.contract.ActivityResultContracts.RequestPermission
import androidx.activity.result.contract.ActivityResultContracts.StartActivityForResult
import androidx.activity.viewModels
import androidx.compose.foundation.layout.fillMaxSize
import androidx.compose.runtime.Composable
import androidx.compose.runtime.collectAsState
import androidx.compose.runtime.getValue
import androidx.compose.ui.Modifier
import androidx.compose.ui.viewinterop.AndroidView
import androidx.lifecycle.Lifecycle
import androidx.lifecycle.ViewModel
import androidx.lifecycle.lifecycleScope
import androidx.lifecycle.repeatOnLifecycle
import androidx.lifecycle.viewModelScope
import androidx.lifecycle.viewmodel.initializer
import androidx.lifecycle.viewmodel.viewModelFactory
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import org.weft.app.device.TunnelDevice
import org.weft.app.scan.ScannerView
import org.weft.app.state.AppModel
import org.weft.app.state.CameraTrouble
import org.weft.app.state.Effect
import org.weft.app.state.SystemPage
import org.weft.app.ui.App
import org.weft.app.ui.WeftTheme
import org.weft.core.version
import org.weft.tunnel.Consent
import org.weft.tunnel.Tunnel
import java.io.IOException

/** Keeps the model while the activity is made anew, as on a change of size or theme. */
class AppViewModel(
    application: Application,
) : ViewModel() {
    val tunnel: Tunnel = Tunnel.of(application)
    val model: AppModel =
        AppModel(
            TunnelDevice(application, tunnel, viewModelScope, version()),
            viewModelScope,
            application.resources.openRawResource(R.raw.licences).bufferedReader().use { it.readText() },
        )
}

/** The only window: draws the model and does what only an activity can. */
class MainActivity : ComponentActivity() {
    private val view: AppViewModel by viewModels { viewModelFactory { initializer { AppViewModel(application) } } }
    private val model get() = view.model

    private val consent =
        registerForActivityResult(StartActivityForResult()) {
            if (it.resultCode == RESULT_OK) granted() else model.consentRefused(null)
        }

    private val camera =
        registerForActivityResult(RequestPermission()) { model.camera(if (it) null else CameraTrouble.Denied) }

    // Without it the connection is the same; only its notification is not seen.
    private val notifications = registerForActivityResult(RequestPermission()) { model.consentGiven() }

    override fun onCreate(savedInstanceState: Bundle?) {
        enableEdgeToEdge()
        super.onCreate(savedInstanceState)
        if (savedInstanceState == null) open(intent)
        lifecycleScope.launch {
            repeatOnLifecycle(Lifecycle.State.STARTED) { model.effects.collect(::act) }
        }
        setContent {
            val state by model.state.collectAsState()
            WeftTheme { App(state, model) { Scanner() } }
        }
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        open(intent)
    }

    /** A link that another app or the camera's has opened. It only asks; see [AppModel.invite]. */
    private fun open(intent: Intent?) {
        if (intent?.action == Intent.ACTION_VIEW) intent.dataString?.let(model::invite)
    }

    private fun act(effect: Effect) {
        when (effect) {
            Effect.AskConsent -> askConsent()
            Effect.AskCamera -> askCamera()
            is Effect.ShareLog -> lifecycleScope.launch { share(effect.lines) }
            is Effect.OpenPage -> openPage(effect.page)
            is Effect.OpenUrl -> start(Intent(Intent.ACTION_VIEW, Uri.parse(effect.url)))
        }
    }

    private suspend fun share(lines: List<String>) {
        val intent =
            try {
                withContext(Dispatchers.IO) { LogShare.intent(this@MainActivity, lines) }
            } catch (error: IOException) {
                Log.w("weft", "the log cannot be written down", error)
                return
            }
        start(intent)
    }

    private fun askConsent() {
        when (val answer = view.tunnel.consent()) {
            Consent.Granted -> granted()
            is Consent.Ask -> ask(answer.intent)
            is Consent.Taken -> model.consentRefused(answer.packageName)
        }
    }

    /** Some systems, such as those of televisions, lack the question. */
    private fun ask(question: Intent) =
        try {
            consent.launch(question)
        } catch (_: ActivityNotFoundException) {
            model.consentRefused(null)
        }

    private fun granted() {
        val ask =
            Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU &&
                checkSelfPermission(Manifest.permission.POST_NOTIFICATIONS) != PackageManager.PERMISSION_GRANTED
        if (ask) notifications.launch(Manifest.permission.POST_NOTIFICATIONS) else model.consentGiven()
    }

    private fun askCamera() {
        when {
            !packageManager.hasSystemFeature(PackageManager.FEATURE_CAMERA_ANY) -> model.camera(CameraTrouble.None)
            checkSelfPermission(Manifest.permission.CAMERA) == PackageManager.PERMISSION_GRANTED -> model.camera(null)
            else -> camera.launch(Manifest.permission.CAMERA)
        }
    }

    private fun openPage(page: SystemPage) {
        val action =
            when (page) {
                SystemPage.Vpn -> Settings.ACTION_VPN_SETTINGS
                SystemPage.Network -> Settings.ACTION_WIRELESS_SETTINGS
            }
        // A Chromebook lacks some of the pages.
        if (!start(Intent(action))) start(Intent(Settings.ACTION_SETTINGS))
    }

    private fun start(intent: Intent): Boolean =
        try {
            startActivity(intent)
            true
        } catch (_: ActivityNotFoundException) {
            false
        }

    @Composable
    private fun Scanner() {
        AndroidView(
            { ScannerView(it, model::scanned) { model.camera(CameraTrouble.Failed) } },
            Modifier.fillMaxSize(),
        )
    }
}
