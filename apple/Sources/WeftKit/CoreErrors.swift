import Foundation
import WeftCore

extension ProviderFault {
    /// The core's typed error, or any other, as one that crosses between processes.
    public init(_ error: any Error) {
        switch error {
        case let fault as ProviderFault: self = fault
        case let error as WeftError: self.init(core: error)
        default: self.init(.internal, "\(error)")
        }
    }

    private init(core error: WeftError) {
        switch error {
        case .InvalidInput(let detail): self.init(.invalidInput, detail)
        case .NotRegistered(let detail): self.init(.notRegistered, detail)
        case .AlreadyRegistered(let detail): self.init(.alreadyRegistered, detail)
        case .Refused(let detail): self.init(.refused, detail)
        case .Unreachable(let detail): self.init(.unreachable, detail)
        case .Forbidden(let detail): self.init(.forbidden, detail)
        case .WrongOrder(let detail): self.init(.wrongOrder, detail)
        case .BadDescriptor(let detail), .BadPacket(let detail): self.init(.internal, detail)
        case .Closed(let detail): self.init(.closed, detail)
        case .Host(let detail): self.init(.host, detail)
        case .Internal(let detail): self.init(.internal, detail)
        }
    }
}

extension ProviderFault: LocalizedError {
    /// What the system's own settings show beside the tunnel.
    public var errorDescription: String? { detail }
}
