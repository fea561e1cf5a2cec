//! Sockets, TUN input and output, DoH, orchestration and threads around the engine; Session for the shells.

pub mod data_plane;
pub mod flows;
pub mod pool;
pub mod sockets;
pub mod tun;
