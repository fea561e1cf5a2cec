import Foundation
import Testing
import WeftKit

@testable import AppModel

/// The system's VPN configuration.
@MainActor
private final class TestTunnel: TunnelManager {
    var isRunning = false
    /// Whether a stop ends it.
    var ends = true
    var calls: [String] = []
    var refusal: ProviderFault?
    var reply: ProviderReply = .done
    var news: (@MainActor () -> Void)?

    func install() async throws { try note("install") }
    func remove() async throws { try note("remove") }

    func start() async throws {
        try note("start")
        isRunning = true
    }

    func stop() async -> Bool {
        calls.append("stop")
        if ends { isRunning = false }
        return ends
    }

    func setOnDemand(_ policy: OnDemandPolicy) async throws { try note("on demand \(policy.isOn)") }

    func ask(_ request: ProviderRequest) async throws -> ProviderReply {
        if request != .status { try note("ask") }
        return request == .status ? .status(connected) : reply
    }

    func observe(_ handler: @escaping @MainActor () -> Void) { news = handler }

    private func note(_ call: String) throws {
        calls.append(call)
        if let refusal { throw refusal }
    }
}

private let connected = Snapshot(state: .connected, title: "Connected", reason: "Network: healthy")
private let invitation = Invitation(url: "https://gateway.example", token: "t", fingerprint: nil, deviceName: nil)
private let evil = Invitation(url: "https://evil.example", token: "t", fingerprint: nil, deviceName: nil)

/// The core in the app.
private actor TestMembership: Membership {
    private var member: Member?
    private var fault: ProviderFault?
    let managed: Invitation?

    init(_ member: Member? = nil, managed: Invitation? = nil) {
        self.member = member
        self.managed = managed
    }

    func fail(_ fault: ProviderFault?) { self.fault = fault }
    func current() -> Member? { member }
    func leave() { member = nil }
    func answer(_ request: ProviderRequest) -> ProviderReply { .log(["from the app's own core"]) }
    nonisolated func managedInvitation() -> Invitation? { managed }

    nonisolated func read(link: String) throws -> Invitation {
        guard link.hasPrefix("weft://") else { throw ProviderFault(.invalidInput, "no link") }
        return link.hasSuffix("#evil") ? evil : invitation
    }

    func join(_ invitation: Invitation) throws {
        if let fault { throw fault }
        member = office
    }
}

private let office = Member(organisation: "Office", gateway: "gateway.example", maySwitchMode: true)

@MainActor
struct AppModelTests {
    private let tunnel = TestTunnel()

    private func model(_ membership: TestMembership) async -> AppModel {
        let model = AppModel(tunnel: tunnel, membership: membership, onDemand: OnDemandPolicy(isOn: false))
        await model.refresh()
        return model
    }

    @Test func beforeTheFirstLookNothingIsClaimed() {
        let model = AppModel(tunnel: tunnel, membership: TestMembership(), onDemand: OnDemandPolicy(isOn: false))
        #expect(model.heading == "One moment")
    }

    @Test func aLinkIsShownBeforeAnythingIsJoined() async {
        let membership = TestMembership()
        let model = await model(membership)
        #expect(model.heading == "Not set up")
        await model.invite("weft://enrol?url=x")
        #expect(model.path == [.enrol])
        #expect(model.invitation?.host == "gateway.example")
        #expect(model.member == nil)
        await model.join()
        #expect(model.member == office)
        #expect(model.path.isEmpty)
        #expect(model.invitation == nil)
        #expect(model.heading == "Off")
    }

    @Test func theLinkThatIsAskedAboutIsNotExchanged() async {
        let model = await model(TestMembership())
        await model.invite("weft://enrol")
        await model.invite("weft://enrol")
        #expect(model.fault == nil)
        await model.invite("weft://enrol#evil")
        #expect(model.invitation == invitation)
        #expect(model.fault?.kind == .otherLink)
        #expect(model.fault.map { Advice($0).title } == "Another link was opened.")
        model.dismissInvitation()
        await model.invite("weft://enrol#evil")
        #expect(model.invitation == evil)
        #expect(model.fault == nil)
    }

    @Test func aLinkThatIsNoneIsToldAsSuch() async {
        let model = await model(TestMembership())
        model.link = "hello"
        await model.readLink()
        #expect(model.fault == ProviderFault(.invalidInput, "no link"))
        #expect(model.invitation == nil)
        model.dismissFault()
        #expect(model.fault == nil)
    }

    @Test func aTooLongLinkIsNotTaken() async {
        let model = await model(TestMembership())
        model.link = String(repeating: "a", count: AppModel.longestLink)
        model.link += "a"
        #expect(model.link.count == AppModel.longestLink)
    }

    @Test func aRefusedJoinKeepsTheInvitation() async {
        let membership = TestMembership()
        await membership.fail(ProviderFault(.refused, "used up"))
        let model = await model(membership)
        await model.invite("weft://enrol")
        await model.join()
        #expect(model.fault == ProviderFault(.refused, "used up"))
        #expect(model.invitation == invitation)
        #expect(!model.isJoining)
        #expect(Advice(model.fault!).title == "The gateway refused.")
    }

    @Test func theAdministratorsInvitationIsOfferedToADeviceThatBelongsNowhere() async {
        let model = await model(TestMembership(managed: invitation))
        await model.offerManaged()
        #expect(model.invitation == invitation)
        let other = await self.model(TestMembership(office, managed: invitation))
        await other.offerManaged()
        #expect(other.invitation == nil)
    }

    @Test func theSwitchInstallsStartsAndStops() async {
        let model = await model(TestMembership(office))
        await model.setOn(true)
        #expect(tunnel.calls == ["install", "start"])
        #expect(model.heading == "Connected")
        #expect(model.sentence == "What belongs to Office goes through its gateway.")
        await model.setOn(false)
        #expect(tunnel.calls.last == "stop")
        #expect(model.heading == "Off")
    }

    @Test func aLockedSwitchCanBeSwitchedOnAndNotOff() async {
        var locked = office
        locked.switchLocked = true
        let model = await model(TestMembership(locked))
        #expect(model.isSwitchEnabled)
        await model.setOn(true)
        #expect(tunnel.calls == ["install", "start"])
        #expect(model.isOn)
        #expect(!model.isSwitchEnabled)
        await model.setOn(false)
        #expect(tunnel.calls == ["install", "start"])
        #expect(model.isOn)
    }

    @Test func aDeviceThatBelongsNowhereHasNoSwitch() async {
        let model = await model(TestMembership())
        #expect(!model.isSwitchEnabled)
        await model.setOn(true)
        #expect(tunnel.calls.isEmpty)
    }

    @Test func whatIsWrongWithTheManagedConfigurationIsAlwaysSeen() async {
        let line = "the managed configuration counts as none: switch_locked must be true or false"
        let model = AppModel(
            tunnel: tunnel, membership: TestMembership(), onDemand: OnDemandPolicy(isOn: false), managedFault: line)
        await model.refresh()
        #expect(model.warnings == [line])
    }

    @Test func aRefusedConfigurationStaysOnTheScreen() async {
        let model = await model(TestMembership(office))
        tunnel.refusal = ProviderFault(.host, "permission denied")
        await model.setOn(true)
        #expect(model.fault == ProviderFault(.host, "permission denied"))
        #expect(tunnel.calls == ["install"])
    }

    @Test func theRulesThatAStopSwitchedOffComeBackWithTheNextStart() async throws {
        let model = await model(TestMembership(office))
        await model.setOnDemand(OnDemandPolicy(isOn: true))
        await model.setOn(true)
        await model.setOn(false)
        tunnel.calls = []
        await model.setOn(true)
        #expect(tunnel.calls == ["install", "on demand true", "start"])
    }

    @Test func newsBringTheStateAnew() async throws {
        let model = await model(TestMembership(office))
        tunnel.isRunning = true
        tunnel.news?()
        #expect(await eventually { model.connection == connected })
    }

    @Test func theSwitchesOfTheScreensReachTheTunnel() async {
        let model = await model(TestMembership(office))
        model.isOn = true
        #expect(await eventually { model.isOn })
        #expect(tunnel.calls == ["install", "start"])
        model.isOnDemand = true
        #expect(await eventually { model.isOnDemand })
        tunnel.reply = .failed(ProviderFault(.forbidden, "locked"))
        model.mode = .dnsOnly
        #expect(await eventually { model.fault?.kind == .forbidden })
        #expect(model.mode == .trafficAndDns, "the state follows the tunnel, not the wish")
    }

    private func eventually(_ done: () -> Bool) async -> Bool {
        let deadline = ContinuousClock.now + .seconds(60)
        while !done(), ContinuousClock.now < deadline { try? await Task.sleep(for: .milliseconds(2)) }
        return done()
    }

    @Test func questionsGoToTheExtensionWhereItRuns() async {
        let model = await model(TestMembership(office))
        await model.loadLog()
        #expect(model.log == ["from the app's own core"])
        tunnel.isRunning = true
        tunnel.reply = .log(["from the extension"])
        await model.loadLog()
        #expect(model.log == ["from the extension"])
    }

    @Test func aNameIsExplained() async {
        let model = await model(TestMembership(office))
        tunnel.isRunning = true
        let found = Explanation(subject: "a.example", way: .tunnel, resolver: "The gateway", why: ["because"])
        tunnel.reply = .explanation(found)
        model.subject = "a.example"
        await model.explain()
        #expect(model.explanation == found)
        tunnel.reply = .failed(ProviderFault(.invalidInput, "no name"))
        await model.explain()
        #expect(model.explanation == nil)
        #expect(model.fault == ProviderFault(.invalidInput, "no name"))
    }

    @Test func leavingStopsTheTunnelAndForgetsItsConfiguration() async {
        let model = await model(TestMembership(office))
        await model.leave()
        #expect(tunnel.calls == ["stop", "remove"])
        #expect(model.member == nil)
        var kept = office
        kept.mayLeave = false
        let other = await self.model(TestMembership(kept))
        await other.leave()
        #expect(other.member == kept)
    }

    @Test func nobodyLeavesUnderATunnelThatDoesNotEnd() async {
        let model = await model(TestMembership(office))
        tunnel.ends = false
        await model.leave()
        #expect(tunnel.calls == ["stop"])
        #expect(model.member == office)
        #expect(model.fault?.kind == .host)
    }

    @Test func aMessageIsAnsweredInTimeOrNotAtAll() async throws {
        let answered = try await reply(within: .seconds(60)) { $0(Data([7])) }
        #expect(answered == Data([7]))
        let ended = await #expect(throws: ProviderFault.self) { try await reply(within: .seconds(60)) { $0(nil) } }
        #expect(ended?.kind == .closed)
        let silent = await #expect(throws: ProviderFault.self) { try await reply(within: .milliseconds(20)) { _ in } }
        #expect(silent?.kind == .closed)
        await #expect(throws: ProviderFault(.closed, "gone")) {
            try await reply(within: .seconds(60)) { _ in throw ProviderFault(.closed, "gone") }
        }
    }

    @Test func onDemandIsKeptOnceTheSystemHasIt() async {
        let model = await model(TestMembership(office))
        await model.setOnDemand(OnDemandPolicy(isOn: true))
        #expect(model.onDemand.isOn)
        tunnel.refusal = ProviderFault(.host, "no")
        await model.setOnDemand(OnDemandPolicy(isOn: false))
        #expect(model.onDemand.isOn)
        #expect(model.fault != nil)
    }
}
