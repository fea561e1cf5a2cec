import Foundation

/// What the app asks of the running extension. One request, one reply, each a JSON document.
public enum ProviderRequest: Codable, Equatable, Sendable {
    /// How the tunnel stands.
    case status
    /// Why a host's or an address's packets and names go the way they go.
    case explain(String)
    /// The settings in force, with the origin of each.
    case settings
    /// The last lines of the log, this many at most.
    case log(lines: Int)
    /// To change what the tunnel is for.
    case setMode(Mode)
    /// To fetch the profile anew.
    case refresh
}

/// The extension's answer.
public enum ProviderReply: Codable, Equatable, Sendable {
    case status(Snapshot)
    case explanation(Explanation)
    case settings([SettingLine])
    case log([String])
    case done
    case failed(ProviderFault)
}

/// A typed error, as it crosses between processes.
public struct ProviderFault: Error, Codable, Equatable, Sendable {
    /// What kind it is.
    public let kind: Kind
    /// What happened, in one line.
    public let detail: String

    public enum Kind: String, Codable, Sendable {
        case invalidInput, notRegistered, alreadyRegistered, refused, unreachable, forbidden, wrongOrder, closed
        case host, `internal`
        /// The two sides do not understand each other.
        case message
        /// A link came while another one is asked about.
        case otherLink
    }

    public init(_ kind: Kind, _ detail: String) {
        self.kind = kind
        self.detail = detail
    }
}

/// Which way something goes, and why.
public struct Explanation: Codable, Equatable, Sendable {
    /// What was asked for.
    public let subject: String
    /// Which way its packets go; none = each of a name's addresses goes its own way.
    public let way: Direction?
    /// Who looks the name up; none = it is an address.
    public let resolver: String?
    /// Why, in sentences.
    public let why: [String]

    public enum Direction: String, Codable, Sendable {
        /// Through the tunnel.
        case tunnel
        /// As without Weft.
        case outside
        /// Nowhere: the tunnel alone may carry it, and cannot.
        case blocked
    }

    public init(subject: String, way: Direction?, resolver: String?, why: [String]) {
        self.subject = subject
        self.way = way
        self.resolver = resolver
        self.why = why
    }
}

/// One setting, as a person reads it.
public struct SettingLine: Codable, Equatable, Sendable, Identifiable {
    public let name: String
    public let value: String
    /// Who decided it: "local policy", "profile", "user", "default".
    public let origin: String

    public var id: String { name }

    public init(name: String, value: String, origin: String) {
        self.name = name
        self.value = value
        self.origin = origin
    }
}

/// Requests and replies as bytes. Both sides come from one build, but an extension of the last version may still run.
public enum ProviderCodec {
    /// Grows when a request or a reply changes its meaning.
    static let version = 1
    /// More than any message has: 500 log lines of 500 bytes are 250 KB, and the extension's memory is small.
    public static let largest = 512 << 10
    /// What a reply carries of the log at most.
    public static let logLines = 500

    private struct Envelope<Body: Codable>: Codable {
        let version: Int
        let body: Body
    }

    public static func encode(_ message: some Codable) throws(ProviderFault) -> Data {
        let data: Data
        do {
            data = try JSONEncoder().encode(Envelope(version: version, body: message))
        } catch {
            throw ProviderFault(.message, "cannot be written: \(error)")
        }
        guard data.count <= largest else { throw ProviderFault(.message, "\(data.count) bytes are too many") }
        return data
    }

    public static func decode<Body: Codable>(_ type: Body.Type, from data: Data) throws(ProviderFault) -> Body {
        guard data.count <= largest else { throw ProviderFault(.message, "\(data.count) bytes are too many") }
        do {
            let envelope = try JSONDecoder().decode(Envelope<Body>.self, from: data)
            guard envelope.version == version else {
                throw ProviderFault(.message, "version \(envelope.version), not \(version)")
            }
            return envelope.body
        } catch let fault as ProviderFault {
            throw fault
        } catch {
            throw ProviderFault(.message, "cannot be read")
        }
    }
}
