import Foundation

open class NEProvider: NSObject {
    public override init() {}
    open func sleep(completionHandler: @escaping () -> Void) {}
    open func wake() {}
}

open class NETunnelProvider: NEProvider {
    open func handleAppMessage(_ messageData: Data, completionHandler: ((Data?) -> Void)? = nil) {}
    open func setTunnelNetworkSettings(_ settings: NETunnelNetworkSettings?) async throws {}
    open var protocolConfiguration: NEVPNProtocol { NEVPNProtocol() }
    open var reasserting = false
}

open class NEPacketTunnelProvider: NETunnelProvider {
    open func startTunnel(
        options: [String: NSObject]? = nil, completionHandler: @escaping ((any Error)?) -> Void
    ) {}
    open func stopTunnel(with reason: NEProviderStopReason, completionHandler: @escaping () -> Void) {}
    open func cancelTunnelWithError(_ error: (any Error)?) {}
    open var packetFlow: NEPacketTunnelFlow { NEPacketTunnelFlow() }
}

public enum NEProviderStopReason: Int, Sendable {
    case none, userInitiated, providerFailed, noNetworkAvailable, unrecoverableNetworkChange
}

open class NEPacketTunnelFlow: NSObject {
    open func readPackets(completionHandler: @escaping @Sendable ([Data], [NSNumber]) -> Void) {}
    @discardableResult
    open func writePackets(_ packets: [Data], withProtocols protocols: [NSNumber]) -> Bool { false }
}

open class NETunnelNetworkSettings: NSObject {
    public init(tunnelRemoteAddress address: String) {}
    open var dnsSettings: NEDNSSettings?
}

open class NEPacketTunnelNetworkSettings: NETunnelNetworkSettings {
    open var ipv4Settings: NEIPv4Settings?
    open var ipv6Settings: NEIPv6Settings?
    open var mtu: NSNumber?
}

open class NEIPv4Settings: NSObject {
    public init(addresses: [String], subnetMasks: [String]) {}
    open var includedRoutes: [NEIPv4Route]?
    open var excludedRoutes: [NEIPv4Route]?
}

open class NEIPv4Route: NSObject {
    public init(destinationAddress address: String, subnetMask: String) {}
}

open class NEIPv6Settings: NSObject {
    public init(addresses: [String], networkPrefixLengths: [NSNumber]) {}
    open var includedRoutes: [NEIPv6Route]?
    open var excludedRoutes: [NEIPv6Route]?
}

open class NEIPv6Route: NSObject {
    public init(destinationAddress address: String, networkPrefixLength: NSNumber) {}
}

open class NEDNSSettings: NSObject {
    public init(servers: [String]) {}
    open var searchDomains: [String]?
    open var matchDomains: [String]?
}

open class NEVPNProtocol: NSObject {
    open var serverAddress: String?
    open var enforceRoutes = false
    open var excludeLocalNetworks = true
}

open class NETunnelProviderProtocol: NEVPNProtocol {
    open var providerBundleIdentifier: String?
    open var providerConfiguration: [String: Any]?
}

public enum NEVPNStatus: Int, Sendable {
    case invalid, disconnected, connecting, connected, reasserting, disconnecting
}

open class NEVPNConnection: NSObject {
    open var status: NEVPNStatus { .invalid }
    open func stopVPNTunnel() {}
}

open class NETunnelProviderSession: NEVPNConnection {
    open func startTunnel(options: [String: Any]? = nil) throws {}
    open func sendProviderMessage(_ messageData: Data, responseHandler: ((Data?) -> Void)? = nil) throws {}
}

open class NEVPNManager: NSObject, @unchecked Sendable {
    open var onDemandRules: [NEOnDemandRule]?
    open var isOnDemandEnabled = false
    open var localizedDescription: String?
    open var protocolConfiguration: NEVPNProtocol?
    open var connection: NEVPNConnection { NEVPNConnection() }
    open var isEnabled = false
    open func loadFromPreferences() async throws {}
    open func saveToPreferences() async throws {}
    open func removeFromPreferences() async throws {}
}

open class NETunnelProviderManager: NEVPNManager, @unchecked Sendable {
    open class func loadAllFromPreferences() async throws -> [NETunnelProviderManager] { [] }
}

open class NEOnDemandRule: NSObject {
    open var interfaceTypeMatch: NEOnDemandRuleInterfaceType = .any
    open var ssidMatch: [String]?
}

public enum NEOnDemandRuleInterfaceType: Int, Sendable { case any, ethernet, wiFi, cellular }

open class NEOnDemandRuleConnect: NEOnDemandRule {}
open class NEOnDemandRuleDisconnect: NEOnDemandRule {}
open class NEOnDemandRuleIgnore: NEOnDemandRule {}

extension NSNotification.Name {
    public static let NEVPNStatusDidChange = NSNotification.Name("com.apple.networkextension.statusdidchange")
}
