import AppModel
import Foundation
import TunnelKit
import WeftCore
import WeftKit

#if canImport(Glibc)
import Glibc
#endif

/// Measures what it costs to carry packets over the boundary from Swift and back, by the C functions and the whole of the
/// shell's own path: connects with the registration that WEFT_STATE holds, sends echo requests of WEFT_SIZE bytes to WEFT_ECHO
/// for WEFT_SECONDS, and prints how many came back, the seconds, those of the processor, and KiB of memory.
@main
struct BoundaryRate {
    /// How long everything may take the memory that it needs before anything counts.
    private static let warmUp = Duration.milliseconds(500)
    /// How often it is looked whether echoes still come. What is not back when none came for so long is lost.
    private static let look = Duration.milliseconds(500)

    static func main() async throws {
        let told = ProcessInfo.processInfo.environment
        guard let state = told["WEFT_STATE"], let far = told["WEFT_ECHO"], let size = told["WEFT_SIZE"].flatMap(Int.init),
            let seconds = told["WEFT_SECONDS"].flatMap(Int.init)
        else {
            print("WEFT_STATE, WEFT_ECHO, WEFT_SIZE and WEFT_SECONDS say what to do")
            exit(2)
        }
        let config = SessionConfig(
            deviceName: "rate", os: "linux", osVersion: "", managed: nil, dnsCacheBytes: nil)
        let echo = Echo(to: far, size: size)
        let path = NetworkPath(interface: "eth0", gateways: [], hasIPv4: true, hasIPv6: true, isExpensive: false)
        let secrets = FileSecrets(URL(fileURLWithPath: state))
        let controller = TunnelController(host: echo, secrets: secrets, path: path)
        try await controller.start(config)
        try await carry(echo, for: warmUp)
        let (begun, spent, first) = (ContinuousClock.now, try processorTime(), echo.back)
        try await carry(echo, for: .seconds(seconds))
        let (took, processor) = ((ContinuousClock.now - begun) / .seconds(1), try processorTime() - spent)
        print("\(echo.back - first) \(took) \(processor) \(try peakMemory())")
        await controller.stop()
    }

    /// Lets echoes come and go.
    private static func carry(_ echo: Echo, for time: Duration) async throws {
        let end = ContinuousClock.now + time
        var seen = -1
        while ContinuousClock.now < end {
            if echo.back == seen { echo.goOn() }
            seen = echo.back
            try await Task.sleep(until: min(end, ContinuousClock.now + look))
        }
    }

    /// Seconds of this process.
    private static func processorTime() throws -> Double {
        var time = timespec()
        guard clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0 else { throw POSIXError(.EINVAL) }
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    /// The most that was resident, in KiB.
    private static func peakMemory() throws -> Int {
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        guard let peak = line.flatMap({ Int($0.filter(\.isNumber)) }) else { throw CocoaError(.fileReadCorruptFile) }
        return peak
    }
}

/// The secrets of a device, in the file that others of the same kind leave.
private struct FileSecrets: SecretStore {
    private let file: URL

    init(_ file: URL) { self.file = file }

    func load(_ name: String) throws -> Data? { try Data(contentsOf: file) }

    func store(_ name: String, _ value: Data?) throws {
        guard let value else { throw ProviderFault(.host, "this device does not leave") }
        try value.write(to: file)
    }
}
