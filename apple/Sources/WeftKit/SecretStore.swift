import Foundation

/// Keeps the device's keys. Called by one thread at a time.
public protocol SecretStore: Sendable {
    /// What was stored under `name`; nothing = there is nothing.
    func load(_ name: String) throws -> Data?
    /// Replaces what is there whole; nothing = removes it.
    func store(_ name: String, _ value: Data?) throws
}

#if canImport(Security)
import Security

/// Secrets in the keychain, shared by the app and its extension, readable once the device was unlocked after its
/// start, and never carried to another device by a backup.
public struct KeychainStore: SecretStore {
    /// What the keychain answered.
    public struct Fault: Error, CustomStringConvertible {
        public let status: OSStatus
        public var description: String { "keychain: \(SecCopyErrorMessageString(status, nil) as String? ?? "\(status)")" }
    }

    private let service: String
    private let accessGroup: String

    /// `accessGroup` is one that both the app's and the extension's entitlements name.
    public init(service: String, accessGroup: String) {
        self.service = service
        self.accessGroup = accessGroup
    }

    public func load(_ name: String) throws -> Data? {
        var query = item(name)
        query[kSecReturnData as String] = true
        query[kSecMatchLimit as String] = kSecMatchLimitOne
        var found: CFTypeRef?
        let status = SecItemCopyMatching(query as CFDictionary, &found)
        if status == errSecItemNotFound { return nil }
        guard status == errSecSuccess else { throw Fault(status: status) }
        return found as? Data
    }

    public func store(_ name: String, _ value: Data?) throws {
        guard let value else {
            let status = SecItemDelete(item(name) as CFDictionary)
            guard status == errSecSuccess || status == errSecItemNotFound else { throw Fault(status: status) }
            return
        }
        let change: [String: Any] = [
            kSecValueData as String: value,
            kSecAttrAccessible as String: kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly,
        ]
        var status = SecItemUpdate(item(name) as CFDictionary, change as CFDictionary)
        if status == errSecItemNotFound {
            status = SecItemAdd(item(name).merging(change) { $1 } as CFDictionary, nil)
        }
        guard status == errSecSuccess else { throw Fault(status: status) }
    }

    private func item(_ name: String) -> [String: Any] {
        [
            kSecClass as String: kSecClassGenericPassword,
            kSecAttrService as String: service,
            kSecAttrAccount as String: name,
            kSecAttrAccessGroup as String: accessGroup,
            kSecUseDataProtectionKeychain as String: true,
        ]
    }
}
#endif
