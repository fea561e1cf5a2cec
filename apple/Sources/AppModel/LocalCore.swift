import Foundation
import WeftCore
import WeftKit

/// The core in the app, opened for one errand at a time on the state that app and extension share.
public struct LocalCore: Membership {
    private let config: SessionConfig
    private let secrets: any SecretStore

    public init(config: SessionConfig, secrets: any SecretStore) {
        self.config = config
        self.secrets = secrets
    }

    public func read(link: String) throws -> Invitation {
        do {
            return Invitation(try parseEnrolmentLink(text: link))
        } catch {
            throw ProviderFault(error)
        }
    }

    public func managedInvitation() throws -> Invitation? {
        guard let url = config.managed?.url, let token = config.managed?.token else { return nil }
        return Invitation(
            url: url, token: token, fingerprint: config.managed?.caFingerprint, deviceName: config.deviceName)
    }

    public func current() async throws -> Member? {
        try await withSession { session in
            guard let registration = await session.registration() else { return nil }
            let settings = await session.settings()
            return Member(
                organisation: registration.profileName ?? registration.gateway, gateway: registration.gateway,
                switchLocked: settings?.switchLocked ?? false, mayLeave: settings?.allowedToLeave ?? true,
                maySwitchMode: settings?.allowModeSwitch ?? false, supportURL: settings?.supportUrl)
        }
    }

    public func join(_ invitation: Invitation) async throws {
        try await withSession { session in
            try await session.enrol(
                enrolment: Enrolment(
                    url: invitation.url, token: invitation.token, caFingerprint: invitation.fingerprint,
                    deviceName: invitation.deviceName))
        }
    }

    public func leave() async throws {
        try await withSession { try await $0.leave() }
    }

    public func answer(_ request: ProviderRequest) async throws -> ProviderReply {
        try await withSession { try await $0.reply(to: request) }
    }

    private func withSession<T>(_ work: (Session) async throws -> T) async throws -> T {
        do {
            let session = try Session(config: config, host: AppHost(secrets: secrets))
            let result: Result<T, any Error>
            do { result = .success(try await work(session)) } catch { result = .failure(error) }
            await session.close()
            return try result.get()
        } catch {
            throw ProviderFault(error)
        }
    }
}

extension Invitation {
    init(_ enrolment: Enrolment) {
        self.init(
            url: enrolment.url, token: enrolment.token, fingerprint: enrolment.caFingerprint,
            deviceName: enrolment.deviceName)
    }
}

/// What the core asks of the app. It makes no tunnel here, so the network does not matter to it.
final class AppHost: CoreHost {
    private let secrets: any SecretStore

    init(secrets: any SecretStore) { self.secrets = secrets }

    func protect(fd: Int32) throws {}

    func loadSecret(name: String) throws -> Data? {
        do { return try secrets.load(name) } catch { throw HostError.Failed(detail: "\(error)") }
    }

    func storeSecret(name: String, value: Data?) throws {
        do { try secrets.store(name, value) } catch { throw HostError.Failed(detail: "\(error)") }
    }

    func network() throws -> NetworkInfo {
        NetworkInfo(
            id: nil, interface: nil, hasV4: true, hasV6: true, dnsServers: [], metered: false, privateDns: .off)
    }
}
