#if canImport(NetworkExtension)
import Foundation
import NetworkExtension
import TunnelKit
import WeftKit

/// The provider as the controller's host. The system keeps the provider for as long as the process lives, so nothing is
/// to be done where it is gone.
final class ProviderHost: TunnelHost, @unchecked Sendable {
    private weak var provider: PacketTunnelProvider?
    let packets: any PacketInterface

    init(_ provider: PacketTunnelProvider) {
        self.provider = provider
        packets = SystemPackets(provider.packetFlow)
    }

    func apply(_ settings: TunnelSettings) async throws {
        try await provider?.setTunnelNetworkSettings(NEPacketTunnelNetworkSettings(settings))
    }

    func setReasserting(_ isReasserting: Bool) { provider?.reasserting = isReasserting }

    func cancel(_ fault: ProviderFault) { provider?.cancelTunnelWithError(fault) }

    func announce() { News.post() }
}

/// The interface's packets, without the four bytes of address family that the system's own interface puts before each.
final class SystemPackets: PacketInterface, @unchecked Sendable {
    private let flow: NEPacketTunnelFlow

    init(_ flow: NEPacketTunnelFlow) { self.flow = flow }

    func read(_ handler: @escaping @Sendable ([Data]) -> Void) {
        flow.readPackets { packets, _ in handler(packets) }
    }

    func write(_ packets: [Data]) {
        flow.writePackets(packets, withProtocols: packets.map(Self.family))
    }

    /// The address family by the version in the packet's first byte.
    private static func family(_ packet: Data) -> NSNumber {
        packet.first.map { $0 >> 4 } == 6 ? NSNumber(value: AF_INET6) : NSNumber(value: AF_INET)
    }
}
#endif
