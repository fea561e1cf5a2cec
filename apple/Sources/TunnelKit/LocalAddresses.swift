import Foundation

#if canImport(Glibc)
import Glibc
#endif

/// What an interface of this device is called.
public enum LocalAddresses {
    /// How many bytes of an IPv6 address are its network's: the rest is the device's own to choose, and it chooses anew every
    /// day (RFC 8981).
    private static let networkBytes = 8

    /// The IPv4 addresses of `interface`, and the networks of its IPv6 addresses; without those of the link alone, which are the
    /// same everywhere. Sorted, and empty where there is no such interface.
    public static func of(_ interface: String) -> [String] {
        var first: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&first) == 0 else { return [] }
        defer { freeifaddrs(first) }
        let found = sequence(first: first) { $0?.pointee.ifa_next }.prefix { $0 != nil }.compactMap { entry -> String? in
            guard let entry, let address = entry.pointee.ifa_addr, String(cString: entry.pointee.ifa_name) == interface
            else { return nil }
            return text(address)
        }
        return Set(found).sorted()
    }

    private static func text(_ address: UnsafePointer<sockaddr>) -> String? {
        let raw = UnsafeRawPointer(address)
        switch Int32(address.pointee.sa_family) {
        case AF_INET:
            let bytes = withUnsafeBytes(of: raw.loadUnaligned(as: sockaddr_in.self).sin_addr) { [UInt8]($0) }
            guard !bytes.starts(with: [169, 254]) else { return nil }
            return bytes.map { String($0) }.joined(separator: ".")
        case AF_INET6:
            let bytes = withUnsafeBytes(of: raw.loadUnaligned(as: sockaddr_in6.self).sin6_addr) { [UInt8]($0) }
            guard bytes[0] != 0xfe || bytes[1] & 0xc0 != 0x80 else { return nil }
            return bytes.prefix(networkBytes).map { String($0, radix: 16) }.joined(separator: ":")
        default: return nil
        }
    }
}
