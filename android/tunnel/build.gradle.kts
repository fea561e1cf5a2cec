plugins {
    alias(libs.plugins.android.library)
}

// `build-scripts/android bindings` and `build-scripts/android package` put the core there; see the latter for its libraries.
val core = rootProject.layout.projectDirectory.dir("../target/android")

android {
    namespace = "org.weft.tunnel"
    compileSdk = libs.versions.compileSdk.get().toInt()
    defaultConfig {
        minSdk = libs.versions.minSdk.get().toInt()
        consumerProguardFiles("consumer-rules.pro")
    }
    sourceSets["main"].kotlin.srcDir(core.dir("bindings"))
    sourceSets["main"].jniLibs.srcDir(core.dir("jni"))
    testOptions.unitTests.isIncludeAndroidResources = true
}

dependencies {
    api(libs.coroutines)
    implementation(variantOf(libs.jna) { artifactType("aar") })
    testImplementation(libs.jna)
    testImplementation(libs.junit)
    testImplementation(libs.robolectric)
}

// The tests load the core that is built for this machine: cargo build -p weft-ffi.
tasks.withType<Test>().configureEach {
    systemProperty("jna.library.path", rootProject.file("../target/debug").path)
}
