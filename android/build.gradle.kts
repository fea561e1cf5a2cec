// AGP 9 brings Kotlin with it; the plug-in for Compose is a part of Kotlin's own release.
plugins {
    alias(libs.plugins.android.library) apply false
    alias(libs.plugins.android.application) apply false
    alias(libs.plugins.compose.compiler) apply false
}
