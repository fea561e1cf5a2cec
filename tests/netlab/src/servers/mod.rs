//! Servers of the lab's own: threads of this process with their sockets inside a host.

mod dns;
mod dns_codec;
mod web;

pub use dns::{Behaviour, DnsServer, Query};
pub use dns_codec::{A, AAAA, CNAME, Record, TXT};
pub use web::{Request, WebServer};

use std::net::{IpAddr, SocketAddr};

/// The address as a person would write it: an IPv4 client of a socket of both families is an IPv4 address.
fn plain(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}
