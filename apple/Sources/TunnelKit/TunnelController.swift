import Foundation
import WeftCore
import WeftKit

/// What a packet tunnel provider does, without the provider: it holds one session of the core, applies its plans, and
/// answers the app.
public actor TunnelController {
    /// How long things may take.
    public struct Limits: Sendable {
        /// Until the first settings are in force. The tunnel is not started then.
        public var start: Duration = .seconds(30)
        /// Until the core is down. The system ends the process soon after, so nothing is left of it either way.
        public var stop: Duration = .seconds(15)
        /// Until the first report of the network below. Without one the tunnel starts as without a network.
        public var path: Duration = .seconds(2)

        public init() {}
    }

    private enum Phase { case stopped, starting, running, stopping }
    typealias MakeCore = @Sendable (SessionConfig, any CoreHost) throws -> any TunnelCore

    private let host: any TunnelHost
    private let secrets: any SecretStore
    private let limits: Limits
    private let makeCore: MakeCore
    private let path: PathBox

    private var phase = Phase.stopped
    private var core: (any TunnelCore)?
    private var pump: PacketPump?
    private var applied: TunnelSettings?
    private var snapshot = Snapshot(state: .disconnected, title: "Disconnected", reason: "")
    private var toldPath = NetworkPath.none
    /// Whether the network below has been reported.
    private var isPathKnown: Bool
    private var pathReport: Once<Void>?
    private var isAsleep = false
    private var isReasserting = false
    private var started: Once<ProviderFault?>?
    private var startTimer: Task<Void, any Error>?
    private var down: Once<Void>?

    /// `path` is the network at the start; none = it is not known before the first `pathChanged`. `host` is held weakly by
    /// nobody: it owns the controller for its whole life.
    public init(host: any TunnelHost, secrets: any SecretStore, path: NetworkPath? = nil, limits: Limits = Limits()) {
        self.init(host: host, secrets: secrets, path: path, limits: limits) { config, host in
            try SessionCore(config: config, host: host)
        }
    }

    init(
        host: any TunnelHost, secrets: any SecretStore, path: NetworkPath?, limits: Limits,
        makeCore: @escaping MakeCore
    ) {
        self.host = host
        self.secrets = secrets
        self.limits = limits
        self.makeCore = makeCore
        self.path = PathBox(path ?? .none)
        isPathKnown = path != nil
    }

    // MARK: start and stop

    /// Returns once the first settings are in force; the tunnel itself may still be coming up.
    public func start(_ config: SessionConfig) async throws(ProviderFault) {
        guard phase == .stopped else { throw ProviderFault(.wrongOrder, "the tunnel has been started already") }
        phase = .starting
        // Until the core says so itself: a stop that comes first has something to take down.
        snapshot = Snapshot(state: .connecting, title: "Connecting", reason: "")
        await firstPath()
        guard phase == .starting else { throw ProviderFault(.closed, "the tunnel was stopped") }
        toldPath = path.latest
        do {
            let core = try makeCore(config, HostAdapter(secrets: secrets, path: path))
            self.core = core
            let port = try core.packetPort()
            let pump = PacketPump(port: port, interface: host.packets) { [weak self] code in
                Task { await self?.fail(ProviderFault(.internal, "the packet flow ended with \(code)")) }
            }
            self.pump = pump
            pump.start()
        } catch {
            await tearDown()
            throw ProviderFault(error)
        }
        if let fault = await bringUp() {
            await tearDown()
            throw fault
        }
    }

    /// Waits for the first report of the network, which would else count as a change of it.
    private func firstPath() async {
        guard !isPathKnown else { return }
        let limit = limits.path
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let report = Once(continuation)
            pathReport = report
            Task {
                try? await Task.sleep(for: limit)
                report.resume(())
            }
        }
    }

    /// Connects, and waits for the first settings.
    private func bringUp() async -> ProviderFault? {
        guard let core else { return ProviderFault(.closed, "the tunnel was stopped") }
        let limit = limits.start
        return await withCheckedContinuation { continuation in
            started = Once(continuation)
            Task { await follow(core) }
            Task {
                do { try await core.connect() } catch { finishStart(ProviderFault(error)) }
            }
            startTimer = Task {
                try await Task.sleep(for: limit)
                finishStart(ProviderFault(.unreachable, "no settings came within \(limit)"))
            }
        }
    }

    /// Takes the tunnel down, within the limit.
    public func stop() async {
        guard phase == .starting || phase == .running else { return }
        phase = .stopping
        pathReport?.resume(())
        finishStart(ProviderFault(.closed, "the tunnel was stopped"))
        if let core, snapshot.state != .disconnected {
            _ = await finishes(within: limits.stop) { [self] in
                // A core that refuses (the switch is locked) does not go down: there is nothing to wait for, and the
                // system ends the tunnel all the same.
                guard (try? await core.disconnect()) != nil else { return }
                await untilDown()
            }
        }
        await tearDown()
    }

    private func untilDown() async {
        guard snapshot.state != .disconnected, core != nil else { return }
        await withCheckedContinuation { down = Once($0) }
    }

    private func tearDown() async {
        phase = .stopping
        pump?.stop()
        if let core {
            _ = await finishes(within: limits.stop) { await core.close() }
        }
        pump = nil
        core = nil
        applied = nil
        phase = .stopped
        snapshot.state = .disconnected
    }

    private func finishStart(_ fault: ProviderFault?) {
        guard let waiting = started else { return }
        started = nil
        startTimer?.cancel()
        if fault == nil { phase = .running }
        waiting.resume(fault)
    }

    /// Ends the tunnel from inside.
    private func fail(_ fault: ProviderFault) {
        if started != nil {
            finishStart(fault)
        } else if phase == .running {
            host.cancel(fault)
        }
    }

    // MARK: the core's events

    private func follow(_ core: any TunnelCore) async {
        while let event = await core.nextEvent() {
            switch event {
            case .plan(let plan): await apply(plan, core)
            case .status(let status): await show(status, core)
            case .settings: host.announce()
            case .revoked: revoked()
            case .panicked(let detail):
                snapshot.problem = Problem(code: "internal", text: detail)
                host.announce()
            }
        }
        // Nothing is left to wait for, nor to disconnect.
        snapshot.state = .disconnected
        down?.resume(())
        fail(ProviderFault(.internal, "the core has ended"))
    }

    /// A tunnel that runs stays and blocks, until its user switches it off: its end would open the way past it.
    private func revoked() {
        let text = "the gateway has revoked this device"
        snapshot.problem = Problem(code: "registration_revoked", text: text)
        finishStart(ProviderFault(.notRegistered, text))
        host.announce()
    }

    /// A plan that asks for what is in force is acknowledged and not applied: every application makes the interface
    /// anew, which the path monitor reports, which asserts the plan again.
    private func apply(_ plan: Plan, _ core: any TunnelCore) async {
        var failure: String?
        do {
            if let settings = try wanted(plan), settings != applied {
                // What is in force after a failure is not known.
                applied = nil
                try await host.apply(settings)
                applied = settings
            }
        } catch {
            failure = "\(error)"
        }
        await core.acknowledge(plan: plan.number, failure: failure)
        if let failure {
            finishStart(ProviderFault(.host, failure))
        } else if applied != nil {
            finishStart(nil)
        }
    }

    /// What to set for `plan`; nothing where that is not to change.
    private func wanted(_ plan: Plan) throws -> TunnelSettings? {
        if let settings = try TunnelSettings(plan: plan) { return settings }
        // Blocking without an interface: the routes of the last one lead to a core that carries nothing. Taking the
        // tunnel down takes the settings with it, and before the start there is nothing to take back.
        return plan.blocks || phase != .running ? nil : .idle
    }

    private func show(_ status: Status, _ core: any TunnelCore) async {
        snapshot = Snapshot(status)
        if phase == .starting { await showWhileStarting(status) }
        if status.state == .disconnected {
            down?.resume(())
            if phase == .running { host.cancel(ProviderFault(.closed, "Weft was switched off")) }
        }
        assertReachability()
        host.announce()
    }

    private func showWhileStarting(_ status: Status) async {
        switch status.state {
        case .unable:
            let isRegistered = status.error?.code.hasPrefix("registration_") != true
            finishStart(ProviderFault(isRegistered ? .unreachable : .notRegistered, status.reasonText))
        case .connected where applied == nil:
            // A mode without an interface: the system counts a provider as started when it has set something.
            do {
                try await host.apply(.idle)
                applied = .idle
                finishStart(nil)
            } catch {
                finishStart(ProviderFault(.host, "\(error)"))
            }
        default: break
        }
    }

    private func assertReachability() {
        let reasserting = phase == .running && (snapshot.state != .connected || !path.latest.isSatisfied)
        guard reasserting != isReasserting else { return }
        isReasserting = reasserting
        host.setReasserting(reasserting)
    }

    // MARK: the device's events

    /// The network below has changed, or is reported again. The same path is no event: the monitor also tells of what the
    /// tunnel itself has changed.
    public func pathChanged(_ new: NetworkPath) async {
        path.latest = new
        isPathKnown = true
        pathReport?.resume(())
        guard !isAsleep else { return }
        await tellPath()
    }

    private func tellPath() async {
        let now = path.latest
        guard now != toldPath, let core else { return }
        toldPath = now
        assertReachability()
        await core.networkChanged(now.info)
    }

    /// The device is about to sleep. The core has no timer to stop; what the network does meanwhile is told at the wake.
    public func sleep() { isAsleep = true }

    public func wake() async {
        isAsleep = false
        guard let core else { return }
        await tellPath()
        await core.woke()
    }

    // MARK: the app

    /// The reply to a message of the app. Whatever the message is, there is one.
    public func reply(to message: Data) async -> Data {
        var reply: ProviderReply
        do {
            reply = try await answer(ProviderCodec.decode(ProviderRequest.self, from: message))
        } catch {
            reply = .failed(ProviderFault(error))
        }
        if let data = try? ProviderCodec.encode(reply) { return data }
        reply = .failed(ProviderFault(.message, "the reply is too long"))
        return (try? ProviderCodec.encode(reply)) ?? Data()
    }

    private func answer(_ request: ProviderRequest) async throws -> ProviderReply {
        if request == .status { return .status(snapshot) }
        guard let core else { throw ProviderFault(.closed, "the tunnel is not running") }
        return try await core.answer(request)
    }
}
