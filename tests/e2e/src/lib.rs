//! Weft end to end in the netlab: the programs as a user starts them, on hosts of the lab.

mod device;
pub mod dns;
mod gateway;
mod programs;
mod setup;

pub use device::{Device, Traces};
pub use gateway::{GatewayServer, INNER_RESOLVER};
pub use programs::{program, weft, weft_gateway, weftd};
pub use setup::Setup;

use std::time::Duration;

/// How long a step of a test may take before it counts as hung. Generous: the machine may be busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(30);
