import Foundation
import WeftCore
import WeftKit

/// What the controller asks of the core: one session.
protocol TunnelCore: Sendable {
    func nextEvent() async -> Event?
    func connect() async throws
    func disconnect() async throws
    func acknowledge(plan number: UInt64, failure: String?) async
    func networkChanged(_ network: NetworkInfo) async
    func woke() async
    func packetPort() throws -> any PacketPort
    func answer(_ request: ProviderRequest) async throws -> ProviderReply
    func close() async
}

/// The real one.
struct SessionCore: TunnelCore {
    private let session: Session

    init(config: SessionConfig, host: any CoreHost) throws {
        session = try Session(config: config, host: host)
    }

    func nextEvent() async -> Event? { await session.nextEvent() }
    func connect() async throws { try await session.connect() }
    func disconnect() async throws { try await session.disconnect() }
    func woke() async { await session.woke() }
    func close() async { await session.close() }
    func packetPort() throws -> any PacketPort { CorePacketPort(try session.packetFlow()) }
    func networkChanged(_ network: NetworkInfo) async { await session.networkChanged(network: network) }

    func acknowledge(plan number: UInt64, failure: String?) async {
        await session.acknowledgePlan(number: number, failure: failure)
    }

    func answer(_ request: ProviderRequest) async throws -> ProviderReply {
        try await session.reply(to: request)
    }
}

/// What the core asks of its host on Apple's systems.
final class HostAdapter: CoreHost {
    private let secrets: any SecretStore
    private let path: PathBox

    init(secrets: any SecretStore, path: PathBox) {
        self.secrets = secrets
        self.path = path
    }

    /// Nothing to do: the system keeps a provider's own sockets outside its tunnel.
    func protect(fd: Int32) throws {}

    func loadSecret(name: String) throws -> Data? {
        try hostError { try secrets.load(name) }
    }

    func storeSecret(name: String, value: Data?) throws {
        try hostError { try secrets.store(name, value) }
    }

    func network() throws -> NetworkInfo { path.latest.info }

    /// Only this type crosses back into the core as what it is.
    private func hostError<T>(_ work: () throws -> T) throws -> T {
        do {
            return try work()
        } catch {
            throw HostError.Failed(detail: "\(error)")
        }
    }
}

/// The last path, for the core's thread and for the controller.
final class PathBox: @unchecked Sendable {
    private let lock = NSLock()
    private var path: NetworkPath

    init(_ path: NetworkPath) { self.path = path }

    var latest: NetworkPath {
        get { lock.withLock { path } }
        set { lock.withLock { path = newValue } }
    }
}

extension NetworkPath {
    /// As the core names it. The system tells an app nothing of the resolvers of the network below.
    var info: NetworkInfo {
        let marks = gateways + addresses
        return NetworkInfo(
            id: marks.isEmpty ? nil : marks.joined(separator: " "), interface: interface, hasV4: hasIPv4,
            hasV6: hasIPv6, dnsServers: [], metered: isExpensive, privateDns: .off)
    }
}
