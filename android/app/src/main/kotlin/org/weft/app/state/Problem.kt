package org.weft.app.state

/** What is wrong, by kind; each has its own words and advice. */
enum class ProblemKind {
    /** The user has not agreed that Weft sets up a VPN, or has withdrawn it. */
    Consent,

    /** The system or another VPN took the tunnel away. */
    Taken,

    /** Another app holds the system's always-on VPN. */
    OtherAlwaysOn,

    NotRegistered,
    AlreadyRegistered,
    Revoked,
    NoNetwork,

    /** No tunnel endpoint answers. */
    Endpoint,

    /** It was up, and the gateway has fallen silent. */
    Silent,
    InsideCheck,
    OutsideCheck,
    Settings,

    /** The system did not take the network settings. */
    Plan,
    Dns,

    /** DNS is not Weft's at the moment. */
    DnsOff,
    Gateway,
    Forbidden,

    /** The gateway said no to the token. */
    Refused,
    Unreachable,

    /** What was typed, scanned or opened is no enrolment link. */
    Link,

    /** A link was opened while another one's question is on the screen. */
    OtherLink,

    /** What was typed is no name and no address. */
    Name,

    /** The core needs the device to be set up, or to run, first. */
    NotRunning,

    /** The core refused something, for a reason of its own. */
    Call,
    Internal,
}

/** What is wrong, with the core's own line for a report. */
data class Problem(
    val kind: ProblemKind,
    val detail: String = "",
)
