//! The control socket, `control.sock` in the state directory: how the command line reaches the running server.
//!
//! One line of JSON each way, then the connection ends. Commands change the store themselves; the server is only
//! told to read it again, so a command works just the same while no server runs.

mod client;
mod server;

use serde::{Deserialize, Serialize};

use crate::dns::DnsStats;

pub use client::{ControlError, call};
pub use server::{Handler, serve};

/// The longest line of a request, in bytes.
const MAX_REQUEST: usize = 4096;

/// What the server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "request")]
pub enum Request {
    /// To read the store again. Answered once every part of the server knows of what has changed.
    Reload,
    /// How it is.
    Status,
}

/// What the server answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Answer {
    /// It is done.
    Done,
    /// How it is.
    Status(Box<Status>),
    /// It failed.
    Failed {
        /// Why, in one line.
        message: String,
    },
}

/// How a running gateway is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// Seconds since it was started.
    pub uptime: u64,
    /// Devices that may use it.
    pub devices: usize,
    /// Devices with a tunnel that was shaken hands for within the last three minutes.
    pub connected: usize,
    /// Devices that were revoked.
    pub revoked: usize,
    /// Packets from and to devices.
    pub tunnel: TunnelCounters,
    /// What the resolver did.
    pub dns: DnsStats,
}

/// Packets from and to devices, since the start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TunnelCounters {
    /// IP packets that came from devices.
    pub received_packets: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// IP packets that went to devices.
    pub sent_packets: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Drops by reason; reasons without a drop are left out.
    pub drops: Vec<(weft_model::DropReason, u64)>,
}
