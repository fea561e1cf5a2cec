//! Every parser of outside bytes as a fuzz target.
//!
//! A target takes any bytes. It panics where a promise is broken: a parser that panics, an error of more than one
//! line, a value that does not survive being written and read again, a packet that passes and should not. What it
//! returns says whether the bytes were taken, so that the corpora can be held to their names.
//!
//! | who | how |
//! |---|---|
//! | `cargo test -p weft-fuzz` | replays `corpus/TARGET/*`, and a bounded number of seeded mutations of each file |
//! | `build-scripts/fuzz` | libFuzzer (`libfuzzer/`, outside the workspace), which grows the corpora |
//! | `WEFT_WRITE_CORPUS=1 cargo test -p weft-fuzz --test corpus` | writes the first seeds anew |
//!
//! Files named `ok-*` must be taken, files named `bad-*` must be refused; any others only must not panic.

mod dns;
mod dns_engine;
mod dns_front;
mod dns_message;
mod gateway;
mod http2;
mod ipc;
mod link;
mod model;
mod netstack;
mod packet;
mod policy;
mod queue;
mod resolver;
mod script;
mod wireguard;

pub use dns::{dns_answer, dns_query};
pub use dns_engine::dns_engine;
pub use dns_front::dns_front;
pub use dns_message::{dns_cache, dns_message_edit};
pub use gateway::{gateway_answer, gateway_query};
pub use http2::http2_answers;
pub use ipc::ipc_frame;
pub use link::enrolment_link;
pub use model::{orchestration_answer, profile_json, wg_quick};
pub use netstack::netstack_packet;
pub use packet::{packet_coalesce, packet_icmp, packet_split, packet_translate, packet_view};
pub use policy::{policy_plan, policy_verdict};
pub use queue::packet_queue;
pub use resolver::{bus_message, resolv_conf};
pub use wireguard::wireguard_session;

/// What became of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// They were what the target takes, all of them.
    Taken,
    /// Some were not, and were refused by name or counted.
    Refused,
}

impl From<bool> for Outcome {
    fn from(taken: bool) -> Self {
        if taken { Self::Taken } else { Self::Refused }
    }
}

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: of its function, of its corpus, and of its libFuzzer program.
    pub name: &'static str,
    /// What is run.
    pub run: fn(&[u8]) -> Outcome,
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        /// Every target.
        pub const TARGETS: &[Target] = &[$(Target { name: stringify!($name), run: $name }),*];
    };
}

targets! {
    bus_message,
    dns_answer,
    dns_cache,
    dns_engine,
    dns_front,
    dns_message_edit,
    dns_query,
    enrolment_link,
    gateway_answer,
    gateway_query,
    http2_answers,
    ipc_frame,
    netstack_packet,
    orchestration_answer,
    packet_coalesce,
    packet_icmp,
    packet_queue,
    packet_split,
    packet_translate,
    packet_view,
    policy_plan,
    policy_verdict,
    profile_json,
    resolv_conf,
    wg_quick,
    wireguard_session,
}

/// Panics where an error's text is more than one line, or longer than anybody reads.
fn assert_one_line(error: &dyn std::fmt::Display) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains(['\n', '\r']) && text.len() < 1000, "not one line: {text:?}");
}
