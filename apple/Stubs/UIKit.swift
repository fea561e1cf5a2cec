import Foundation

@MainActor
open class UIDevice: NSObject {
    public static var current: UIDevice { fatalError() }
    open var name: String { "" }
}

@MainActor
open class UIViewController: NSObject {}
