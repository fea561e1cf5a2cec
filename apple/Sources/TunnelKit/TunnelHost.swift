import Foundation
import WeftKit

/// What a packet tunnel provider gives: NEPacketTunnelProvider on a device, a stand-in in tests.
public protocol TunnelHost: AnyObject, Sendable {
    /// Puts `settings` in place of those before; returns once they are in force.
    func apply(_ settings: TunnelSettings) async throws
    /// Shows that the tunnel is coming back (true) or is there (false).
    func setReasserting(_ isReasserting: Bool)
    /// Ends the tunnel from inside, with what the user is told.
    func cancel(_ fault: ProviderFault)
    /// Tells the app that there is news: it asks for them by a message.
    func announce()
    /// The packets of the interface.
    var packets: any PacketInterface { get }
}

/// The packets of the system's interface, whole and without any header before them.
public protocol PacketInterface: AnyObject, Sendable {
    /// Calls `handler` once, with the packets that the device sends, as soon as there are any.
    func read(_ handler: @escaping @Sendable ([Data]) -> Void)
    /// Gives packets to the device.
    func write(_ packets: [Data])
}

/// The path of the network below the tunnel, as far as it matters.
public struct NetworkPath: Equatable, Sendable {
    /// The interface that the path leaves by; none = there is no network.
    public let interface: String?
    /// What tells this network from another of the same interface: its gateways,
    public let gateways: [String]
    /// and what the device is called in it. Many networks have the same gateway address.
    public let addresses: [String]
    public let hasIPv4: Bool
    public let hasIPv6: Bool
    /// Whether its traffic costs.
    public let isExpensive: Bool

    public init(
        interface: String?, gateways: [String], addresses: [String] = [], hasIPv4: Bool, hasIPv6: Bool, isExpensive: Bool
    ) {
        self.interface = interface
        self.gateways = gateways
        self.addresses = addresses
        self.hasIPv4 = hasIPv4
        self.hasIPv6 = hasIPv6
        self.isExpensive = isExpensive
    }

    /// No network at all.
    public static let none = NetworkPath(
        interface: nil, gateways: [], hasIPv4: false, hasIPv6: false, isExpensive: false)

    /// Whether packets could leave by it.
    public var isSatisfied: Bool { interface != nil }
}
