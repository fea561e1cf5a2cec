#if canImport(NetworkExtension)
import AppModel
import Foundation
import NetworkExtension
import WeftKit

/// The system's VPN configuration of this app.
@MainActor
final class SystemTunnel: TunnelManager {
    /// How long a message to the extension may take: more than a fetch of the profile, which the core gives up by itself.
    private static let answerWithin = Duration.seconds(60)
    /// How long the extension may take to end. It gives itself 15 s for the core to disconnect, and as many to close.
    private static let endWithin = Duration.seconds(35)

    private let deviceName: String
    private var manager: NETunnelProviderManager?
    private var observer: (any NSObjectProtocol)?
    private var endings: [Once<Void>] = []

    init(deviceName: String) { self.deviceName = deviceName }

    var isRunning: Bool {
        switch manager?.connection.status {
        case .connected, .connecting, .reasserting: true
        default: false
        }
    }

    private var hasEnded: Bool {
        switch manager?.connection.status {
        case .none, .invalid, .disconnected: true
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
        // The tunnel's routes stand above those that a local network brings, and above an app's choice of an interface.
        // What stays outside, the local network too, is the plan's to say, by what it does not include.
        tunnel.enforceRoutes = true
        tunnel.excludeLocalNetworks = false
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
    func stop() async -> Bool {
        if let manager, manager.isOnDemandEnabled {
            manager.isOnDemandEnabled = false
            try? await manager.saveToPreferences()
        }
        manager?.connection.stopVPNTunnel()
        return await finishes(within: Self.endWithin) { await self.untilEnded() }
    }

    private func untilEnded() async {
        guard !hasEnded else { return }
        await withCheckedContinuation { endings.append(Once($0)) }
    }

    private func statusChanged() {
        guard hasEnded else { return }
        endings.forEach { $0.resume(()) }
        endings = []
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
        let reply = try await reply(within: Self.answerWithin) { answered in
            try session.sendProviderMessage(message, responseHandler: answered)
        }
        return try ProviderCodec.decode(ProviderReply.self, from: reply)
    }

    func observe(_ handler: @escaping @MainActor () -> Void) {
        observer = NotificationCenter.default.addObserver(
            forName: .NEVPNStatusDidChange, object: nil, queue: .main
        ) { [weak self] _ in
            MainActor.assumeIsolated {
                self?.statusChanged()
                handler()
            }
        }
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
