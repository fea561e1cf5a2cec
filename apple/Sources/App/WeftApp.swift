#if canImport(SwiftUI) && canImport(UIKit)
import AppModel
import SwiftUI
import UIKit
import WeftKit

@main
struct WeftApp: App {
    @State private var model: AppModel
    @Environment(\.scenePhase) private var phase
    private let tunnel: SystemTunnel

    init() {
        Shared.startLogging()
        let name = UIDevice.current.name
        tunnel = SystemTunnel(deviceName: name)
        let managed = ManagedSettings.reading(Shared.managed)
        let core = LocalCore(config: Shared.config(deviceName: name, managed: managed.config), secrets: Shared.secrets)
        model = AppModel(
            tunnel: tunnel, membership: core, onDemand: Preferences.onDemand, managedFault: managed.fault)
    }

    var body: some Scene {
        WindowGroup {
            HomeScreen(model: model)
                .onOpenURL { url in Task { await model.invite(url.absoluteString) } }
                .task { await appear() }
                .onChange(of: phase) { _, now in
                    if now == .active { Task { await model.refresh() } }
                }
                .onChange(of: model.onDemand) { _, now in Preferences.onDemand = now }
        }
    }

    private func appear() async {
        do {
            try await tunnel.load()
        } catch {
            model.show(error)
        }
        await model.refresh()
        await model.offerManaged()
    }
}

/// What the app itself remembers; everything else is the core's.
enum Preferences {
    private static let key = "on_demand"

    static var onDemand: OnDemandPolicy {
        get {
            let data = UserDefaults.standard.data(forKey: key)
            return data.flatMap { try? JSONDecoder().decode(OnDemandPolicy.self, from: $0) }
                ?? OnDemandPolicy(isOn: false)
        }
        set { UserDefaults.standard.set(try? JSONEncoder().encode(newValue), forKey: key) }
    }
}
#endif
