//! The core as phones hold it: a session, its packets and its host, across UniFFI, with a C function for packets beside
//! it.
//!
//! # The surface
//!
//! - [`Session`] is the whole core, running. Its events are pulled by [`Session::next_event`]; a plan among them is
//!   applied by the app and acknowledged. Everything that may wait is async, and needs no event loop of the app's.
//! - [`Host`] is what the core asks of the app: four calls, on a thread of their own, each with a deadline.
//! - Packets go by [`Session::attach_tun`], which takes a TUN descriptor over from the first line, or by
//!   [`Session::packet_flow`], batch by batch; `include/weft_packets.h` has the same without any allocation.
//! - [`parse_enrolment_link`], [`init_logging`], [`recent_log`] and [`version`] stand by themselves.
//!
//! # What holds
//!
//! - A descriptor that is handed in is closed by the core exactly once, on errors too; a number that is no open
//!   descriptor is never closed.
//! - A panic is an error of the call it happened in and [`Event::Panicked`]; one of the core's own control thread is
//!   that event, and then the end of the events. It never ends the app.
//! - A host that throws is an error; one that panics too; one that never returns costs one thread (and, in `protect`,
//!   one descriptor) until it does, and every later call of the host fails at once.
//! - Calls out of order are errors that say so, or do what their documentation says.
//! - Sessions know nothing of each other: a process may have several, each with threads of its own. (A system gives an
//!   app one tunnel; two sessions that both want it is for the app to avoid.) Logs are the process's.
//! - Dropping an object without closing it closes it, in the background.

mod c_abi;
mod descriptor;
mod enrol;
mod errors;
mod host;
mod keeper;
mod link;
mod logging;
mod manage;
mod packets;
mod panic;
mod records;
mod session;
mod text;
mod warnings;
mod worker;

pub use c_abi::{
    WEFT_E_BAD_PACKET, WEFT_E_CLOSED, WEFT_E_INTERNAL, WEFT_E_INVALID, WEFT_E_NO_ROOM, weft_packets_receive,
    weft_packets_send,
};
pub use errors::{HostError, WeftError};
pub use host::{ANSWER_WITHIN, Host, PROTECT_WITHIN};
pub use link::{MAX_LINK, MAX_TOKEN, parse_enrolment_link};
pub use logging::{LogLevel, init_logging, recent_log};
pub use packets::{PacketBatch, PacketFlow};
pub use records::*;
pub use session::Session;

uniffi::setup_scaffolding!();

/// The core's version, as `MAJOR.MINOR.PATCH`.
#[uniffi::export]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}
