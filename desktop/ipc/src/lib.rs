//! The daemon's protocol: frames, typed requests, peer identity.
//!
//! A connection is a Unix stream socket. Each side sends frames: a length of four bytes, big-endian, then that many
//! bytes of JSON, at most [`MAX_FRAME`]. The client speaks first with a [`Hello`]; the daemon answers with its own or
//! with a [`Failure`] and closes. Then the client sends [`Request`]s, one at a time, and each gets one [`Response`];
//! [`Request::Subscribe`] and [`Request::Log`] with `follow` turn the connection into a stream of responses that only
//! ends with it. A frame that is no request of the protocol gets a named [`Failure`], ends the connection and changes
//! nothing.
//!
//! # Who may speak
//! Root and the members of one group (`weft`) alone. The socket's mode says so (0660), and [`server::Connection`]
//! asks the kernel who the peer was when it connected (SO_PEERCRED, SO_PEERGROUPS) and refuses anybody else. Each
//! request says what it needs by [`Request::permission`].
//!
//! # Secrets
//! Nothing that the daemon sends holds a key or a token. Two requests carry what the user himself hands over, once:
//! [`Request::Register`] an enrolment token, [`Request::ImportRegistration`] the text of a wg-quick file. Both travel
//! as [`weft_model::Secret`], which prints nothing, and every buffer that held a frame is wiped.

pub mod client;
pub mod dns;
pub mod frame;
pub mod message;
pub mod peer;
pub mod server;
mod sys;

pub use client::{Client, ClientError};
pub use dns::{DnsFallback, DnsStatus};
pub use frame::{FrameBuffer, FrameError, MAX_FRAME};
pub use message::{
    DiagnosticSection, Diagnostics, DnsSummary, Failure, Hello, LogLine, Permission, RegistrationSummary,
    Request, Response,
};
pub use peer::{Access, PeerIdentity};
pub use server::{Connection, Listener, ServerError};

/// The number of the protocol. Both sides must have the same one: the two programs are installed together.
pub const PROTOCOL_VERSION: u32 = 1;
/// Where the daemon listens unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/weft/weftd.sock";
/// The group whose members may speak to the daemon, beside root.
pub const GROUP: &str = "weft";
