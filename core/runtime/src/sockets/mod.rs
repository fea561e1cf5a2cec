//! Every socket outside the tunnel, from one factory.

mod factory;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod options;
mod udp;

pub use factory::{Protect, SocketFactory};
pub use udp::{Arrival, Datagrams, RECEIVE_MEMORY, ReceiveBuffers, SendError, UdpSocket};
