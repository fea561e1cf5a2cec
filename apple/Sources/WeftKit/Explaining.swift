import Foundation
import WeftCore

extension Session {
    /// Which way a host name's or an address's packets go, by whom the name is looked up, and why.
    func explain(_ subject: String) async throws -> Explanation {
        let subject = subject.trimmingCharacters(in: .whitespacesAndNewlines)
        if IPRange(address: subject, prefix: 0) != nil {
            return Explanation(try await explainAddress(address: subject))
        }
        return Explanation(try await explainHost(name: subject))
    }
}

extension Explanation {
    init(_ address: AddressExplanation) {
        self.init(subject: address.address, inTunnel: address.tunnelled, resolver: nil, why: address.why)
    }

    init(_ host: HostExplanation) {
        let inTunnel: Bool? =
            switch host.route {
            case .tunnel: true
            case .outside, .noTunnel: false
            case .byAddress: nil
            }
        self.init(subject: host.name, inTunnel: inTunnel, resolver: host.resolver.title, why: host.why)
    }
}

extension HostResolver {
    /// As a person reads it.
    var title: String {
        switch self {
        case .local: "Weft itself"
        case .gateway: "The gateway"
        case .system: "The network you are on"
        case .fallback(let suffix, let servers) where servers.isEmpty:
            "The network you are on, for everything below \(suffix)"
        case .fallback(let suffix, let servers):
            "\(servers.joined(separator: ", ")), for everything below \(suffix)"
        }
    }
}
