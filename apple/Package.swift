// swift-tools-version: 6.1
import PackageDescription

// The core's Swift binding and its header are generated: build-scripts/apple package writes them to Generated/. On Apple's
// systems they come with the core as an XCFramework; elsewhere the linker is told where the core is.
#if os(Linux)
let core = Target.systemLibrary(name: "weft_ffiFFI", path: "Generated/weft_ffiFFI")
#else
let core = Target.binaryTarget(name: "weft_ffiFFI", path: "Generated/weft_ffiFFI.xcframework")
#endif

let package = Package(
    name: "Weft",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [
        .library(name: "WeftKit", targets: ["WeftKit"]),
        .library(name: "TunnelKit", targets: ["TunnelKit"]),
        .library(name: "AppModel", targets: ["AppModel"]),
    ],
    targets: [
        core,
        // Generated code is not written for the language mode of Swift 6.
        .target(
            name: "WeftCore", dependencies: ["weft_ffiFFI"], path: "Generated/WeftCore",
            swiftSettings: [.swiftLanguageMode(.v5)],
            // The core asks the system whom to trust, and a static library does not say what it needs.
            linkerSettings: ["Security", "CoreFoundation"].map {
                .linkedFramework($0, .when(platforms: [.iOS, .macOS]))
            }),
        .target(name: "WeftKit", dependencies: ["WeftCore"]),
        .target(name: "TunnelKit", dependencies: ["WeftKit", "WeftCore", "weft_ffiFFI"]),
        .target(name: "AppModel", dependencies: ["WeftKit", "WeftCore"]),
        // Measures the boundary; not shipped.
        .executableTarget(name: "BoundaryRate", dependencies: ["TunnelKit", "AppModel", "WeftKit", "WeftCore"]),
        .testTarget(name: "WeftKitTests", dependencies: ["WeftKit", "WeftCore"]),
        .testTarget(name: "TunnelKitTests", dependencies: ["TunnelKit", "WeftKit", "WeftCore"]),
        .testTarget(name: "AppModelTests", dependencies: ["AppModel", "WeftKit"]),
    ]
)
