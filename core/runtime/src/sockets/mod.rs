//! Every socket outside the tunnel, from one factory.

mod batch;
mod factory;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod interface;
mod listen;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod mmsg;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod options;
mod readable;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod single;
mod udp;

pub use batch::{AnsweringSocket, Asked, BATCH, Batch, Sender};
pub use factory::{Protect, SocketFactory};
pub use listen::{listen_tcp, listen_udp};
pub use udp::{Arrival, Datagrams, RECEIVE_MEMORY, ReceiveBuffers, SendError, UdpSocket};
