import Foundation
import WeftKit

/// The reply to a message that `send` hands to the extension. The system does not tell of one that ends over a message, or
/// never answers.
@MainActor
public func reply(
    within limit: Duration, to send: (@escaping @Sendable (Data?) -> Void) throws -> Void
) async throws -> Data {
    let outcome: Result<Data?, ProviderFault> = await withCheckedContinuation { continuation in
        let once = Once(continuation)
        let timer = Task {
            try await Task.sleep(for: limit)
            once.resume(.failure(ProviderFault(.closed, "the tunnel did not answer within \(limit)")))
        }
        do {
            try send { reply in
                timer.cancel()
                once.resume(.success(reply))
            }
        } catch {
            timer.cancel()
            once.resume(.failure(ProviderFault(error)))
        }
    }
    guard let reply = try outcome.get() else { throw ProviderFault(.closed, "the tunnel did not answer") }
    return reply
}
