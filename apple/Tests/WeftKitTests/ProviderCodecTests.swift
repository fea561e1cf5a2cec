import Foundation
import Testing

@testable import WeftKit

struct ProviderCodecTests {
    @Test(arguments: [
        ProviderRequest.status, .explain("intranet.example"), .settings, .log(lines: 20), .setMode(.dnsOnly), .refresh,
    ])
    func requestsCross(_ request: ProviderRequest) throws {
        let data = try ProviderCodec.encode(request)
        #expect(try ProviderCodec.decode(ProviderRequest.self, from: data) == request)
    }

    @Test(arguments: [
        ProviderReply.status(
            Snapshot(
                state: .unable, title: "Unable to connect", reason: "why", problem: Problem(code: "settings", text: "t"),
                mode: .dnsOnly, endpoint: "192.0.2.1:2408", warnings: ["one", "two"])),
        .explanation(Explanation(subject: "a.example", way: .blocked, resolver: "The gateway", why: ["because"])),
        .settings([SettingLine(name: "mtu", value: "1280 bytes", origin: "profile")]), .log(["a", "b"]), .done,
        .failed(ProviderFault(.refused, "the token is used up")),
    ])
    func repliesCross(_ reply: ProviderReply) throws {
        let data = try ProviderCodec.encode(reply)
        #expect(try ProviderCodec.decode(ProviderReply.self, from: data) == reply)
    }

    @Test func anotherVersionIsRefusedByName() throws {
        let data = Data(#"{"version":2,"body":{"status":{}}}"#.utf8)
        let fault = #expect(throws: ProviderFault.self) {
            try ProviderCodec.decode(ProviderRequest.self, from: data)
        }
        #expect(fault == ProviderFault(.message, "version 2, not 1"))
    }

    @Test(arguments: ["", "{", "null", #"{"version":1}"#, #"{"version":1,"body":{"unknown":{}}}"#])
    func whatIsNoMessageIsRefused(_ text: String) {
        #expect(throws: ProviderFault.self) {
            try ProviderCodec.decode(ProviderRequest.self, from: Data(text.utf8))
        }
    }

    @Test func aMessageHasALimit() {
        let long = ProviderRequest.explain(String(repeating: "a", count: ProviderCodec.largest))
        #expect(throws: ProviderFault.self) { try ProviderCodec.encode(long) }
        #expect(throws: ProviderFault.self) {
            try ProviderCodec.decode(ProviderRequest.self, from: Data(count: ProviderCodec.largest + 1))
        }
    }
}
