import WeftCore
import weft_ffiFFI

/// The core's side of the packet flow, by the C functions: the caller's memory both ways.
protocol PacketPort: Sendable {
    /// How many of the batch's packets the core took, or a negative WEFT_E_*. Never waits.
    func send(_ batch: PacketBuffer) -> Int32
    /// Waits for packets for the device. How many came, or a negative WEFT_E_*.
    func receive(into batch: PacketBuffer) -> Int32
    /// Ends both directions; a `receive` that waits returns.
    func close()
}

/// The real one.
struct CorePacketPort: PacketPort {
    private let flow: PacketFlow
    private let handle: UInt64

    init(_ flow: PacketFlow) {
        self.flow = flow
        handle = flow.number()
    }

    func send(_ batch: PacketBuffer) -> Int32 {
        weft_packets_send(handle, batch.memory, batch.length, batch.offsets, batch.count)
    }

    func receive(into batch: PacketBuffer) -> Int32 {
        // Nothing wakes an idle device: `close` ends the wait.
        weft_packets_receive(handle, batch.memory, PacketBuffer.bytes, batch.offsets, PacketBuffer.packets, .max)
    }

    func close() { flow.close() }
}
