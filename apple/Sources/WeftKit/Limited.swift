import Foundation

/// Waits for `work`, for `limit` at most; false where the time ran out, and then the work goes on unobserved: a call into
/// the core cannot be given up half-way.
public func finishes(within limit: Duration, _ work: @escaping @Sendable () async -> Void) async -> Bool {
    await withCheckedContinuation { continuation in
        let once = Once(continuation)
        let timer = Task {
            try await Task.sleep(for: limit)
            once.resume(false)
        }
        Task {
            await work()
            timer.cancel()
            once.resume(true)
        }
    }
}

/// A continuation that the first of several may resume.
public final class Once<Value: Sendable>: @unchecked Sendable {
    private let lock = NSLock()
    private var continuation: CheckedContinuation<Value, Never>?

    public init(_ continuation: CheckedContinuation<Value, Never>) { self.continuation = continuation }

    public func resume(_ value: Value) {
        let waiting = lock.withLock {
            defer { continuation = nil }
            return continuation
        }
        waiting?.resume(returning: value)
    }
}
