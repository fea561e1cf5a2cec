import Testing
import WeftCore

@testable import WeftKit

struct TunnelSettingsTests {
    @Test func everyPartOfAPlanIsSet() throws {
        let settings = try #require(try TunnelSettings(plan: plan()))
        #expect(settings.mtu == 1280)
        #expect(settings.ipv4?.addresses.map(\.address) == ["172.16.0.2"])
        #expect(settings.ipv4?.addresses.map(\.mask) == ["255.255.255.255"])
        #expect(settings.ipv4?.included.map(\.description) == ["0.0.0.0/1", "128.0.0.0/2"])
        #expect(settings.ipv4?.included.map(\.mask) == ["128.0.0.0", "192.0.0.0"])
        #expect(settings.ipv6?.included.map(\.description) == ["::/0"])
        #expect(settings.dns?.servers == ["100.64.0.1"])
        #expect(settings.dns?.searchDomains == ["corp.example"])
        #expect(settings.dns?.matchDomains == [""], "all names, not those of some suffix")
    }

    @Test func anIPv6AddressIsGivenAWiderPrefix() throws {
        let settings = try #require(try TunnelSettings(plan: plan()))
        #expect(settings.ipv6?.addresses.map(\.description) == ["2001:db8::2/120"])
    }

    @Test func aFamilyWithoutAnAddressIsTakenInAllTheSame() throws {
        let settings = try #require(try TunnelSettings(plan: plan(addresses: [network("172.16.0.2", 32)])))
        #expect(settings.ipv6?.addresses.map(\.description) == ["2001:db8::2/120"])
        #expect(settings.ipv6?.included.map(\.description) == ["::/0"], "it would leave beside the tunnel")
    }

    @Test func aFamilyThatNoRouteIsOfIsLeftAlone() throws {
        var plan = plan(addresses: [network("172.16.0.2", 32)])
        plan.routes = [network("0.0.0.0", 0)]
        let settings = try #require(try TunnelSettings(plan: plan))
        #expect(settings.ipv6 == nil)
        #expect(settings.ipv4 != nil)
    }

    @Test func aPlanWithoutDNSLeavesTheResolvers() throws {
        var plan = plan()
        plan.dns = nil
        #expect(try TunnelSettings(plan: plan)?.dns == nil)
    }

    @Test func aPlanWithoutInterfaceHasNoSettings() throws {
        var plan = plan()
        plan.interface = nil
        #expect(try TunnelSettings(plan: plan) == nil)
    }

    @Test func whatIsNoAddressIsRefused() {
        var bad = plan()
        bad.routes = [network("192.0.2", 24)]
        #expect(throws: TunnelSettings.Fault.notAnAddress("192.0.2/24")) { try TunnelSettings(plan: bad) }
        bad.routes = [network("192.0.2.0", 33)]
        #expect(throws: TunnelSettings.Fault.notAnAddress("192.0.2.0/33")) { try TunnelSettings(plan: bad) }
        #expect(throws: TunnelSettings.Fault.noAddress) { try TunnelSettings(plan: plan(addresses: [])) }
    }

    @Test(arguments: [(0, "0.0.0.0"), (1, "128.0.0.0"), (8, "255.0.0.0"), (20, "255.255.240.0"), (32, "255.255.255.255")])
    func masksFollowPrefixes(_ prefix: Int, _ mask: String) {
        #expect(IPRange(address: "10.0.0.0", prefix: prefix)?.mask == mask)
    }

    @Test(arguments: ["", "10.0.0", "10.0.0.0.0", "fe80::1%en0", "::g", "example.com", "10.0.0.1/8"])
    func textThatIsNoAddressIsNoRange(_ text: String) {
        #expect(IPRange(address: text, prefix: 0) == nil)
    }

    private func plan(addresses: [IpNetwork]? = nil) -> Plan {
        let addresses = addresses ?? [network("172.16.0.2", 32), network("2001:db8::2", 128)]
        return Plan(
            number: 1, interface: InterfacePlan(addresses: addresses, mtu: 1280, metered: false),
            routes: [network("0.0.0.0", 1), network("128.0.0.0", 2), network("::", 0)],
            excludedRoutes: [network("192.0.0.0", 2)],
            dns: DnsPlan(servers: ["100.64.0.1"], search: ["corp.example"]), apps: .all, blocks: false)
    }

    private func network(_ address: String, _ prefix: UInt8) -> IpNetwork {
        IpNetwork(address: address, prefix: prefix)
    }
}
