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
        self.init(subject: address.address, way: Direction(address.way), resolver: nil, why: address.why)
    }

    init(_ host: HostExplanation) {
        self.init(
            subject: host.name, way: host.way.map(Direction.init), resolver: host.source.title, why: host.why)
    }
}

extension Explanation.Direction {
    init(_ way: Way) {
        self =
            switch way {
            case .tunnel: .tunnel
            case .outside: .outside
            case .blocked: .blocked
            }
    }
}

extension DnsSource? {
    /// Who answers, as a person reads it. The cache and the hosts file stand for nobody who would be asked.
    var title: String {
        switch self {
        case .local, .hosts, .cache: "Weft itself"
        case .doh: "The gateway"
        case .plain(let servers): "\(list(servers)), through the tunnel"
        case .fallback(let suffix, let servers): "\(list(servers)), for everything below \(suffix)"
        case .system(let servers), .portal(let servers): list(servers)
        case .refused: "Nobody: it is refused at once"
        case nil: list([])
        }
    }

    private func list(_ servers: [String]) -> String {
        servers.isEmpty ? "The network you are on" : servers.joined(separator: ", ")
    }
}
