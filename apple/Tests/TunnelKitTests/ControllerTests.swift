import Foundation
import Testing
import WeftCore
import WeftKit

@testable import TunnelKit

struct ControllerTests {
    private let host = TestHost()
    private let core = TestCore()
    /// The network that the core found when it was made.
    private let seen = Guarded<NetworkInfo?>(nil)

    private func controller(
        start: Duration = soon, stop: Duration = soon, path: NetworkPath? = wifi, pathLimit: Duration = soon
    ) -> TunnelController {
        var limits = TunnelController.Limits()
        limits.start = start
        limits.stop = stop
        limits.path = pathLimit
        return TunnelController(host: host, secrets: TestSecrets(), path: path, limits: limits) { [core, seen] _, host in
            seen.change { $0 = try? host.network() }
            return core
        }
    }

    /// A controller whose tunnel is up.
    private func running(stop: Duration = soon) async throws -> TunnelController {
        let controller = controller(stop: stop)
        core.say(.plan(plan: plan(1)))
        try await controller.start(config)
        core.say(.status(status: status(.connected)))
        let shown = await eventually { await snapshot(controller)?.state == .connected }
        try #require(shown)
        return controller
    }

    private func snapshot(_ controller: TunnelController) async -> Snapshot? {
        guard let request = try? ProviderCodec.encode(ProviderRequest.status) else { return nil }
        let reply = try? ProviderCodec.decode(ProviderReply.self, from: await controller.reply(to: request))
        guard case .status(let snapshot) = reply else { return nil }
        return snapshot
    }

    // MARK: start

    @Test func theStartEndsOnceTheFirstSettingsAreApplied() async throws {
        let controller = controller()
        let start = Task { try await controller.start(config) }
        #expect(await eventually { core.calls.now == ["connect"] })
        core.say(.status(status: status(.connecting)))
        #expect(await eventually { host.announced.now == 1 })
        #expect(host.applied.now.isEmpty)
        core.say(.plan(plan: plan(1)))
        try await start.value
        #expect(host.applied.now.map(\.mtu) == [1280])
        #expect(core.calls.now == ["connect", "acknowledge 1"])
        await controller.stop()
    }

    @Test func aStartThatCannotConnectTellsWhy() async {
        core.connectFault.change { $0 = .Unreachable(detail: "nobody there") }
        await #expect(throws: ProviderFault(.unreachable, "nobody there")) { try await controller().start(config) }
        #expect(core.calls.now == ["connect", "close"])
        #expect(core.port.closed)
    }

    @Test func aStartOfAnUnregisteredDeviceTellsSo() async {
        core.say(.status(status: status(.unable, error: UserError(code: "registration_missing", text: "not registered"))))
        await #expect(throws: ProviderFault(.notRegistered, "because")) { try await controller().start(config) }
    }

    @Test func settingsThatAreRefusedEndTheStartAndAreToldToTheCore() async {
        host.refusal.change { $0 = ProviderFault(.host, "no") }
        core.say(.plan(plan: plan(1)))
        await #expect(throws: ProviderFault.self) { try await controller().start(config) }
        #expect(core.calls.now.contains { $0.hasPrefix("acknowledge 1: ") })
    }

    @Test func aStartWithoutSettingsHasALimit() async {
        let fault = await #expect(throws: ProviderFault.self) {
            try await controller(start: .milliseconds(20)).start(config)
        }
        #expect(fault?.kind == .unreachable)
        #expect(core.calls.now.last == "close")
    }

    @Test func aModeWithoutInterfaceStartsWithEmptySettings() async throws {
        let controller = controller()
        core.say(.plan(plan: plan(1, hasInterface: false)))
        core.say(.status(status: status(.connected)))
        try await controller.start(config)
        #expect(host.applied.now == [.idle])
        await controller.stop()
    }

    @Test func itCanBeStartedAgainAfterAStopAndNotBefore() async throws {
        let controller = try await running()
        await #expect(throws: ProviderFault.self) { try await controller.start(config) }
        await controller.stop()
        #expect(host.cancelled.now.isEmpty, "a tunnel that is stopped does not end itself")
        #expect(core.port.closed)
    }

    @Test func theStartWaitsForTheFirstReportOfTheNetwork() async throws {
        let controller = controller(path: nil)
        core.say(.plan(plan: plan(1)))
        let start = Task { try await controller.start(config) }
        #expect(await eventually { await snapshot(controller)?.state == .connecting })
        #expect(core.calls.now.isEmpty)
        await controller.pathChanged(wifi)
        try await start.value
        #expect(seen.now?.interface == "en0")
        #expect(core.networks.now.isEmpty, "the network that it started with is no change")
        await controller.stop()
    }

    @Test func withoutAnyReportItStartsAsWithoutANetwork() async throws {
        let controller = controller(path: nil, pathLimit: .milliseconds(20))
        core.say(.plan(plan: plan(1)))
        try await controller.start(config)
        #expect(seen.now?.interface == nil)
        await controller.pathChanged(wifi)
        #expect(core.networks.now.map(\.interface) == ["en0"])
        await controller.stop()
    }

    @Test func aStopEndsAStartThatWaitsForTheNetwork() async {
        let controller = controller(path: nil)
        let start = Task { try await controller.start(config) }
        #expect(await eventually { await snapshot(controller)?.state == .connecting })
        await controller.stop()
        await #expect(throws: ProviderFault(.closed, "the tunnel was stopped")) { try await start.value }
        #expect(core.calls.now.isEmpty)
    }

    @Test func aStopEndsAStartThatWaits() async {
        let controller = controller()
        let start = Task { try await controller.start(config) }
        #expect(await eventually { core.calls.now.contains("connect") })
        await controller.stop()
        await #expect(throws: ProviderFault(.closed, "the tunnel was stopped")) { try await start.value }
    }

    // MARK: plans

    @Test func anEqualPlanIsAcknowledgedAndNotApplied() async throws {
        let controller = try await running()
        core.say(.plan(plan: plan(2)))
        core.say(.plan(plan: plan(3, mtu: 1400)))
        #expect(await eventually { core.calls.now.last == "acknowledge 3" })
        #expect(host.applied.now.map(\.mtu) == [1280, 1400])
        await controller.stop()
    }

    @Test func aFailedPlanIsToldToTheCoreAndTriedAgain() async throws {
        let controller = try await running()
        host.refusal.change { $0 = ProviderFault(.host, "not now") }
        core.say(.plan(plan: plan(2, mtu: 1400)))
        #expect(await eventually { core.calls.now.contains { $0.hasPrefix("acknowledge 2: ") } })
        host.refusal.change { $0 = nil }
        core.say(.plan(plan: plan(3, mtu: 1400)))
        #expect(await eventually { core.calls.now.last == "acknowledge 3" })
        #expect(host.applied.now.map(\.mtu) == [1280, 1400])
        #expect(host.cancelled.now.isEmpty)
        await controller.stop()
    }

    @Test func afterAFailedPlanTheFormerOneIsAppliedAgain() async throws {
        let controller = try await running()
        host.refusal.change { $0 = ProviderFault(.host, "not now") }
        core.say(.plan(plan: plan(2, mtu: 1400)))
        #expect(await eventually { core.calls.now.contains { $0.hasPrefix("acknowledge 2: ") } })
        host.refusal.change { $0 = nil }
        core.say(.plan(plan: plan(3)))
        #expect(await eventually { core.calls.now.last == "acknowledge 3" })
        #expect(host.applied.now.map(\.mtu) == [1280, 1280])
        await controller.stop()
    }

    @Test func aBlockingPlanKeepsTheRoutes() async throws {
        let controller = try await running()
        core.say(.plan(plan: plan(2, hasInterface: false, blocks: true)))
        #expect(await eventually { core.calls.now.last == "acknowledge 2" })
        #expect(host.applied.now.count == 1, "taking the settings away would open the way past the tunnel")
        core.say(.plan(plan: plan(3, hasInterface: false)))
        #expect(await eventually { core.calls.now.last == "acknowledge 3" })
        #expect(host.applied.now.last == .idle)
        await controller.stop()
    }

    // MARK: the end

    @Test func aStopWaitsForTheCoreOnlySoLong() async throws {
        let controller = try await running(stop: .milliseconds(50))
        core.goesDown.change { $0 = false }
        await controller.stop()
        #expect(core.calls.now.suffix(2) == ["disconnect", "close"])
        #expect(core.port.closed)
    }

    @Test func aCoreThatRefusesToGoDownIsNotWaitedFor() async throws {
        let controller = try await running(stop: .seconds(3600))
        core.disconnectFault.change { $0 = .Forbidden(detail: "the switch is locked") }
        let stop = Task { await controller.stop() }
        #expect(await eventually { core.calls.now.suffix(2) == ["disconnect", "close"] })
        // Lets go of a stop that waits all the same.
        core.say(.status(status: status(.disconnected)))
        await stop.value
    }

    @Test func aRevokedDeviceStaysBlocked() async throws {
        let controller = try await running()
        let announced = host.announced.now
        core.say(.revoked)
        #expect(await eventually { host.announced.now > announced })
        #expect(await snapshot(controller)?.problem?.code == "registration_revoked")
        #expect(host.cancelled.now.isEmpty, "its end would open the way past the tunnel")
        await controller.stop()
    }

    @Test func aCoreThatEndsByItselfEndsTheTunnel() async throws {
        let controller = try await running()
        core.say(.panicked(detail: "index out of bounds"))
        core.end()
        #expect(await eventually { host.cancelled.now.map(\.kind) == [.internal] })
        #expect(await snapshot(controller)?.problem?.text == "index out of bounds")
        await controller.stop()
    }

    @Test func aPacketFlowThatFailsEndsTheTunnel() async throws {
        let controller = try await running()
        core.port.fail(-5)
        #expect(await eventually { host.cancelled.now.map(\.kind) == [.internal] })
        await controller.stop()
    }

    // MARK: the network, sleep, and the app

    @Test func theSamePathIsNoEvent() async throws {
        let controller = try await running()
        await controller.pathChanged(wifi)
        #expect(core.networks.now.isEmpty)
        await controller.pathChanged(cellular)
        await controller.pathChanged(cellular)
        #expect(core.networks.now.map(\.interface) == ["pdp_ip0"])
        #expect(core.networks.now.first?.metered == true)
        await controller.stop()
    }

    @Test func anotherNetworkBehindTheSameGatewayAddressIsAnEvent() async throws {
        let controller = try await running()
        let (mine, hotel) = (home(called: ["192.168.1.7"]), home(called: ["192.168.1.20"]))
        await controller.pathChanged(mine)
        await controller.pathChanged(mine)
        await controller.pathChanged(hotel)
        #expect(core.networks.now.map(\.id) == ["192.168.1.1 192.168.1.7", "192.168.1.1 192.168.1.20"])
        await controller.stop()
    }

    @Test func theAddressesOfAnInterfaceAreTheDevicesOwn() {
        let loopback = LocalAddresses.of("lo") + LocalAddresses.of("lo0")
        #expect(loopback.contains("127.0.0.1"))
        #expect(LocalAddresses.of("no such interface").isEmpty)
    }

    @Test func reassertingFollowsThePathAndTheState() async throws {
        let controller = try await running()
        host.reasserted.change { $0 = [] }
        await controller.pathChanged(.none)
        #expect(host.reasserted.now == [true])
        await controller.pathChanged(wifi)
        #expect(host.reasserted.now == [true, false])
        core.say(.status(status: status(.reconnecting)))
        #expect(await eventually { host.reasserted.now == [true, false, true] })
        await controller.stop()
    }

    @Test func whatHappensInSleepIsToldAtTheWake() async throws {
        let controller = try await running()
        await controller.sleep()
        await controller.pathChanged(.none)
        await controller.pathChanged(cellular)
        #expect(core.networks.now.isEmpty)
        await controller.wake()
        #expect(core.networks.now.map(\.interface) == ["pdp_ip0"])
        #expect(core.calls.now.suffix(2) == ["network", "woke"])
        await controller.stop()
    }

    @Test(arguments: ["", "{}", "\u{0}"])
    func whateverTheMessageThereIsAReply(_ text: String) async throws {
        let reply = await controller().reply(to: Data(text.utf8))
        let decoded = try ProviderCodec.decode(ProviderReply.self, from: reply)
        guard case .failed(let fault) = decoded else {
            Issue.record("\(decoded)")
            return
        }
        #expect(fault.kind == .message)
    }

    @Test func theCoresTypedErrorReachesTheApp() async throws {
        let controller = try await running()
        let request = try ProviderCodec.encode(ProviderRequest.setMode(.dnsOnly))
        let reply = try ProviderCodec.decode(ProviderReply.self, from: await controller.reply(to: request))
        #expect(reply == .failed(ProviderFault(.forbidden, "no")))
        await controller.stop()
        let closed = try ProviderCodec.decode(ProviderReply.self, from: await controller.reply(to: request))
        #expect(closed == .failed(ProviderFault(.closed, "the tunnel is not running")))
    }
}
