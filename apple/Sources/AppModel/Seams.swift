import WeftKit

/// The tunnel as the app sees it: the system's VPN configuration and, while it runs, the extension behind it.
@MainActor
public protocol TunnelManager: AnyObject {
    /// Whether the extension runs, so that it can be asked.
    var isRunning: Bool { get }
    /// Puts the configuration in place; the system asks the user the first time.
    func install() async throws
    func start() async throws
    /// Returns once the extension has ended; false where it has not, after a while.
    @discardableResult
    func stop() async -> Bool
    /// Forgets the configuration.
    func remove() async throws
    /// When the system is to start and stop the tunnel by itself.
    func setOnDemand(_ policy: OnDemandPolicy) async throws
    /// Asks the extension. Fails with `closed` where it does not run.
    func ask(_ request: ProviderRequest) async throws -> ProviderReply
    /// Calls `handler` whenever there may be news: the system's state of the tunnel, or the extension's word.
    func observe(_ handler: @escaping @MainActor () -> Void)
}

/// The core in the app itself, while the extension does not run: who the device is, and how it joins and leaves.
public protocol Membership: Sendable {
    /// Reads an enrolment link; throws `invalidInput`.
    func read(link: String) throws -> Invitation
    /// Where the device belongs; nothing = nowhere.
    func current() async throws -> Member?
    func join(_ invitation: Invitation) async throws
    func leave() async throws
    /// The answer of the app's own core.
    func answer(_ request: ProviderRequest) async throws -> ProviderReply
    /// What the administrator's configuration invites to; nothing = it does not.
    func managedInvitation() throws -> Invitation?
}

/// What an enrolment link asks for. The token is in it, and is shown to nobody.
public struct Invitation: Equatable, Sendable {
    public let url: String
    public let token: String
    public let fingerprint: String?
    public let deviceName: String?

    public init(url: String, token: String, fingerprint: String?, deviceName: String?) {
        self.url = url
        self.token = token
        self.fingerprint = fingerprint
        self.deviceName = deviceName
    }

    /// The gateway's host, for the question whether to join it.
    public var host: String {
        let afterScheme = url.split(separator: "/", omittingEmptySubsequences: true).dropFirst().first
        return afterScheme.map(String.init) ?? url
    }
}

/// Where the device belongs.
public struct Member: Equatable, Sendable {
    /// The profile's name, else the gateway's host.
    public let organisation: String
    public let gateway: String
    public var switchLocked: Bool
    public var mayLeave: Bool
    public var maySwitchMode: Bool
    public var supportURL: String?

    public init(
        organisation: String, gateway: String, switchLocked: Bool = false, mayLeave: Bool = true,
        maySwitchMode: Bool = false, supportURL: String? = nil
    ) {
        self.organisation = organisation
        self.gateway = gateway
        self.switchLocked = switchLocked
        self.mayLeave = mayLeave
        self.maySwitchMode = maySwitchMode
        self.supportURL = supportURL
    }
}
