import Foundation
import TunnelKit
import WeftKit

/// A device that sends echo requests (RFC 792) as fast as their replies come, by the way of a packet tunnel provider.
final class Echo: TunnelHost, PacketInterface, @unchecked Sendable {
    /// Packets that the device gives at once; two such batches are under way at a time.
    private static let batch = 128

    private let far: String
    private let size: Int
    private let queue = DispatchQueue(label: "org.weft.rate")
    private let lock = NSLock()
    private var requests: [Data] = []
    private var waiting: (@Sendable ([Data]) -> Void)?
    private var underWay = 0
    private var replies = 0

    /// `far` answers echo requests of `size` bytes, behind the tunnel.
    init(to far: String, size: Int) {
        self.far = far
        self.size = size
    }

    var packets: any PacketInterface { self }
    /// How many replies have come.
    var back: Int { lock.withLock { replies } }

    func apply(_ settings: TunnelSettings) async throws {
        guard let own = settings.ipv4?.addresses.first?.bytes, let to = IPRange(address: far, prefix: 32)?.bytes else {
            throw ProviderFault(.invalidInput, "the tunnel or the far end has no IPv4 address")
        }
        let made = (0..<Self.batch).map { echoRequest($0, size: size, from: own, to: to) }
        lock.withLock { requests = made }
    }

    func setReasserting(_ isReasserting: Bool) {}
    func announce() {}
    func cancel(_ fault: ProviderFault) { print("cancelled: \(fault)") }

    func read(_ handler: @escaping @Sendable ([Data]) -> Void) {
        lock.withLock { waiting = handler }
        sendNext()
    }

    func write(_ packets: [Data]) {
        let came = packets.count { $0.count > 20 && $0[$0.startIndex + 20] == 0 }
        lock.withLock {
            replies += came
            underWay = max(underWay - came, 0)
        }
        sendNext()
    }

    /// What is under way is lost.
    func goOn() {
        lock.withLock { underWay = 0 }
        sendNext()
    }

    private func sendNext() {
        let next: (handler: @Sendable ([Data]) -> Void, packets: [Data])? = lock.withLock {
            guard let handler = waiting, !requests.isEmpty, underWay <= Self.batch else { return nil }
            waiting = nil
            underWay += requests.count
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

/// An echo request in an IPv4 packet (RFC 791) of `size` bytes, an even number.
private func echoRequest(_ number: Int, size: Int, from own: [UInt8], to far: [UInt8]) -> Data {
    var icmp: [UInt8] = [8, 0, 0, 0, 0, 7, UInt8(number >> 8), UInt8(number & 0xff)]
    icmp += [UInt8](repeating: 0, count: size - 28)
    icmp.replaceSubrange(2..<4, with: checksum(icmp))
    var header: [UInt8] = [0x45, 0, UInt8(size >> 8), UInt8(size & 0xff), 0, 0, 0, 0, 64, 1, 0, 0] + own + far
    header.replaceSubrange(10..<12, with: checksum(header))
    return Data(header + icmp)
}
