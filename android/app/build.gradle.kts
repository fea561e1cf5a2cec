plugins {
    alias(libs.plugins.android.application)
    alias(libs.plugins.compose.compiler)
}

// The versions of maven/libraries.xml, with which `check` tests the app where Gradle is not to be had.
val compose = "1.12.1"

android {
    namespace = "org.weft.app"
    // Compose's own libraries ask for it; what the app calls is older, and newer than minSdk only behind a question.
    compileSdk = 37
    defaultConfig {
        applicationId = "org.weft.android"
        minSdk = libs.versions.minSdk.get().toInt()
        targetSdk = libs.versions.targetSdk.get().toInt()
        versionCode = 1
        versionName = "0.1.0"
    }
    buildTypes {
        release {
            isMinifyEnabled = true
            isShrinkResources = true
            // The library's own rules keep what the core calls by name.
            proguardFiles(getDefaultProguardFile("proguard-android-optimize.txt"))
        }
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    buildFeatures.compose = true
    testOptions.unitTests.isIncludeAndroidResources = true
}

dependencies {
    implementation(project(":tunnel"))
    implementation("androidx.activity:activity-compose:1.12.4")
    implementation("androidx.compose.material3:material3:1.4.0")
    implementation("androidx.compose.ui:ui:$compose")
    implementation("androidx.core:core-ktx:1.17.0")
    implementation("androidx.lifecycle:lifecycle-viewmodel-ktx:2.10.0")
    implementation("com.google.zxing:core:3.5.3")
    implementation("org.jetbrains.kotlinx:kotlinx-coroutines-android:${libs.versions.coroutines.get()}")
    // Material's own release asks for an older Compose.
    constraints {
        implementation("androidx.compose.animation:animation:$compose")
        implementation("androidx.compose.foundation:foundation:$compose")
        implementation("androidx.compose.material:material-ripple:$compose")
        implementation("androidx.compose.runtime:runtime:$compose")
    }
    testImplementation(libs.jna)
    testImplementation(libs.junit)
    testImplementation(libs.robolectric)
}

// The tests load the core that is built for this machine, and leave the pictures that they draw.
tasks.withType<Test>().configureEach {
    // Robolectric reaches into java.io for the descriptors of Android's files.
    jvmArgs("--add-opens=java.base/java.io=ALL-UNNAMED")
    systemProperty("jna.library.path", rootProject.file("../target/debug").path)
    systemProperty("weft.screens", layout.buildDirectory.dir("screens").get().asFile.path)
}
