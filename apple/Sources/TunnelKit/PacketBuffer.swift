import Foundation

/// The memory of one direction of the packet flow, made once and used for every batch.
///
/// 64 packets of at most 2 KiB (an MTU of 1280 leaves room) are 128 KiB, and 65,535 bytes, the largest packet there is,
/// fit too. Both directions: 2 * (128 KiB + 65 * 4 bytes) = 257 KiB of the 50 MiB that an extension may have.
final class PacketBuffer {
    /// The packets that one batch carries at most.
    static let packets = 64
    /// The bytes that one batch carries at most.
    static let bytes = packets * 2048

    let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: bytes)
    let offsets = UnsafeMutablePointer<UInt32>.allocate(capacity: packets + 1)
    private(set) var count = 0

    init() {
        memory.initialize(repeating: 0, count: Self.bytes)
        offsets.initialize(repeating: 0, count: Self.packets + 1)
    }

    deinit {
        memory.deallocate()
        offsets.deallocate()
    }

    /// The bytes in use.
    var length: Int { Int(offsets[count]) }

    func clear() { count = 0 }

    /// Takes one packet behind the others; false where the batch is full.
    func append(_ packet: Data) -> Bool {
        guard count < Self.packets, packet.count <= Self.bytes - length else { return false }
        packet.copyBytes(to: memory + length, count: packet.count)
        offsets[count + 1] = UInt32(length + packet.count)
        count += 1
        return true
    }

    /// The packets of a batch that somebody else filled with `filled` of them, each a copy of its own.
    func takePackets(_ filled: Int) -> [Data] {
        (0..<min(filled, Self.packets)).compactMap { index in
            let (start, end) = (Int(offsets[index]), Int(offsets[index + 1]))
            guard start <= end, end <= Self.bytes else { return nil }
            return Data(bytes: memory + start, count: end - start)
        }
    }
}
