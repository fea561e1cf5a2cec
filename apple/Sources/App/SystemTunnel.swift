#if canImport(NetworkExtension)
import AppModel
import Foundation
import NetworkExtension
import WeftKit

/// The system's VPN configuration of this app.
@MainActor
final class SystemTunnel: TunnelManager {
    private let deviceName: String
    private var manager: NETunnelProviderManager?
    private var observer: (any NSObjectProtocol)?

    init(deviceName: String) { self.deviceName = deviceName }

    var isRunning: Bool {
        switch manager?.connection.status {
        case .connected, .connecting, .reasserting: true
        default: false
        }
    }

    /// Finds the configuration of an earlier run.
    func load() async throws {
        manager = try await NETunnelProviderManager.loadAllFromPreferences().first
    }

    func install() async throws {
        let manager = self.manager ?? NETunnelProviderManager()
        let tunnel = manager.protocolConfiguration as? NETunnelProviderProtocol ?? NETunnelProviderProtocol()
        tunnel.providerBundleIdentifier = Shared.extensionID
        // Shown in the system's settings; the gateway's address comes from the registration.
        tunnel.serverAddress = "Weft"
        var configuration: [String: Any] = [Shared.deviceNameKey: deviceName]
        configuration[Shared.managedKey] = ManagedSettings.forExtension(Shared.managed)
        tunnel.providerConfiguration = configuration
        manager.protocolConfiguration = tunnel
        manager.localizedDescription = "Weft"
        manager.isEnabled = true
        try await manager.saveToPreferences()
        // What was saved takes effect only once it was loaded again.
        try await manager.loadFromPreferences()
        self.manager = manager
    }

    func start() async throws {
        guard let session = manager?.connection as? NETunnelProviderSession else {
            throw ProviderFault(.wrongOrder, "there is no VPN configuration")
        }
        try session.startTunnel(options: nil)
    }

    /// Rules that start the tunnel would undo the user's wish at once: they are switched off first, and on by the next start.
    func stop() async {
        if let manager, manager.isOnDemandEnabled {
            manager.isOnDemandEnabled = false
            try? await manager.saveToPreferences()
        }
        manager?.connection.stopVPNTunnel()
    }

    func remove() async throws {
        try await manager?.removeFromPreferences()
        manager = nil
    }

    func setOnDemand(_ policy: OnDemandPolicy) async throws {
        if manager == nil { try await install() }
        manager?.onDemandRules = policy.rules.map(NEOnDemandRule.make)
        manager?.isOnDemandEnabled = policy.isOn
        try await manager?.saveToPreferences()
    }

    func ask(_ request: ProviderRequest) async throws -> ProviderReply {
        guard let session = manager?.connection as? NETunnelProviderSession else {
            throw ProviderFault(.closed, "the tunnel is not running")
        }
        let message = try ProviderCodec.encode(request)
        let reply: Data? = try await withCheckedThrowingContinuation { continuation in
            do {
                try session.sendProviderMessage(message) { continuation.resume(returning: $0) }
            } catch {
                continuation.resume(throwing: error)
            }
        }
        guard let reply else { throw ProviderFault(.closed, "the tunnel did not answer") }
        return try ProviderCodec.decode(ProviderReply.self, from: reply)
    }

    func observe(_ handler: @escaping @MainActor () -> Void) {
        observer = NotificationCenter.default.addObserver(
            forName: .NEVPNStatusDidChange, object: nil, queue: .main
        ) { _ in MainActor.assumeIsolated { handler() } }
        News.observe(handler)
    }
}

extension NEOnDemandRule {
    static func make(_ rule: OnDemandRule) -> NEOnDemandRule {
        let made: NEOnDemandRule =
            switch rule.action {
            case .connect: NEOnDemandRuleConnect()
            case .disconnect: NEOnDemandRuleDisconnect()
            case .ignore: NEOnDemandRuleIgnore()
            }
        made.interfaceTypeMatch =
            switch rule.interface {
            case .any: .any
            case .wifi: .wiFi
            case .cellular: .cellular
            }
        if !rule.networks.isEmpty { made.ssidMatch = rule.networks }
        return made
    }
}
#endif
