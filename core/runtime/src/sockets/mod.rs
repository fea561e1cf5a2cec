//! Every socket outside the tunnel, from one factory.

mod factory;
mod listen;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod options;
mod udp;

pub use factory::{Protect, SocketFactory};
pub use listen::{listen_tcp, listen_udp};
pub use udp::{Arrival, Datagrams, RECEIVE_MEMORY, ReceiveBuffers, SendError, UdpSocket};
