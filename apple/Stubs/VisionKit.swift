import Foundation
import UIKit

public struct VNBarcodeSymbology: Hashable, Sendable {
    public static let qr = VNBarcodeSymbology()
}

@MainActor
public final class DataScannerViewController: UIViewController {
    public enum QualityLevel: Sendable { case balanced, fast, accurate }

    public struct RecognizedDataType: Hashable, Sendable {
        public static func barcode(symbologies: [VNBarcodeSymbology] = []) -> RecognizedDataType {
            RecognizedDataType()
        }
    }

    public static var isSupported: Bool { false }
    public static var isAvailable: Bool { false }
    public weak var delegate: (any DataScannerViewControllerDelegate)?

    public init(
        recognizedDataTypes: Set<RecognizedDataType>, qualityLevel: QualityLevel = .balanced,
        recognizesMultipleItems: Bool = false, isHighFrameRateTrackingEnabled: Bool = true,
        isPinchToZoomEnabled: Bool = true, isGuidanceEnabled: Bool = true, isHighlightingEnabled: Bool = false
    ) {}

    public func startScanning() throws {}
    public func stopScanning() {}
}

@MainActor
public protocol DataScannerViewControllerDelegate: AnyObject {
    func dataScanner(
        _ dataScanner: DataScannerViewController, didAdd addedItems: [RecognizedItem], allItems: [RecognizedItem])
}

public enum RecognizedItem: Sendable {
    public struct Text: Sendable {}
    public struct Barcode: Sendable {
        public var payloadStringValue: String? { nil }
    }

    case text(Text)
    case barcode(Barcode)
}
