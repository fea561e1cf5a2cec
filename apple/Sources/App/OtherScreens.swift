#if canImport(SwiftUI)
import AppModel
import SwiftUI
import WeftKit

/// By whom a name is looked up, which way its packets go, and why.
struct ExplainScreen: View {
    @Bindable var model: AppModel

    var body: some View {
        List {
            Section {
                TextField("Name or address", text: $model.subject)
                    .autocorrectionDisabled()
                    .textInputAutocapitalization(.never)
                    .onSubmit { Task { await model.explain() } }
                if model.isExplaining {
                    ProgressView("Asking…")
                } else {
                    Button("Explain") { Task { await model.explain() } }
                        .disabled(model.subject.isEmpty)
                }
            }
            FaultSection(model: model)
            if let explanation = model.explanation {
                Section(explanation.subject) {
                    Text(way(explanation)).font(.headline)
                    if let resolver = explanation.resolver {
                        LabeledContent("Who looks it up", value: resolver)
                    }
                    ForEach(explanation.why, id: \.self) { Text($0) }
                }
            }
        }
        .navigationTitle("Where does a name go?")
    }

    private func way(_ explanation: Explanation) -> String {
        switch explanation.way {
        case .tunnel: "Through the tunnel"
        case .outside: "Past the tunnel"
        case .blocked: "Nowhere: the tunnel alone may carry it, and cannot"
        case nil: "By its address"
        }
    }
}

/// The newest lines of the log, to read and to share.
struct LogScreen: View {
    let model: AppModel

    var body: some View {
        List {
            FaultSection(model: model)
            if model.log.isEmpty {
                Text("Nothing has been logged yet.")
            }
            ForEach(Array(model.log.enumerated()), id: \.offset) { line in
                Text(line.element).font(.system(.footnote, design: .monospaced))
            }
        }
        .navigationTitle("Log")
        .toolbar {
            ShareLink("Share the log", item: model.log.joined(separator: "\n"))
        }
        .task { await model.loadLog() }
    }
}

/// What is in force and who decided it; what the user may decide.
struct SettingsScreen: View {
    @Bindable var model: AppModel

    var body: some View {
        List {
            FaultSection(model: model)
            if model.member?.maySwitchMode == true {
                Section("What Weft takes over") {
                    Picker("Mode", selection: $model.mode) {
                        ForEach(Mode.offered, id: \.self) { Text($0.words.title) }
                    }
                    Text(model.connection.mode.words.text).font(.footnote)
                }
            }
            Section {
                Toggle("Connect on demand", isOn: $model.isOnDemand)
                Text("The system starts the tunnel whenever the device uses a network.").font(.footnote)
            }
            Section("In force") {
                ForEach(model.settings) { line in
                    LabeledContent(line.name, value: "\(line.value), decided by: \(line.origin)")
                }
            }
            if model.member != nil { LeaveSection(model: model) }
        }
        .navigationTitle("Settings")
        .task { await model.loadSettings() }
    }
}

private struct LeaveSection: View {
    @Bindable var model: AppModel

    var body: some View {
        Section("This device") {
            if model.member?.mayLeave == true {
                Button("Leave the organisation", role: .destructive) { model.asksToLeave = true }
                    .confirmationDialog(
                        "Leave \(model.member?.organisation ?? "")?", isPresented: $model.asksToLeave,
                        titleVisibility: .visible
                    ) {
                        Button("Leave", role: .destructive) { Task { await model.leave() } }
                    } message: {
                        Text("The keys of this device are deleted. To come back you need a new QR code or link.")
                    }
            } else {
                Text("Your administrator keeps this device in the organisation")
            }
        }
    }
}
#endif
