import WeftCore

/// What a device management system has set for the app ("managed app configuration").
public enum ManagedSettings {
    /// Where the system keeps it in the app's defaults.
    public static let defaultsKey = "com.apple.configuration.managed"

    /// A value of the wrong type, or one that nobody knows. Nothing of the configuration is used then.
    public struct Fault: Error, Equatable, CustomStringConvertible {
        public let key: String
        public let wanted: String

        public var description: String { "managed configuration: \(key) must be \(wanted)" }
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
            autoConnect: try minutes(values, "auto_connect"),
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

    private static func minutes(_ values: [String: Any], _ key: String) throws(Fault) -> UInt32? {
        guard let value = values[key] else { return nil }
        guard let minutes = value as? Int, (0...1440).contains(minutes) else {
            throw Fault(key: key, wanted: "0 to 1440 minutes")
        }
        return UInt32(minutes)
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
