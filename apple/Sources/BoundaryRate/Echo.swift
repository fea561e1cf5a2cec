import Foundation
import TunnelKit
import WeftKit

/// A device that sends echo requests (RFC 792) as fast as their replies come, by the way of a packet tunnel provider.
final class Echo: TunnelHost, PacketInterface, @unchecked Sendable {
    /// Packets of one call.
    static let batch = 64
    /// Packets under way: two batches, so that neither side waits for the other.
    private static let window = 2 * batch

    private let far: String
    private let queue = DispatchQueue(label: "org.weft.rate")
    private let lock = NSLock()
    private var requests: [Data] = []
    private var waiting: (@Sendable ([Data]) -> Void)?
    private var underWay = 0
    private var counts = Counts()

    struct Counts {
        var sent = 0
        var back = 0
        var lost = 0
    }

    /// `far` answers echo requests, behind the tunnel.
    init(to far: String) { self.far = far }

    var packets: any PacketInterface { self }
    var counted: Counts { lock.withLock { counts } }

    func apply(_ settings: TunnelSettings) async throws {
        guard let own = settings.ipv4?.addresses.first?.bytes, let to = IPRange(address: far, prefix: 32)?.bytes else {
            throw ProviderFault(.invalidInput, "the tunnel or the far end has no IPv4 address")
        }
        lock.withLock {
            if requests.isEmpty { requests = (0..<Self.batch).map { echoRequest($0, from: own, to: to) } }
        }
    }

    func setReasserting(_ isReasserting: Bool) {}
    func announce() {}
    func cancel(_ fault: ProviderFault) { print("cancelled: \(fault)") }

    func read(_ handler: @escaping @Sendable ([Data]) -> Void) {
        lock.withLock { waiting = handler }
        sendNext()
    }

    func write(_ packets: [Data]) {
        let replies = packets.filter { $0.count > 20 && $0[$0.startIndex + 20] == 0 }.count
        lock.withLock {
            counts.back += replies
            underWay = max(underWay - replies, 0)
        }
        sendNext()
    }

    /// Counts what is under way as lost, and goes on.
    func goOn() {
        lock.withLock {
            counts.lost += underWay
            underWay = 0
        }
        sendNext()
    }

    private func sendNext() {
        let next: (handler: @Sendable ([Data]) -> Void, packets: [Data])? = lock.withLock {
            guard let handler = waiting, !requests.isEmpty, underWay < Self.window else { return nil }
            waiting = nil
            underWay += requests.count
            counts.sent += requests.count
            return (handler, requests)
        }
        // The handler reads anew before it returns.
        if let next { queue.async { next.handler(next.packets) } }
    }
}

private func checksum(_ bytes: [UInt8]) -> [UInt8] {
    let words = stride(from: 0, to: bytes.count, by: 2).map { UInt32(bytes[$0]) << 8 | UInt32(bytes[$0 + 1]) }
    var sum = words.reduce(0, +)
    while sum > 0xffff { sum = (sum & 0xffff) + (sum >> 16) }
    return [UInt8(truncatingIfNeeded: ~sum >> 8), UInt8(truncatingIfNeeded: ~sum)]
}

/// An echo request of 60 bytes.
private func echoRequest(_ number: Int, from own: [UInt8], to far: [UInt8]) -> Data {
    var icmp: [UInt8] = [8, 0, 0, 0, 0, 7, UInt8(number >> 8), UInt8(number & 0xff)] + [UInt8](repeating: 0, count: 32)
    icmp.replaceSubrange(2..<4, with: checksum(icmp))
    var header: [UInt8] = [0x45, 0, 0, UInt8(20 + icmp.count), 0, 0, 0, 0, 64, 1, 0, 0] + own + far
    header.replaceSubrange(10..<12, with: checksum(header))
    return Data(header + icmp)
}
