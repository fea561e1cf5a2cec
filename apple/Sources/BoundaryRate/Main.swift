import AppModel
import Foundation
import TunnelKit
import WeftCore
import WeftKit

/// How many packets a second pass the boundary from Swift and back, by the C functions and the whole of the shell's own
/// path: enrols by the link in WEFT_LINKS, connects, and sends echo requests to WEFT_ECHO until WEFT_PACKETS came back.
@main
struct BoundaryRate {
    /// When everything has the memory that it will need, as a part of all packets.
    private static let warm = 10

    static func main() async throws {
        let environment = ProcessInfo.processInfo.environment
        guard let link = environment["WEFT_LINKS"]?.split(separator: " ").first, let far = environment["WEFT_ECHO"] else {
            print("WEFT_LINKS and WEFT_ECHO name no gateway and no host behind it")
            exit(2)
        }
        let packets = environment["WEFT_PACKETS"].flatMap(Int.init) ?? 1_000_000
        let config = SessionConfig(
            deviceName: "rate", os: "linux", osVersion: "", managed: nil, dnsCacheBytes: nil)
        let secrets = Secrets()
        let membership = LocalCore(config: config, secrets: secrets)
        try await membership.join(try membership.read(link: String(link)))
        let echo = Echo(to: far)
        let path = NetworkPath(interface: "eth0", gateways: [], hasIPv4: true, hasIPv6: true, isExpensive: false)
        let controller = TunnelController(host: echo, secrets: secrets, path: path)
        try await controller.start(config)
        await carry(echo, until: packets / warm)
        let (begun, first) = (ContinuousClock.now, echo.counted.back)
        await carry(echo, until: packets)
        let seconds = (ContinuousClock.now - begun) / .seconds(1)
        let counts = echo.counted
        let rate = Int(Double(counts.back - first) / seconds)
        print("\(counts.sent) packets in, \(counts.back) out, \(counts.lost) lost, \(rate)/s each way")
        await controller.stop()
    }

    /// Goes on until so many have come back in all; what is not back when nothing came for a while is lost.
    private static func carry(_ echo: Echo, until wanted: Int) async {
        var seen = -1
        while echo.counted.back < wanted {
            if echo.counted.back == seen { echo.goOn() }
            seen = echo.counted.back
            try? await Task.sleep(for: .milliseconds(200))
        }
    }
}

/// Secrets for as long as the program runs.
private final class Secrets: SecretStore, @unchecked Sendable {
    private let lock = NSLock()
    private var kept: [String: Data] = [:]

    func load(_ name: String) throws -> Data? { lock.withLock { kept[name] } }
    func store(_ name: String, _ value: Data?) throws { lock.withLock { kept[name] = value } }
}
