import Foundation
import Testing
import WeftCore
import WeftKit

@testable import TunnelKit

/// How long anything may take that should be there at once.
let soon = Duration.seconds(60)
/// How long a look is put off that came too early: tests run side by side on few threads.
private let pause = Duration.milliseconds(2)

/// Waits until `done` says so; false where it never does.
func eventually(_ done: @Sendable () async -> Bool) async -> Bool {
    let deadline = ContinuousClock.now + soon
    while ContinuousClock.now < deadline {
        if await done() { return true }
        try? await Task.sleep(for: pause)
    }
    return await done()
}

/// A value that several threads use.
final class Guarded<Value: Sendable>: @unchecked Sendable {
    private let lock = NSLock()
    private var value: Value

    init(_ value: Value) { self.value = value }

    var now: Value { lock.withLock { value } }

    func change<Result>(_ work: (inout Value) -> Result) -> Result { lock.withLock { work(&value) } }
}

/// The system's interface: the device's packets are put in, and what is written can be looked at.
final class TestPackets: PacketInterface, @unchecked Sendable {
    private let lock = NSLock()
    private var waiting: (@Sendable ([Data]) -> Void)?
    private var unread: [[Data]] = []
    private var received: [Data] = []

    var written: [Data] { lock.withLock { received } }
    /// Whether somebody waits for the next packets: what came before has been dealt with.
    var isRead: Bool { lock.withLock { waiting != nil && unread.isEmpty } }

    func read(_ handler: @escaping @Sendable ([Data]) -> Void) {
        let packets: [Data]? = lock.withLock {
            guard unread.isEmpty else { return unread.removeFirst() }
            waiting = handler
            return nil
        }
        if let packets { handler(packets) }
    }

    func write(_ packets: [Data]) { lock.withLock { received += packets } }

    func send(_ packets: [Data]) {
        let handler: (@Sendable ([Data]) -> Void)? = lock.withLock {
            defer { waiting = nil }
            if waiting == nil { unread.append(packets) }
            return waiting
        }
        handler?(packets)
    }
}

/// The system's provider.
final class TestHost: TunnelHost {
    let system = TestPackets()
    let applied = Guarded<[TunnelSettings]>([])
    let reasserted = Guarded<[Bool]>([])
    let cancelled = Guarded<[ProviderFault]>([])
    let announced = Guarded(0)
    /// What the next `apply` throws.
    let refusal = Guarded<ProviderFault?>(nil)

    var packets: any PacketInterface { system }

    func apply(_ settings: TunnelSettings) async throws {
        if let refusal = refusal.now { throw refusal }
        applied.change { $0.append(settings) }
    }

    func setReasserting(_ isReasserting: Bool) { reasserted.change { $0.append(isReasserting) } }
    func cancel(_ fault: ProviderFault) { cancelled.change { $0.append(fault) } }
    func announce() { announced.change { $0 += 1 } }
}

/// Secrets in memory.
final class TestSecrets: SecretStore {
    let kept = Guarded<[String: Data]>([:])
    /// What every call throws.
    let refusal = Guarded<ProviderFault?>(nil)

    init(state: String? = nil) {
        if let state { kept.change { $0["state"] = Data(state.utf8) } }
    }

    func load(_ name: String) throws -> Data? {
        if let refusal = refusal.now { throw refusal }
        return kept.now[name]
    }

    func store(_ name: String, _ value: Data?) throws {
        if let refusal = refusal.now { throw refusal }
        kept.change { $0[name] = value }
    }
}

/// A packet port that holds what was sent and gives what was put in.
final class TestPort: PacketPort, @unchecked Sendable {
    private let condition = NSCondition()
    private var inward: [[Data]] = []
    private var sent: [Data] = []
    private var isClosed = false
    private var failure: Int32?
    /// How many packets a call takes.
    let takes: Int

    init(takes: Int = .max) { self.takes = takes }

    var outward: [Data] { condition.withLock { sent } }
    var closed: Bool { condition.withLock { isClosed } }

    func give(_ packets: [Data]) { signal { inward.append(packets) } }
    func fail(_ code: Int32) { signal { failure = code } }
    func close() { signal { isClosed = true } }

    func send(_ batch: PacketBuffer) -> Int32 {
        condition.withLock {
            if isClosed { return -1 }
            let taken = min(batch.count, takes)
            sent += batch.takePackets(taken)
            return Int32(taken)
        }
    }

    func receive(into batch: PacketBuffer) -> Int32 {
        condition.withLock {
            while inward.isEmpty, !isClosed, failure == nil { condition.wait() }
            if let failure { return failure }
            guard !inward.isEmpty else { return -1 }
            batch.clear()
            let packets = inward.removeFirst()
            return Int32(packets.filter(batch.append).count)
        }
    }

    private func signal(_ change: () -> Void) {
        condition.withLock {
            change()
            condition.broadcast()
        }
    }
}

/// The core, told by the test what to say.
final class TestCore: TunnelCore, @unchecked Sendable {
    let port = TestPort()
    let calls = Guarded<[String]>([])
    let networks = Guarded<[NetworkInfo]>([])
    /// Whether `disconnect` brings the core down.
    let goesDown = Guarded(true)
    let connectFault = Guarded<WeftError?>(nil)
    let disconnectFault = Guarded<WeftError?>(nil)
    private let events = AsyncStream.makeStream(of: Event.self)
    /// The controller alone pulls, one event after the other.
    private var reader: AsyncStream<Event>.Iterator

    init() { reader = events.stream.makeAsyncIterator() }

    func say(_ event: Event) { events.continuation.yield(event) }
    func end() { events.continuation.finish() }

    func nextEvent() async -> Event? { await reader.next() }

    func connect() async throws {
        note("connect")
        if let fault = connectFault.now { throw fault }
    }

    func disconnect() async throws {
        note("disconnect")
        if let fault = disconnectFault.now { throw fault }
        if goesDown.now { say(.status(status: status(.disconnected))) }
    }

    func acknowledge(plan number: UInt64, failure: String?) async {
        note("acknowledge \(number)" + (failure.map { ": \($0)" } ?? ""))
    }

    func networkChanged(_ network: NetworkInfo) async {
        note("network")
        networks.change { $0.append(network) }
    }

    func woke() async { note("woke") }
    func packetPort() throws -> any PacketPort { port }
    func answer(_ request: ProviderRequest) async throws -> ProviderReply { throw WeftError.Forbidden(detail: "no") }

    func close() async {
        note("close")
        end()
    }

    private func note(_ call: String) { calls.change { $0.append(call) } }
}

func status(_ state: State, error: UserError? = nil) -> Status {
    Status(
        state: state, stateText: "\(state)", reasonText: "because", error: error, serviceMode: .trafficAndDns,
        endpoint: nil, plan: 0, warnings: [], timers: [])
}

func plan(_ number: UInt64, mtu: UInt16 = 1280, hasInterface: Bool = true, blocks: Bool = false) -> Plan {
    let interface = InterfacePlan(
        addresses: [IpNetwork(address: "172.16.0.2", prefix: 32)], mtu: mtu, metered: false)
    return Plan(
        number: number, interface: hasInterface ? interface : nil,
        routes: [IpNetwork(address: "0.0.0.0", prefix: 0)], excludedRoutes: [], dns: nil, apps: .all, blocks: blocks)
}

let wifi: NetworkPath = home(called: [])

/// A Wi-Fi network in which the device is called so.
func home(called addresses: [String]) -> NetworkPath {
    NetworkPath(
        interface: "en0", gateways: ["192.168.1.1"], addresses: addresses, hasIPv4: true, hasIPv6: false,
        isExpensive: false)
}

let cellular = NetworkPath(interface: "pdp_ip0", gateways: [], hasIPv4: true, hasIPv6: true, isExpensive: true)

let config = SessionConfig(
    deviceName: "Ann's phone", os: "ios", osVersion: "18.0", managed: nil, dnsCacheBytes: nil)
