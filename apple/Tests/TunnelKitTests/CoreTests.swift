import Foundation
import Testing
import WeftCore
import WeftKit

@testable import TunnelKit

/// The state of a device that belongs to a gateway at `port` of this machine, where nobody answers.
private func state(port: Int = 9) -> String {
    """
    {"registration": {
      "id": "office", "source": "imported", "private_key": "qMqVhGHXzEsNPVsrCLbWYvhBlCzFTBWcPKaBJGdNC3c=",
      "addresses": ["172.16.0.2/32"],
      "gateways": [{
        "tunnel": {
          "public_key": "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=", "addresses": ["127.0.0.1"], "ports": [\(port)],
          "allowed_ips": ["0.0.0.0/0", "::/0"]
        },
        "dns": "system"
      }]
    }}
    """
}

/// A UDP datagram without a checksum, in an IPv4 packet from the tunnel's address.
private func datagram(to: [UInt8], port: Int, _ payload: [UInt8]) -> Data {
    let size = 28 + payload.count
    var header: [UInt8] = [0x45, 0, UInt8(size >> 8), UInt8(size & 0xff), 0, 1, 0x40, 0, 64, 17, 0, 0, 172, 16, 0, 2] + to
    let words = stride(from: 0, to: 20, by: 2).map { UInt32(header[$0]) << 8 | UInt32(header[$0 + 1]) }
    let sum = words.reduce(0, +)
    let checksum = ~UInt16(truncatingIfNeeded: (sum & 0xffff) + (sum >> 16))
    header[10] = UInt8(checksum >> 8)
    header[11] = UInt8(checksum & 0xff)
    let length = size - 20
    let udp: [UInt8] = [0x9c, 0x40, UInt8(port >> 8), UInt8(port & 0xff), UInt8(length >> 8), UInt8(length & 0xff), 0, 0]
    return Data(header + udp + payload)
}

/// A packet of `size` bytes to an address that the tunnel carries.
private func packet(size: Int) -> Data {
    datagram(to: [203, 0, 113, 7], port: 5000, [UInt8](repeating: 0, count: size - 28))
}

/// The question for a name's IPv4 addresses (RFC 1035, section 4.1).
private func question(_ name: String) -> [UInt8] {
    let labels = name.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
    return [0x77, 0x65, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0] + labels + [0, 0, 1, 0, 1]
}

/// The controller with the real core.
@Suite(.serialized)
struct CoreTests {
    private let host = TestHost()

    private func controller(_ secrets: TestSecrets) -> TunnelController {
        TunnelController(host: host, secrets: secrets, path: wifi)
    }

    private func ask(_ controller: TunnelController, _ request: ProviderRequest) async throws -> ProviderReply {
        let message = try ProviderCodec.encode(request)
        return try ProviderCodec.decode(ProviderReply.self, from: await controller.reply(to: message))
    }

    @Test func aDeviceThatBelongsNowhereDoesNotStart() async {
        let fault = await #expect(throws: ProviderFault.self) { try await controller(TestSecrets()).start(config) }
        #expect(fault?.kind == .notRegistered)
        #expect(host.applied.now.isEmpty)
    }

    @Test func aStoreThatThrowsIsATypedError() async {
        let secrets = TestSecrets(state: state())
        secrets.refusal.change { $0 = ProviderFault(.host, "the keychain is locked") }
        let fault = await #expect(throws: ProviderFault.self) { try await controller(secrets).start(config) }
        #expect(fault?.kind == .host)
        #expect(fault?.detail.contains("the keychain is locked") == true)
    }

    @Test func theFirstSettingsAreThoseOfTheRegistration() async throws {
        let controller = controller(TestSecrets(state: state()))
        try await controller.start(config)
        let settings = try #require(host.applied.now.first)
        #expect(settings.ipv4?.addresses.map(\.description) == ["172.16.0.2/32"])
        #expect(settings.ipv4?.included.isEmpty == false)
        #expect(settings.mtu == 1280)
        #expect(await eventually { host.reasserted.now.last == true }, "nobody answers the handshake")
        await controller.stop()
        #expect(host.cancelled.now.isEmpty)
    }

    @Test func packetsReachTheCoreAndItsAnswerTheDevice() async throws {
        let controller = controller(TestSecrets(state: state()))
        try await controller.start(config)
        let answered = await eventually {
            host.system.send([packet(size: 1400)])
            return !host.system.written.isEmpty
        }
        #expect(answered, "a packet beyond the MTU is answered")
        let answer = try #require(host.system.written.first)
        // RFC 1191: destination unreachable, fragmentation needed, with the MTU of the next hop.
        #expect(answer[9] == 1)
        #expect(Array(answer[20...21]) == [3, 4])
        #expect(Int(answer[26]) << 8 | Int(answer[27]) == 1280)
        #expect(Array(answer[16...19]) == [172, 16, 0, 2])
        await controller.stop()
    }

    /// In a mode that needs no gateway for its interface.
    @Test func aQuestionToTheTunnelsResolverIsAnsweredByTheCore() async throws {
        let device = state().replacing("imported", with: "orchestrated")
            .replacing(#""system""#, with: #"{"plain": {"servers": ["10.99.0.1"], "search": []}}"#)
        let dnsOnly = device.dropLast() + #", "profile": {"service_mode_v2": {"mode": "1dot1"}}}"#
        let controller = controller(TestSecrets(state: String(dnsOnly)))
        try await controller.start(config)
        let sentinel: [UInt8] = [198, 18, 0, 53]
        // The name that the device's own proxy answers, and nobody else.
        let asked = question("connectivity-check.weftd")
        let answered = await eventually {
            host.system.send([datagram(to: sentinel, port: 53, asked)])
            return !host.system.written.isEmpty
        }
        await controller.stop()
        #expect(answered)
        let packet = [UInt8](try #require(host.system.written.first))
        #expect(packet[9] == 17)
        #expect(Array(packet[12..<16]) == sentinel)
        #expect(Array(packet[16..<24]) == [172, 16, 0, 2, 0, 53, 0x9c, 0x40], "to the port that asked")
        let message = Array(packet[28...])
        #expect(Array(message[0..<2]) == [0x77, 0x65])
        #expect(message[2] & 0x80 == 0x80, "a response")
        #expect(message[3] & 0x0f == 0, "without an error")
        #expect(Array(message[6..<8]) == [0, 1], "one answer")
        #expect(Array(message.suffix(4)) == sentinel, "the resolver's own address")
    }

    @Test func aNameAndAnAddressAreExplained() async throws {
        let controller = controller(TestSecrets(state: state()))
        try await controller.start(config)
        guard case .explanation(let address) = try await ask(controller, .explain(" 203.0.113.7 ")) else {
            Issue.record("no explanation")
            return
        }
        #expect(address.subject == "203.0.113.7")
        #expect(address.way == .tunnel)
        #expect(!address.why.isEmpty)
        guard case .explanation(let name) = try await ask(controller, .explain("intranet.example")) else {
            Issue.record("no explanation")
            return
        }
        #expect(name.resolver != nil)
        guard case .failed(let fault) = try await ask(controller, .explain("not a name")) else {
            Issue.record("explained what is no name")
            return
        }
        #expect(fault.kind == .invalidInput)
        await controller.stop()
    }

    @Test func theSettingsInForceReachTheApp() async throws {
        let controller = controller(TestSecrets(state: state()))
        try await controller.start(config)
        guard case .settings(let lines) = try await ask(controller, .settings) else {
            Issue.record("no settings")
            return
        }
        #expect(lines.first { $0.name == "mtu" } == SettingLine(name: "mtu", value: "1280 bytes", origin: "default"))
        await controller.stop()
    }

    @Test func aDamagedStateIsNoRegistration() async {
        let fault = await #expect(throws: ProviderFault.self) {
            try await controller(TestSecrets(state: "{\"registration\": 1}")).start(config)
        }
        #expect(fault?.kind == .notRegistered)
    }

    @Test func networkChangesSleepAndWakeReachTheCore() async throws {
        let controller = controller(TestSecrets(state: state()))
        try await controller.start(config)
        await controller.pathChanged(.none)
        await controller.sleep()
        await controller.pathChanged(cellular)
        await controller.wake()
        let isOn = await eventually {
            guard case .status(let snapshot) = try? await ask(controller, .status) else { return false }
            return snapshot.state.isOn
        }
        #expect(isOn)
        await controller.stop()
    }

    @Test func nothingIsLeftOfTwentyStarts() async throws {
        let before = descriptors()
        for _ in 0..<20 {
            let controller = controller(TestSecrets(state: state()))
            try await controller.start(config)
            await controller.stop()
        }
        #expect(await eventually { descriptors() <= before }, "\(before) descriptors became \(descriptors())")
        #expect(await eventually { !threads().contains { $0.hasPrefix("weft") } }, "\(threads())")
    }
}

private func descriptors() -> Int {
    (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count) ?? 0
}

/// The names of this process's threads.
private func threads() -> [String] {
    let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/task")) ?? []
    return tasks.compactMap { try? String(contentsOfFile: "/proc/self/task/\($0)/comm", encoding: .utf8) }
}
