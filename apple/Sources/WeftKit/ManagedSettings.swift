import WeftCore

/// What a device management system has set for the app ("managed app configuration").
public enum ManagedSettings {
    /// Where the system keeps it in the app's defaults.
    public static let defaultsKey = "com.apple.configuration.managed"

    /// What the extension reads. It enrols nowhere, so the token is no business of its.
    private static let extensionKeys: Set<String> = ["service_mode", "switch_locked", "support_url"]

    /// A value of the wrong type, or one that nobody knows. Nothing of the configuration is used then.
    public struct Fault: Error, Equatable, CustomStringConvertible {
        public let key: String
        public let wanted: String

        public var description: String { "the managed configuration counts as none: \(key) must be \(wanted)" }
    }

    /// The configuration in `values`, or what is wrong with it in a line for the user: it counts as none then.
    public static func reading(_ values: [String: Any]?) -> (config: ManagedConfig?, fault: String?) {
        do {
            return (try read(values), nil)
        } catch {
            return (nil, "\(error)")
        }
    }

    /// What the app leaves to its extension in the VPN configuration, which is no place for a secret: nothing of a
    /// configuration that counts as none.
    public static func forExtension(_ values: [String: Any]?) -> [String: Any]? {
        let left = values?.filter { extensionKeys.contains($0.key) } ?? [:]
        return left.isEmpty || reading(values).fault != nil ? nil : left
    }

    /// The configuration in `values`; nothing where there is none. Keys that are not Weft's are left alone.
    public static func read(_ values: [String: Any]?) throws(Fault) -> ManagedConfig? {
        guard let values, !values.isEmpty else { return nil }
        return ManagedConfig(
            url: try text(values, "url"),
            token: try text(values, "token"),
            caFingerprint: try text(values, "ca_fingerprint"),
            serviceMode: try mode(values, "service_mode"),
            switchLocked: try flag(values, "switch_locked"),
            // The extension ends with the tunnel: nothing is left that could count the minutes.
            autoConnect: nil,
            supportUrl: try text(values, "support_url"),
            // Per-app lists are the management system's own on these systems: it names the apps to the system.
            allowedApps: [],
            disallowedApps: [])
    }

    private static func text(_ values: [String: Any], _ key: String) throws(Fault) -> String? {
        guard let value = values[key] else { return nil }
        guard let text = value as? String else { throw Fault(key: key, wanted: "text") }
        return text.isEmpty ? nil : text
    }

    private static func flag(_ values: [String: Any], _ key: String) throws(Fault) -> Bool? {
        guard let value = values[key] else { return nil }
        guard let flag = value as? Bool else { throw Fault(key: key, wanted: "true or false") }
        return flag
    }

    private static func mode(_ values: [String: Any], _ key: String) throws(Fault) -> ServiceMode? {
        guard let name = try text(values, key) else { return nil }
        switch name {
        case "traffic-and-dns": return .trafficAndDns
        case "dns-only": return .dnsOnly
        case "traffic-only": return .trafficOnly
        case "posture-only": return .postureOnly
        default: throw Fault(key: key, wanted: "traffic-and-dns, dns-only, traffic-only or posture-only")
        }
    }
}
