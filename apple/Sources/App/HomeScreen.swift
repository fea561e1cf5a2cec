#if canImport(SwiftUI)
import AppModel
import SwiftUI
import WeftKit

/// The switch, the state and why it is so.
struct HomeScreen: View {
    @Bindable var model: AppModel

    var body: some View {
        NavigationStack(path: $model.path) {
            List {
                StateSection(model: model)
                FaultSection(model: model)
                WarningSection(model: model)
                if model.member == nil {
                    NavigationLink("Set up this device", value: Screen.enrol)
                } else {
                    DetailSection(model: model)
                }
                Section {
                    NavigationLink("Where does a name go?", value: Screen.explain)
                    NavigationLink("Log", value: Screen.log)
                    NavigationLink("Settings", value: Screen.settings)
                }
            }
            .navigationTitle("Weft")
            .refreshable { await model.refresh() }
            .navigationDestination(for: Screen.self) { screen in
                switch screen {
                case .enrol: EnrolScreen(model: model)
                case .explain: ExplainScreen(model: model)
                case .log: LogScreen(model: model)
                case .settings: SettingsScreen(model: model)
                }
            }
        }
    }
}

private struct StateSection: View {
    @Bindable var model: AppModel

    var body: some View {
        Section {
            VStack(alignment: .leading, spacing: 8) {
                Label(model.heading, systemImage: symbol)
                    .font(.title2)
                    .accessibilityAddTraits(.isHeader)
                Text(model.sentence)
                    .font(.body)
                    .foregroundStyle(.secondary)
            }
            .accessibilityElement(children: .combine)
            if model.member != nil {
                Toggle("Connection", isOn: $model.isOn)
                    .disabled(!model.isSwitchEnabled)
                if !model.isSwitchEnabled {
                    Text("Your administrator keeps this switch.")
                        .font(.footnote)
                }
            }
        }
    }

    private var symbol: String {
        guard model.member != nil else { return "shield.slash" }
        switch model.connection.state {
        case .connected: return "checkmark.shield"
        case .connecting, .disconnecting: return "hourglass"
        case .reconnecting, .unable: return "exclamationmark.shield"
        case .disconnected: return "shield.slash"
        }
    }
}

private struct DetailSection: View {
    let model: AppModel

    var body: some View {
        if let advice = model.advice {
            AdviceSection(advice: advice)
        }
        Section("Details") {
            if let member = model.member {
                LabeledContent("Organisation", value: member.organisation)
                LabeledContent("Gateway", value: member.gateway)
            }
            LabeledContent("Mode", value: model.connection.mode.words.title)
            if let endpoint = model.connection.endpoint {
                LabeledContent("Connected to", value: endpoint)
            }
            if let support = model.member?.supportURL.flatMap(URL.init(string:)) {
                Link("Ask your organisation for help", destination: support)
            }
        }
    }
}

/// What works otherwise than somebody might think, whether the device belongs somewhere or not.
private struct WarningSection: View {
    let model: AppModel

    var body: some View {
        if !model.warnings.isEmpty {
            Section {
                ForEach(model.warnings, id: \.self) { warning in
                    Label(warning, systemImage: "exclamationmark.triangle")
                }
            }
        }
    }
}

/// What went wrong with the last thing that the user did.
struct FaultSection: View {
    let model: AppModel

    var body: some View {
        if let fault = model.fault {
            AdviceSection(advice: Advice(fault))
            Button("Dismiss") { model.dismissFault() }
        }
    }
}

/// What is wrong, and what to do.
struct AdviceSection: View {
    let advice: Advice

    var body: some View {
        Section {
            VStack(alignment: .leading, spacing: 4) {
                Label(advice.title, systemImage: "exclamationmark.triangle")
                    .font(.headline)
                Text(advice.action)
                Text("For a report: \(advice.report)")
                    .font(.footnote)
                    .foregroundStyle(.secondary)
                    .textSelection(.enabled)
            }
            .accessibilityElement(children: .combine)
        }
    }
}
#endif
