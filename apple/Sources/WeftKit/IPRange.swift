import Foundation

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// A range of IP addresses: an address and the length of its prefix in bits.
public struct IPRange: Hashable, Sendable {
    /// 4 bytes for IPv4, 16 for IPv6, in network order.
    public let bytes: [UInt8]
    /// 0 to 32, or to 128.
    public let prefix: Int

    /// Nothing where `address` is no numeric address, or the prefix is longer than it.
    public init?(address: String, prefix: Int) {
        guard let bytes = IPRange.parse(address), (0...bytes.count * 8).contains(prefix) else { return nil }
        self.bytes = bytes
        self.prefix = prefix
    }

    /// Whether these are addresses of IPv6.
    public var isIPv6: Bool { bytes.count == 16 }

    /// The address as text (RFC 5952 for IPv6).
    public var address: String { IPRange.format(bytes) }

    /// The prefix as a netmask, for interfaces that know no lengths: /24 is 255.255.255.0.
    public var mask: String {
        IPRange.format((0..<bytes.count).map { index in
            let bits = min(max(prefix - index * 8, 0), 8)
            return UInt8(truncatingIfNeeded: 0xff00 >> bits)
        })
    }

    private static func parse(_ text: String) -> [UInt8]? {
        for (family, length) in [(AF_INET, 4), (AF_INET6, 16)] {
            var bytes = [UInt8](repeating: 0, count: length)
            if inet_pton(family, text, &bytes) == 1 { return bytes }
        }
        return nil
    }

    private static func format(_ bytes: [UInt8]) -> String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        let family = bytes.count == 4 ? AF_INET : AF_INET6
        guard inet_ntop(family, bytes, &text, socklen_t(text.count)) != nil else { return "" }
        return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}

extension IPRange: CustomStringConvertible {
    public var description: String { "\(address)/\(prefix)" }
}
