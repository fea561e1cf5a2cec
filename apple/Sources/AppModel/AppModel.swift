import Observation
import WeftKit

/// Where in the app the user is, besides the home screen.
public enum Screen: Hashable, Sendable { case enrol, explain, log, settings }

/// All that the screens are drawn from, and what a user can do.
@MainActor
@Observable
public final class AppModel {
    /// More than any link has: a QR code holds 2,953 bytes.
    static let longestLink = 2953
    /// More than any host name has.
    static let longestName = 253

    public var path: [Screen] = []
    public private(set) var member: Member?
    /// Whether it is known by now where the device belongs.
    public private(set) var isLoaded = false
    public private(set) var connection = Snapshot(state: .disconnected, title: "Disconnected", reason: "")
    /// What the last thing that the user did came to, where it failed.
    public private(set) var fault: ProviderFault?

    public var link = "" { didSet { if link.count > Self.longestLink { link = oldValue } } }
    public private(set) var invitation: Invitation?
    public private(set) var isJoining = false

    public var subject = "" { didSet { if subject.count > Self.longestName { subject = oldValue } } }
    public private(set) var explanation: Explanation?
    public private(set) var isExplaining = false

    public private(set) var log: [String] = []
    public private(set) var settings: [SettingLine] = []
    public private(set) var onDemand: OnDemandPolicy
    public var asksToLeave = false

    private let tunnel: any TunnelManager
    private let membership: any Membership
    private let managedFault: String?

    /// `managedFault` is what is wrong with the administrator's configuration, where something is.
    public init(
        tunnel: any TunnelManager, membership: any Membership, onDemand: OnDemandPolicy, managedFault: String? = nil
    ) {
        self.tunnel = tunnel
        self.membership = membership
        self.onDemand = onDemand
        self.managedFault = managedFault
        tunnel.observe { [weak self] in Task { await self?.refresh() } }
    }

    // MARK: the state

    /// Asks anew for all that the home screen shows: when the app comes to the front, and when there are news.
    public func refresh() async {
        do {
            member = try await membership.current()
            isLoaded = true
            if tunnel.isRunning, case .status(let snapshot) = try await tunnel.ask(.status) {
                connection = snapshot
            } else {
                connection = Snapshot(state: .disconnected, title: "Disconnected", reason: "")
            }
        } catch {
            fault = ProviderFault(error)
        }
    }

    /// What else a user should know, one line each.
    public var warnings: [String] { (managedFault.map { [$0] } ?? []) + connection.warnings }

    /// A locked switch can be switched on, and not off again.
    public var isSwitchEnabled: Bool { maySet(on: !connection.state.isOn) }

    private func maySet(on: Bool) -> Bool {
        guard let member else { return false }
        return on || !member.switchLocked
    }

    public func setOn(_ isOn: Bool) async {
        guard maySet(on: isOn) else { return }
        await attempt {
            if isOn {
                try await tunnel.install()
                // The last stop has switched the rules off.
                if onDemand.isOn { try await tunnel.setOnDemand(onDemand) }
                try await tunnel.start()
            } else {
                await tunnel.stop()
            }
        }
        await refreshKeepingFault()
    }

    /// The switch, for the screen; the state follows as the tunnel does.
    public var isOn: Bool {
        get { connection.state.isOn }
        set { Task { await setOn(newValue) } }
    }

    /// The service mode, for the screen.
    public var mode: Mode {
        get { connection.mode }
        set { Task { await setMode(newValue) } }
    }

    /// Whether the system starts the tunnel by itself, for the screen.
    public var isOnDemand: Bool {
        get { onDemand.isOn }
        set {
            var policy = onDemand
            policy.isOn = newValue
            Task { await setOnDemand(policy) }
        }
    }

    public func dismissFault() { fault = nil }

    /// What went wrong outside the model.
    public func show(_ error: any Error) { fault = ProviderFault(error) }

    // MARK: joining and leaving

    /// A link from any origin: typed, scanned, opened, or the administrator's. Nothing is joined before the user agrees.
    public func invite(_ link: String) async {
        if path.last != .enrol { path = [.enrol] }
        guard !isJoining else { return }
        await attempt {
            let read = try membership.read(link: link)
            // What the user is reading is not exchanged under their finger.
            guard invitation == nil || invitation == read else {
                throw ProviderFault(.otherLink, "another invitation is asked about")
            }
            invitation = read
        }
    }

    public func readLink() async { await invite(link) }

    /// Shows what the administrator's configuration invites to, unless the device belongs somewhere.
    public func offerManaged() async {
        guard member == nil, invitation == nil else { return }
        await attempt { invitation = try membership.managedInvitation() }
    }

    public func dismissInvitation() { invitation = nil }

    public func join() async {
        guard let invitation, !isJoining else { return }
        isJoining = true
        defer { isJoining = false }
        await attempt {
            try await membership.join(invitation)
            self.invitation = nil
            link = ""
            path = []
        }
        await refreshKeepingFault()
    }

    public func leave() async {
        asksToLeave = false
        guard member?.mayLeave == true else { return }
        await attempt {
            // An extension that still runs would use, and store, what is about to be deleted.
            guard await tunnel.stop() else { throw ProviderFault(.host, "the tunnel does not end") }
            try await membership.leave()
            try await tunnel.remove()
            path = []
        }
        await refreshKeepingFault()
    }

    // MARK: the other screens

    public func explain() async {
        guard !subject.isEmpty, !isExplaining else { return }
        isExplaining = true
        explanation = nil
        defer { isExplaining = false }
        await attempt {
            if case .explanation(let found) = try await ask(.explain(subject)) { explanation = found }
        }
    }

    public func loadLog() async {
        await attempt {
            if case .log(let lines) = try await ask(.log(lines: ProviderCodec.logLines)) { log = lines }
        }
    }

    public func loadSettings() async {
        await attempt {
            if case .settings(let lines) = try await ask(.settings) { settings = lines }
        }
    }

    public func setMode(_ mode: Mode) async {
        await attempt { _ = try await ask(.setMode(mode)) }
        await refreshKeepingFault()
    }

    public func setOnDemand(_ policy: OnDemandPolicy) async {
        await attempt {
            try await tunnel.setOnDemand(policy)
            onDemand = policy
        }
    }

    /// Asks the extension where it runs, since it holds the session, else the app's own core.
    private func ask(_ request: ProviderRequest) async throws -> ProviderReply {
        let reply = tunnel.isRunning ? try await tunnel.ask(request) : try await membership.answer(request)
        if case .failed(let fault) = reply { throw fault }
        return reply
    }

    private func attempt(_ work: () async throws -> Void) async {
        do {
            fault = nil
            try await work()
        } catch {
            fault = ProviderFault(error)
        }
    }

    /// A fault of what the user did is not overwritten by what the look at the state came to.
    private func refreshKeepingFault() async {
        let kept = fault
        await refresh()
        fault = kept ?? fault
    }
}
