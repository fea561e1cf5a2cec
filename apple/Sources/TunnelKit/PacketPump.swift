import Foundation
import weft_ffiFFI

/// Carries packets between the system's interface and the core. Outwards it runs where the interface calls back, inwards
/// on a thread of its own that sleeps in the core.
final class PacketPump: @unchecked Sendable {
    /// The thread's stack: it fills one batch and calls the interface.
    private static let stack = 512 << 10
    /// How long `stop` waits for the thread, in seconds.
    private static let endWithin = 2.0

    private let port: any PacketPort
    private let interface: any PacketInterface
    /// Outwards only, which the interface never calls twice at once: the next read comes after the last has ended.
    private let outward = PacketBuffer()
    private let lock = NSLock()
    private var isStopped = false
    private var counts = Counts()
    private let ended = DispatchSemaphore(value: 0)
    private let failed: @Sendable (Int32) -> Void

    /// What the pump had to let go, in packets.
    struct Counts: Equatable {
        /// The core's queue was full.
        var full = 0
        /// No IP packet, or one that is larger than any.
        var malformed = 0
    }

    /// `failed` hears when the core gives no more packets for another reason than that it is closed.
    init(port: any PacketPort, interface: any PacketInterface, failed: @escaping @Sendable (Int32) -> Void) {
        self.port = port
        self.interface = interface
        self.failed = failed
    }

    func start() {
        let thread = Thread { [self] in
            carryInward()
            ended.signal()
        }
        thread.name = "weft-packets"
        thread.stackSize = Self.stack
        thread.start()
        readNext()
    }

    /// Ends both directions. The thread has ended when this returns, unless the interface holds it up for long.
    func stop() {
        let first = lock.withLock {
            defer { isStopped = true }
            return !isStopped
        }
        port.close()
        guard first else { return }
        _ = ended.wait(timeout: .now() + Self.endWithin)
    }

    var lost: Counts { lock.withLock { counts } }

    private func readNext() {
        guard !lock.withLock({ isStopped }) else { return }
        interface.read { [weak self] packets in
            self?.carryOutward(packets)
            self?.readNext()
        }
    }

    private func carryOutward(_ packets: [Data]) {
        outward.clear()
        for packet in packets {
            guard (1...65_535).contains(packet.count) else {
                lock.withLock { counts.malformed += 1 }
                continue
            }
            if !outward.append(packet) {
                send()
                outward.clear()
                _ = outward.append(packet)
            }
        }
        send()
    }

    private func send() {
        guard outward.count > 0 else { return }
        let taken = port.send(outward)
        let rest = outward.count - Int(max(taken, 0))
        guard rest > 0, taken != WEFT_E_CLOSED else { return }
        lock.withLock {
            if taken < 0 { counts.malformed += rest } else { counts.full += rest }
        }
    }

    private func carryInward() {
        let batch = PacketBuffer()
        while !lock.withLock({ isStopped }) {
            let count = port.receive(into: batch)
            guard count >= 0 else {
                if count != WEFT_E_CLOSED { failed(count) }
                return
            }
            guard count > 0 else { continue }
            release { interface.write(batch.takePackets(Int(count))) }
        }
    }

    /// A thread without a run loop frees what Foundation made for it only where it is told to.
    private func release(_ work: () -> Void) {
        #if canImport(ObjectiveC)
        autoreleasepool(invoking: work)
        #else
        work()
        #endif
    }
}
