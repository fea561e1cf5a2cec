#if canImport(VisionKit) && canImport(SwiftUI)
import SwiftUI
import VisionKit

/// The system's scanner, for QR codes alone.
struct QRScanner: UIViewControllerRepresentable {
    let found: @MainActor (String) -> Void

    /// False without a camera, or where the user keeps it from the app.
    @MainActor static var isAvailable: Bool {
        DataScannerViewController.isSupported && DataScannerViewController.isAvailable
    }

    func makeUIViewController(context: Context) -> DataScannerViewController {
        let scanner = DataScannerViewController(
            recognizedDataTypes: [.barcode(symbologies: [.qr])], isHighlightingEnabled: true)
        scanner.delegate = context.coordinator
        return scanner
    }

    func updateUIViewController(_ scanner: DataScannerViewController, context: Context) {
        // Fails where the camera is in another app's hands: the view stays dark, and the link can still be pasted.
        try? scanner.startScanning()
    }

    static func dismantleUIViewController(_ scanner: DataScannerViewController, coordinator: Coordinator) {
        scanner.stopScanning()
    }

    func makeCoordinator() -> Coordinator { Coordinator(found) }

    @MainActor
    final class Coordinator: NSObject, DataScannerViewControllerDelegate {
        private let found: @MainActor (String) -> Void
        private var isDone = false

        init(_ found: @escaping @MainActor (String) -> Void) { self.found = found }

        func dataScanner(
            _ scanner: DataScannerViewController, didAdd items: [RecognizedItem], allItems: [RecognizedItem]
        ) {
            for case .barcode(let code) in items {
                guard !isDone, let text = code.payloadStringValue else { continue }
                isDone = true
                found(text)
            }
        }
    }
}
#endif
