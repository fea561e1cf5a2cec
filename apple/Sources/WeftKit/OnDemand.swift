/// When the system shall start and stop the tunnel by itself.
public struct OnDemandPolicy: Codable, Equatable, Sendable {
    /// Whether the system starts the tunnel at all.
    public var isOn: Bool
    /// Names of Wi-Fi networks on which the tunnel is not wanted. Anybody may give a network such a name.
    public var trustedNetworks: [String]
    /// Whether mobile data starts it.
    public var onCellular: Bool

    public init(isOn: Bool, trustedNetworks: [String] = [], onCellular: Bool = true) {
        self.isOn = isOn
        self.trustedNetworks = trustedNetworks
        self.onCellular = onCellular
    }

    /// The rules in order; the system takes the first that fits the network. Empty = it does nothing by itself.
    public var rules: [OnDemandRule] {
        guard isOn else { return [] }
        var rules: [OnDemandRule] = []
        if !trustedNetworks.isEmpty {
            rules.append(OnDemandRule(action: .disconnect, interface: .wifi, networks: trustedNetworks))
        }
        if !onCellular {
            rules.append(OnDemandRule(action: .ignore, interface: .cellular))
        }
        rules.append(OnDemandRule(action: .connect, interface: .any))
        return rules
    }
}

/// One rule of NEOnDemandRule's kind.
public struct OnDemandRule: Equatable, Sendable {
    public let action: Action
    public let interface: Interface
    /// Wi-Fi names; empty = any.
    public let networks: [String]

    public enum Action: Sendable { case connect, disconnect, ignore }
    public enum Interface: Sendable { case any, wifi, cellular }

    init(action: Action, interface: Interface, networks: [String] = []) {
        self.action = action
        self.interface = interface
        self.networks = networks
    }
}
