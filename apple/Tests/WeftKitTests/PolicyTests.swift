import Foundation
import Testing
import WeftCore

@testable import WeftKit

struct OnDemandTests {
    @Test func offMeansNoRules() {
        #expect(OnDemandPolicy(isOn: false, trustedNetworks: ["home"]).rules.isEmpty)
    }

    @Test func theTrustedNetworksComeBeforeTheRest() {
        let rules = OnDemandPolicy(isOn: true, trustedNetworks: ["home", "office"]).rules
        #expect(
            rules == [
                OnDemandRule(action: .disconnect, interface: .wifi, networks: ["home", "office"]),
                OnDemandRule(action: .connect, interface: .any),
            ])
    }

    @Test func mobileDataCanBeLeftAlone() {
        let rules = OnDemandPolicy(isOn: true, onCellular: false).rules
        #expect(rules.map(\.action) == [.ignore, .connect])
        #expect(rules.map(\.interface) == [.cellular, .any])
    }
}

struct ManagedSettingsTests {
    @Test func everyKeyIsRead() throws {
        let values: [String: Any] = [
            "url": "https://gateway.example", "token": "t0ken", "ca_fingerprint": "ab", "service_mode": "dns-only",
            "switch_locked": true, "support_url": "https://help.example", "someone_elses": 1,
        ]
        let config = try #require(try ManagedSettings.read(values))
        #expect(config.url == "https://gateway.example")
        #expect(config.token == "t0ken")
        #expect(config.caFingerprint == "ab")
        #expect(config.serviceMode == .dnsOnly)
        #expect(config.switchLocked == true)
        #expect(config.supportUrl == "https://help.example")
    }

    @Test func nothingIsNothing() throws {
        #expect(try ManagedSettings.read(nil) == nil)
        #expect(try ManagedSettings.read([:]) == nil)
    }

    @Test(arguments: ["url", "token", "switch_locked", "service_mode"])
    func aValueOfTheWrongTypeIsNamed(_ key: String) {
        let fault = #expect(throws: ManagedSettings.Fault.self) { try ManagedSettings.read([key: [1, 2]]) }
        #expect(fault?.key == key)
    }

    @Test func anUnknownModeIsRefused() {
        #expect(throws: ManagedSettings.Fault.self) { try ManagedSettings.read(["service_mode": "warp+"]) }
    }

    @Test func aConfigurationThatCannotBeCountsAsNoneAndIsNamed() {
        let read = ManagedSettings.reading(["switch_locked": "true", "service_mode": "dns-only"])
        #expect(read.config == nil)
        #expect(read.fault == "the managed configuration counts as none: switch_locked must be true or false")
        let good = ManagedSettings.reading(["switch_locked": true])
        #expect(good.config?.switchLocked == true)
        #expect(good.fault == nil)
    }

    @Test func noSecretIsLeftToTheExtension() throws {
        var values: [String: Any] = [
            "url": "https://gateway.example", "token": "t0ken", "ca_fingerprint": "ab", "service_mode": "dns-only",
            "switch_locked": true, "support_url": "https://help.example", "someone_elses": "secret",
        ]
        let left = try #require(ManagedSettings.forExtension(values))
        #expect(Set(left.keys) == ["service_mode", "switch_locked", "support_url"])
        #expect(try ManagedSettings.read(left)?.switchLocked == true)
        values["token"] = 1
        #expect(ManagedSettings.forExtension(values) == nil, "what counts as none in the app does so in the extension")
        #expect(ManagedSettings.forExtension(["token": "t0ken"]) == nil)
        #expect(ManagedSettings.forExtension(nil) == nil)
    }
}

struct CoreBoundaryTests {
    @Test func anEnrolmentLinkIsReadByTheCore() throws {
        let enrolment = try parseEnrolmentLink(text: "weft://enrol?url=https%3A%2F%2Fgateway.example&token=t0ken")
        #expect(enrolment.url == "https://gateway.example")
        #expect(enrolment.token == "t0ken")
        #expect(enrolment.caFingerprint == nil)
    }

    @Test(arguments: ["", "weft://enrol", "https://gateway.example/enrol", "javascript:alert(1)"])
    func whatIsNoLinkIsATypedError(_ text: String) {
        let error = #expect(throws: WeftError.self) { try parseEnrolmentLink(text: text) }
        guard case .InvalidInput(let detail) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(ProviderFault(error!) == ProviderFault(.invalidInput, detail))
    }
}
