#if canImport(CoreFoundation)
import CoreFoundation
import Foundation

/// The word from the extension to the app that something is new: a name without content, which any process may send and
/// which therefore says no more than "ask".
enum News {
    private static let name = "org.weft.app.news" as CFString

    static func post() {
        CFNotificationCenterPostNotification(
            CFNotificationCenterGetDarwinNotifyCenter(), CFNotificationName(name), nil, nil, true)
    }

    /// Calls `handler` for every word, on the main thread, until the process ends.
    @MainActor
    static func observe(_ handler: @escaping @MainActor () -> Void) {
        News.handler = handler
        CFNotificationCenterAddObserver(
            CFNotificationCenterGetDarwinNotifyCenter(), nil,
            { _, _, _, _, _ in Task { @MainActor in News.handler?() } }, name, nil, .deliverImmediately)
    }

    /// The centre calls a C function, which can hold nothing of its own.
    @MainActor private static var handler: (@MainActor () -> Void)?
}
#endif
