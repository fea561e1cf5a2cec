import Foundation
import Testing

@testable import TunnelKit

struct PumpTests {
    private let interface = TestPackets()

    private func pump(_ port: TestPort) -> PacketPump {
        let pump = PacketPump(port: port, interface: interface) { _ in }
        pump.start()
        return pump
    }

    private func packet(_ number: Int, _ size: Int = 40) -> Data {
        var packet = Data(repeating: 0x45, count: size)
        packet[packet.count - 1] = UInt8(truncatingIfNeeded: number)
        return packet
    }

    @Test func packetsPassBothWaysInTheirOrder() async {
        let port = TestPort()
        let pump = pump(port)
        let packets = (0..<300).map { packet($0) }
        interface.send(packets)
        #expect(await eventually { port.outward == packets })
        for start in stride(from: 0, to: 300, by: 60) { port.give(Array(packets[start..<start + 60])) }
        #expect(await eventually { interface.written == packets })
        pump.stop()
        #expect(pump.lost == PacketPump.Counts())
    }

    @Test func aBatchHoldsTheLargestPacketAndNoLargerOneIsSent() async {
        let port = TestPort()
        let pump = pump(port)
        interface.send([packet(1, 65_535), packet(2, 65_535), packet(3, 65_535), packet(4, 65_536), Data(), packet(5)])
        #expect(await eventually { port.outward.count == 4 && interface.isRead })
        #expect(port.outward.map(\.count) == [65_535, 65_535, 65_535, 40])
        #expect(pump.lost == PacketPump.Counts(full: 0, malformed: 2))
        pump.stop()
    }

    @Test func aFullQueueLosesPacketsAndCountsThem() async {
        let port = TestPort(takes: 10)
        let pump = pump(port)
        interface.send((0..<64).map { packet($0) })
        #expect(await eventually { interface.isRead && port.outward.count == 10 })
        #expect(pump.lost == PacketPump.Counts(full: 54, malformed: 0))
        pump.stop()
    }

    @Test func aStopEndsTheThreadAndTheReading() async {
        let port = TestPort()
        let pump = pump(port)
        pump.stop()
        pump.stop()
        interface.send([packet(1)])
        interface.send([packet(2)])
        #expect(port.outward.isEmpty)
        #expect(port.closed)
    }
}
