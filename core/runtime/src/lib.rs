//! Sockets, TUN input and output, DoH, orchestration and threads around the engine; Session for the shells.

pub mod checks;
pub mod data_plane;
pub mod dns_front;
pub mod doh;
pub mod flows;
pub mod http;
mod lock;
pub mod orchestration;
mod panic;
pub mod pool;
pub mod session;
mod sleep;
pub mod sockets;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod transport_maker;
pub mod tun;

pub use panic::panic_message;
