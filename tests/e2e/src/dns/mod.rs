//! DNS as a program on a host sees it, byte for byte: messages, and servers that nobody here wrote.

mod ask;
mod foreign;
mod message;
mod upstream;

pub use ask::{ask_tcp, ask_udp, resolve};
pub use foreign::{AUTHORITY, DOH, ForeignDoh, bind, plug};
pub use message::{Essence, Message, Query, Record, kind, wire_name};
