#if canImport(NetworkExtension)
import Foundation
import NetworkExtension
import TunnelKit
import WeftKit

/// The extension's principal class: hands the system's calls to the controller.
final class PacketTunnelProvider: NEPacketTunnelProvider, @unchecked Sendable {
    /// Set by `startTunnel`, before which the system calls nothing else.
    private let lock = NSLock()
    private var running: (controller: TunnelController, watcher: PathWatcher)?

    private var controller: TunnelController? { lock.withLock { running?.controller } }

    override func startTunnel(
        options: [String: NSObject]? = nil, completionHandler: @escaping ((any Error)?) -> Void
    ) {
        Shared.startLogging()
        let completion = Completion(completionHandler)
        let configuration = (protocolConfiguration as? NETunnelProviderProtocol)?.providerConfiguration
        let name = configuration?[Shared.deviceNameKey] as? String ?? "Apple device"
        let managed = ManagedSettings.reading(configuration?[Shared.managedKey] as? [String: Any]).config
        let watcher = PathWatcher()
        let controller = TunnelController(host: ProviderHost(self), secrets: Shared.secrets)
        lock.withLock { running = (controller, watcher) }
        watcher.start { path in await controller.pathChanged(path) }
        Task {
            do {
                try await controller.start(Shared.config(deviceName: name, managed: managed))
                completion.call(nil)
            } catch {
                watcher.stop()
                completion.call(error)
            }
        }
    }

    override func stopTunnel(with reason: NEProviderStopReason, completionHandler: @escaping () -> Void) {
        let completion = Completion<Void> { completionHandler() }
        let stopping = lock.withLock {
            defer { running = nil }
            return running
        }
        stopping?.watcher.stop()
        Task {
            await stopping?.controller.stop()
            completion.call(())
        }
    }

    override func sleep(completionHandler: @escaping () -> Void) {
        let completion = Completion<Void> { completionHandler() }
        Task { [controller] in
            await controller?.sleep()
            completion.call(())
        }
    }

    override func wake() {
        Task { [controller] in await controller?.wake() }
    }

    override func handleAppMessage(_ messageData: Data, completionHandler: ((Data?) -> Void)? = nil) {
        let completion = Completion<Data?> { completionHandler?($0) }
        Task { [controller] in
            completion.call(await controller?.reply(to: messageData))
        }
    }
}

/// A completion handler of the system, which may be called from any thread but is not declared so.
private struct Completion<Value>: @unchecked Sendable {
    let call: (Value) -> Void

    init(_ call: @escaping (Value) -> Void) { self.call = call }
}
#endif
