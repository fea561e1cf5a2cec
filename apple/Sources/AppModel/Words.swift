import WeftKit

extension AppModel {
    /// The state as a heading.
    public var heading: String {
        guard isLoaded else { return "One moment" }
        guard member != nil else { return "Not set up" }
        switch connection.state {
        case .disconnected: return "Off"
        case .connecting: return "Connecting"
        case .connected: return "Connected"
        case .reconnecting: return "Blocked"
        case .disconnecting: return "Switching off"
        case .unable: return "Cannot connect"
        }
    }

    /// The state in a sentence or two.
    public var sentence: String {
        guard isLoaded else { return "Asking for the state of the connection." }
        guard let whose = member?.organisation else {
            return """
                Weft connects this device to a gateway of your organisation. Its administrator gives you a QR code or \
                a link.
                """
        }
        switch connection.state {
        case .disconnected: return "Your device uses the network as if Weft were not there."
        case .connecting: return "\(connection.reason). What belongs to \(whose) waits until the connection is up."
        case .connected where connection.mode == .dnsOnly:
            return "Names are looked up by the gateway of \(whose). Traffic goes its usual way."
        case .connected: return "What belongs to \(whose) goes through its gateway."
        case .reconnecting:
            return """
                The connection is lost. What belongs to \(whose) is held back, so that nothing of it leaves \
                unprotected. Weft goes on trying.
                """
        case .disconnecting: return "Closing the connection."
        case .unable: return "What belongs to \(whose) is held back until this is put right."
        }
    }

    /// What is wrong with the connection, and what to do; nothing = nothing is.
    public var advice: Advice? { connection.problem.map(Advice.init) }
}

/// What is wrong and what to do, as a person reads it, with the core's own line for a report.
public struct Advice: Equatable, Sendable {
    public let title: String
    public let action: String
    public let report: String

    public init(_ problem: Problem) {
        report = problem.text
        (title, action) =
            switch problem.code {
            case "registration_missing":
                ("This device belongs to no organisation.", "Set it up with a QR code or link from your administrator.")
            case "registration_revoked":
                (
                    "Your organisation has removed this device.",
                    "Ask your administrator for a new QR code or link, and set the device up again."
                )
            case "no_network":
                (
                    "This device has no network.",
                    "Check Wi-Fi, mobile data and flight mode. Weft connects by itself when a network is back."
                )
            case "endpoint_unreachable":
                ("The gateway does not answer.", "This network may block it (UDP). Try another network.")
            case "inside_check":
                (
                    "The gateway answers, but nothing passes through the tunnel.",
                    "This is for your administrator: the gateway's resolver or its own connection is down."
                )
            case "outside_check":
                (
                    "The network does not let Weft reach the gateway.",
                    "If this is a hotel or café network, open a browser and sign in first."
                )
            case "settings":
                ("The settings from your organisation cannot be carried out.", "This is for your administrator.")
            case "plan_failed":
                ("The system did not accept the network settings.", "Switch off and on again.")
            case "forbidden": ("Your administrator does not allow this.", "Ask them if you need it.")
            case "orchestration": ("The gateway has a problem.", "Try again in some minutes.")
            default:
                (
                    "Something in Weft failed.",
                    "Switch off and on again, and share the log with your administrator."
                )
            }
    }

    public init(_ fault: ProviderFault) {
        report = fault.detail
        (title, action) =
            switch fault.kind {
            case .invalidInput:
                ("That cannot be used.", "Copy the link or the name whole, or scan the QR code.")
            case .notRegistered:
                ("This device belongs to no organisation.", "Set it up with a QR code or link from your administrator.")
            case .alreadyRegistered:
                ("This device belongs to an organisation already.", "Leave the present one first, in the settings.")
            case .refused:
                (
                    "The gateway refused.",
                    "The link may have been used up, or be too old. Ask your administrator for a new one."
                )
            case .unreachable:
                ("The gateway cannot be reached.", "Check that this device has a network, and the link's gateway.")
            case .forbidden: ("Your administrator does not allow this.", "Ask them if you need it.")
            case .wrongOrder, .closed: ("This is not possible at the moment.", "Switch on, and try again.")
            case .host: ("The system did not let Weft do it.", "Switch off and on again.")
            case .message: ("The app and its tunnel do not fit together.", "Switch the tunnel off and on.")
            case .otherLink:
                (
                    "Another link was opened.",
                    "Nothing of it is shown here. Cancel this one first, then open it again."
                )
            case .internal:
                (
                    "Something in Weft failed.",
                    "Switch off and on again, and share the log with your administrator."
                )
            }
    }
}

extension Mode {
    /// As a person reads it, and what it does.
    public var words: (title: String, text: String) {
        switch self {
        case .trafficAndDns:
            ("Traffic and names", "Names are looked up by the gateway, and traffic goes through the tunnel")
        case .dnsOnly: ("Names only", "Names are looked up by the gateway; traffic goes its usual way")
        case .trafficOnly:
            ("Traffic only", "Traffic goes through the tunnel; names are looked up as without Weft")
        case .localProxy: ("Local proxy", "Only what apps send to a proxy on this device")
        case .postureOnly: ("Posture only", "Neither; the device only reports its state")
        }
    }
}
