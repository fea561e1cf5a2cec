import WeftCore

/// What a packet tunnel provider is to set, as plain values: the whole of it, never a difference.
public struct TunnelSettings: Equatable, Sendable {
    /// What the system shows as the tunnel's far end. It has no effect, but may not be empty, and is the same for every
    /// endpoint: a change of it alone would set the interface up anew.
    public let remoteAddress: String
    /// In bytes; none = the system's default.
    public let mtu: Int?
    /// None = no IPv4 in the tunnel.
    public let ipv4: Family?
    /// None = no IPv6 in the tunnel.
    public let ipv6: Family?
    /// None = the system's resolvers stay.
    public let dns: Names?

    /// The interface's part of one address family. What stays outside is what `included` leaves out: the core says both, and a
    /// system that enforces the routes of a tunnel may drop what is included where anything is named as excluded.
    public struct Family: Equatable, Sendable {
        /// The interface's addresses, each with its prefix.
        public let addresses: [IPRange]
        /// What goes into the tunnel.
        public let included: [IPRange]
    }

    /// Who answers names.
    public struct Names: Equatable, Sendable {
        /// The resolvers' addresses, in order.
        public let servers: [String]
        /// Suffixes that short names are tried under.
        public let searchDomains: [String]
        /// The empty suffix matches every name: the system then asks nobody else.
        public let matchDomains: [String]
    }

    /// A plan holds something that no system could set. Nothing of it is applied then.
    public enum Fault: Error, Equatable, CustomStringConvertible {
        /// Text that is no address, or a prefix that does not fit it.
        case notAnAddress(String)
        /// An interface without any address.
        case noAddress

        public var description: String {
            switch self {
            case .notAnAddress(let text): "the plan names \(text), which is no address"
            case .noAddress: "the plan's interface has no address"
            }
        }
    }

    /// The longest prefix that an IPv6 address of the interface is given. With /128 and all of IPv6 routed into the tunnel,
    /// Apple's systems drop the default route of the network below.
    static let longestIPv6Prefix = 120

    /// Settings of a mode that has no interface: the provider runs and carries nothing.
    public static let idle = TunnelSettings(remoteAddress: placeholder, mtu: nil, ipv4: nil, ipv6: nil, dns: nil)

    /// From RFC 5737, section 3: nobody's.
    private static let placeholder = "192.0.2.1"

    /// What the interface is called in a family of which the device has no address, so that the system routes that family's
    /// packets into it, where the core refuses them: without an address they would leave beside the tunnel. RFC 5737 and
    /// RFC 3849: nobody's.
    private static let stranded = [false: IPRange(address: "192.0.2.2", prefix: 32), true: IPRange(address: "2001:db8::2", prefix: 120)]

    init(remoteAddress: String, mtu: Int?, ipv4: Family?, ipv6: Family?, dns: Names?) {
        self.remoteAddress = remoteAddress
        self.mtu = mtu
        self.ipv4 = ipv4
        self.ipv6 = ipv6
        self.dns = dns
    }

    /// The settings of `plan`; nothing where the plan has no interface.
    public init?(plan: Plan) throws(Fault) {
        guard let interface = plan.interface else { return nil }
        let addresses = try TunnelSettings.ranges(interface.addresses)
        guard !addresses.isEmpty else { throw .noAddress }
        let included = try TunnelSettings.ranges(plan.routes)
        let family = { (isIPv6: Bool) -> Family? in
            let routed = included.filter { $0.isIPv6 == isIPv6 }
            var own = addresses.filter { $0.isIPv6 == isIPv6 }.compactMap(TunnelSettings.widened)
            if own.isEmpty, !routed.isEmpty, let address = TunnelSettings.stranded[isIPv6] ?? nil { own = [address] }
            guard !own.isEmpty else { return nil }
            return Family(addresses: own, included: routed)
        }
        self.init(
            remoteAddress: TunnelSettings.placeholder,
            mtu: Int(interface.mtu),
            ipv4: family(false),
            ipv6: family(true),
            dns: plan.dns.map { Names(servers: $0.servers, searchDomains: $0.search, matchDomains: [""]) })
    }

    private static func ranges(_ networks: [IpNetwork]) throws(Fault) -> [IPRange] {
        var ranges: [IPRange] = []
        for network in networks {
            guard let range = IPRange(address: network.address, prefix: Int(network.prefix)) else {
                throw .notAnAddress("\(network.address)/\(network.prefix)")
            }
            ranges.append(range)
        }
        return ranges
    }

    private static func widened(_ address: IPRange) -> IPRange? {
        guard address.isIPv6 else { return address }
        return IPRange(address: address.address, prefix: min(address.prefix, longestIPv6Prefix))
    }
}
