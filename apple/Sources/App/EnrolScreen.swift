#if canImport(SwiftUI)
import AppModel
import SwiftUI
import WeftKit

/// Joining an organisation, by a QR code or a link. Nothing is joined before the user has agreed.
struct EnrolScreen: View {
    @Bindable var model: AppModel
    @State private var isScanning = false

    var body: some View {
        List {
            FaultSection(model: model)
            if let invitation = model.invitation {
                InvitationSection(model: model, invitation: invitation)
            } else {
                Section {
                    #if canImport(VisionKit)
                    if QRScanner.isAvailable {
                        Button("Scan the QR code") { isScanning = true }
                    }
                    #endif
                    TextField("weft://enrol?…", text: $model.link)
                        .autocorrectionDisabled()
                        .textInputAutocapitalization(.never)
                        .accessibilityLabel("Enrolment link")
                        .onSubmit { Task { await model.readLink() } }
                    Button("Continue") { Task { await model.readLink() } }
                        .disabled(model.link.isEmpty)
                }
            }
        }
        .navigationTitle("Set up")
        .task { await model.offerManaged() }
        .onDisappear { model.dismissInvitation() }
        #if canImport(VisionKit)
        .sheet(isPresented: $isScanning) {
            QRScanner { text in
                isScanning = false
                Task { await model.invite(text) }
            }
        }
        #endif
    }
}

private struct InvitationSection: View {
    let model: AppModel
    let invitation: Invitation

    var body: some View {
        Section {
            Text("Join \(invitation.host)?")
                .font(.headline)
            Text(
                """
                Its administrator will decide which of this device's traffic and names go through that gateway. Join \
                only if you know who sent you the link.
                """)
            if let fingerprint = invitation.fingerprint {
                LabeledContent("Fingerprint of its certificate authority", value: fingerprint)
            } else {
                Text("Its certificate is checked against the public authorities.")
            }
            if model.isJoining {
                ProgressView("Joining…")
            } else {
                Button("Join") { Task { await model.join() } }
                Button("Cancel", role: .cancel) { model.dismissInvitation() }
            }
        }
    }
}
#endif
