import Foundation
import WeftCore
import WeftKit

/// What the app and its extension have to agree on.
enum Shared {
    static let extensionID = "org.weft.app.tunnel"
    static let appGroup = "group.org.weft.app"
    /// The keychain's service, below which the core keeps its state.
    static let keychainService = "org.weft.app"
    /// Where the Info.plist carries the keychain group with its team prefix, which the build fills in.
    static let keychainGroupKey = "WeftKeychainGroup"
    /// What the app leaves to its extension in the VPN configuration.
    static let deviceNameKey = "device_name"
    static let managedKey = "managed"

    static var secrets: KeychainStore {
        let group = Bundle.main.object(forInfoDictionaryKey: keychainGroupKey) as? String ?? ""
        return KeychainStore(service: keychainService, accessGroup: group)
    }

    /// Logs go to the system and, where the group's container is there and can be written to, to a file in it.
    static func startLogging() {
        let container = FileManager.default.containerURL(forSecurityApplicationGroupIdentifier: appGroup)
        try? initLogging(level: .info, directory: container?.appendingPathComponent("log", isDirectory: true).path)
    }

    /// What device management has set. The system gives it to the app alone, which leaves it to its extension.
    static var managed: [String: Any]? { UserDefaults.standard.dictionary(forKey: ManagedSettings.defaultsKey) }

    /// The cache of DNS answers has the core's own bound: what the core may take in an extension of 50 MB is reckoned there.
    static func config(deviceName: String, managed: ManagedConfig?) -> SessionConfig {
        SessionConfig(
            deviceName: deviceName, os: "ios", osVersion: ProcessInfo.processInfo.operatingSystemVersionString,
            managed: managed, dnsCacheBytes: nil)
    }
}
