#if canImport(NetworkExtension)
import Foundation
import NetworkExtension
import WeftKit

extension NEPacketTunnelNetworkSettings {
    convenience init(_ settings: TunnelSettings) {
        self.init(tunnelRemoteAddress: settings.remoteAddress)
        mtu = settings.mtu.map { NSNumber(value: $0) }
        ipv4Settings = settings.ipv4.map(NEIPv4Settings.init)
        ipv6Settings = settings.ipv6.map(NEIPv6Settings.init)
        dnsSettings = settings.dns.map(NEDNSSettings.init)
    }
}

extension NEIPv4Settings {
    convenience init(_ family: TunnelSettings.Family) {
        self.init(addresses: family.addresses.map(\.address), subnetMasks: family.addresses.map(\.mask))
        includedRoutes = family.included.map(NEIPv4Route.init)
    }
}

extension NEIPv4Route {
    convenience init(_ range: IPRange) {
        self.init(destinationAddress: range.address, subnetMask: range.mask)
    }
}

extension NEIPv6Settings {
    convenience init(_ family: TunnelSettings.Family) {
        let lengths = family.addresses.map { NSNumber(value: $0.prefix) }
        self.init(addresses: family.addresses.map(\.address), networkPrefixLengths: lengths)
        includedRoutes = family.included.map(NEIPv6Route.init)
    }
}

extension NEIPv6Route {
    convenience init(_ range: IPRange) {
        self.init(destinationAddress: range.address, networkPrefixLength: NSNumber(value: range.prefix))
    }
}

extension NEDNSSettings {
    convenience init(_ names: TunnelSettings.Names) {
        self.init(servers: names.servers)
        searchDomains = names.searchDomains
        matchDomains = names.matchDomains
    }
}
#endif
