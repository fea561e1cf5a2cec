#if canImport(Network)
import Foundation
import Network
import TunnelKit

/// The network below the tunnel, as the system's path monitor tells it.
final class PathWatcher: Sendable {
    private let monitor = NWPathMonitor()
    private let queue = DispatchQueue(label: "org.weft.app.tunnel.path")
    // The newest path alone matters.
    private let paths = AsyncStream.makeStream(of: NetworkPath.self, bufferingPolicy: .bufferingNewest(1))

    /// Calls `handler` for every path that the monitor reports, in their order. The first comes at once; what the monitor
    /// has before is no report.
    func start(_ handler: @escaping @Sendable (NetworkPath) async -> Void) {
        monitor.pathUpdateHandler = { [paths] in paths.continuation.yield(NetworkPath($0)) }
        monitor.start(queue: queue)
        Task { [paths] in
            for await path in paths.stream { await handler(path) }
        }
    }

    func stop() {
        monitor.cancel()
        paths.continuation.finish()
    }
}

extension NetworkPath {
    init(_ path: NWPath) {
        // The first interface that is not a tunnel, which is of the type "other", is the one in use.
        let interface = path.availableInterfaces.first { $0.type != .other && $0.type != .loopback }
        guard path.status == .satisfied, let interface else {
            self = .none
            return
        }
        self.init(
            interface: interface.name, gateways: path.gateways.map { "\($0)" },
            addresses: LocalAddresses.of(interface.name), hasIPv4: path.supportsIPv4, hasIPv6: path.supportsIPv6,
            isExpensive: path.isExpensive)
    }
}
#endif
