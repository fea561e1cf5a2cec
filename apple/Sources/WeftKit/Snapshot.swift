import WeftCore

/// What the app shows of the tunnel. Crosses from the extension to the app.
public struct Snapshot: Codable, Equatable, Sendable {
    /// Where the tunnel stands.
    public var state: TunnelState
    /// The state in words.
    public var title: String
    /// Why it is so, in words.
    public var reason: String
    /// What the user or the administrator has to do something about.
    public var problem: Problem?
    /// What the tunnel is for.
    public var mode: Mode
    /// The gateway's address and port in use.
    public var endpoint: String?
    /// What else a user should know, one line each.
    public var warnings: [String]

    public init(
        state: TunnelState, title: String, reason: String, problem: Problem? = nil, mode: Mode = .trafficAndDns,
        endpoint: String? = nil, warnings: [String] = []
    ) {
        self.state = state
        self.title = title
        self.reason = reason
        self.problem = problem
        self.mode = mode
        self.endpoint = endpoint
        self.warnings = warnings
    }
}

/// What is wrong: the core's `UserError`, in a form that crosses between processes.
public struct Problem: Codable, Equatable, Sendable {
    /// The kind ("endpoint_unreachable", ...).
    public let code: String
    /// One line.
    public let text: String

    public init(code: String, text: String) {
        self.code = code
        self.text = text
    }
}

/// The core's states (`State`), in a form that crosses between processes.
public enum TunnelState: String, Codable, Sendable, CaseIterable {
    case disconnected, connecting, connected, reconnecting, disconnecting, unable

    public init(_ state: State) {
        self =
            switch state {
            case .disconnected: .disconnected
            case .connecting: .connecting
            case .connected: .connected
            case .reconnecting: .reconnecting
            case .disconnecting: .disconnecting
            case .unable: .unable
            }
    }

    /// Whether the user's switch stands at "on".
    public var isOn: Bool {
        switch self {
        case .connecting, .connected, .reconnecting, .unable: true
        case .disconnected, .disconnecting: false
        }
    }
}

/// The core's service modes (`ServiceMode`), in a form that crosses between processes.
public enum Mode: String, Codable, Sendable, CaseIterable {
    case trafficAndDns, dnsOnly, trafficOnly, localProxy, postureOnly

    /// Those between which a user may switch.
    public static let offered: [Mode] = [.trafficAndDns, .dnsOnly]

    public init(_ mode: ServiceMode) {
        self =
            switch mode {
            case .trafficAndDns: .trafficAndDns
            case .dnsOnly: .dnsOnly
            case .trafficOnly: .trafficOnly
            case .localProxy: .localProxy
            case .postureOnly: .postureOnly
            }
    }

    /// The same mode as the core names it.
    public var core: ServiceMode {
        switch self {
        case .trafficAndDns: .trafficAndDns
        case .dnsOnly: .dnsOnly
        case .trafficOnly: .trafficOnly
        case .localProxy: .localProxy
        case .postureOnly: .postureOnly
        }
    }
}
