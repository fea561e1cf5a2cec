import WeftCore

/// The core's host, which shares its name with a class of Foundation.
public typealias CoreHost = WeftCore.Host

extension Snapshot {
    public init(_ status: Status) {
        self.init(
            state: TunnelState(status.state), title: status.stateText, reason: status.reasonText,
            problem: status.error.map { Problem(code: $0.code, text: $0.text) }, mode: Mode(status.serviceMode), endpoint: status.endpoint,
            warnings: status.warnings)
    }
}

extension Origin {
    /// As a person reads it.
    public var title: String {
        switch self {
        case .default: "default"
        case .userSet: "you"
        case .networkPolicy: "profile"
        case .localPolicy: "device management"
        }
    }
}

extension Session {
    /// The reply to a request of the app, from a session of the extension or of the app itself.
    public func reply(to request: ProviderRequest) async throws -> ProviderReply {
        switch request {
        case .status:
            let snapshot = await status().map(Snapshot.init)
            return snapshot.map(ProviderReply.status) ?? .failed(ProviderFault(.closed, "the session has ended"))
        case .explain(let subject): return .explanation(try await explain(subject))
        case .settings:
            let lines = await settings()?.list ?? []
            return .settings(lines.map { SettingLine(name: $0.name, value: $0.valueText, origin: $0.origin.title) })
        case .log(let lines):
            return .log(recentLog().suffix(min(max(lines, 0), ProviderCodec.logLines)))
        case .setMode(let mode):
            try await setServiceMode(mode: mode.core)
            return .done
        case .refresh:
            try await refreshProfile()
            return .done
        }
    }
}
