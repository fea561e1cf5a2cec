//! Who has a port open, or a TUN device: best effort, out of /proc, so that an error may name the culprit.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use rustix::io::Errno;
use weft_model::{PortHolder, Protocol};

use crate::error::PlatformError;

/// The calling thread's own network, which may differ from that of the process.
const TABLES: [(&str, Protocol); 4] = [
    ("/proc/thread-self/net/udp", Protocol::Udp),
    ("/proc/thread-self/net/udp6", Protocol::Udp),
    ("/proc/thread-self/net/tcp", Protocol::Tcp),
    ("/proc/thread-self/net/tcp6", Protocol::Tcp),
];

/// The state of a TCP socket that listens, and of a UDP socket that is not connected.
const TCP_LISTEN: &str = "0A";
const UDP_UNCONNECTED: &str = "07";

/// Who keeps sockets from being bound to `port` on `address`: what is bound to that very address, or to all of them.
#[must_use]
pub fn who_holds_port(port: u16, address: IpAddr) -> Option<PortHolder> {
    TABLES.into_iter().find_map(|(path, protocol)| {
        let table = fs::read_to_string(path).ok()?;
        let (local, inode) = table
            .lines()
            .skip(1)
            .filter_map(|line| parse_line(line, protocol))
            .find(|(local, _)| local.port() == port && stands_in_the_way(local.ip(), address))?;
        Some(PortHolder { protocol, local, process: who_holds_socket(inode) })
    })
}

/// Whether a port can be opened, both UDP and TCP. An address that is not the device's own is left out.
pub(super) fn preflight(port: u16, address: IpAddr) -> Result<(), PlatformError> {
    let local = SocketAddr::new(address, port);
    let attempts = [
        (Protocol::Udp, UdpSocket::bind(local).map(drop)),
        (Protocol::Tcp, TcpListener::bind(local).map(drop)),
    ];
    for (protocol, attempt) in attempts {
        let Err(error) = attempt else { continue };
        match Errno::from_io_error(&error) {
            Some(Errno::ADDRINUSE) => {
                let unknown = PortHolder { protocol, local, process: None };
                return Err(PlatformError::PortHeld(who_holds_port(port, address).unwrap_or(unknown)));
            }
            Some(Errno::ACCESS | Errno::PERM) => return Err(PlatformError::PortNotPrivileged { port }),
            // Without the address, or without its whole family, nobody else can have the port there.
            Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => {}
            _ => return Err(PlatformError::system(format!("opening {local}"), error)),
        }
    }
    Ok(())
}

/// A socket bound to all IPv6 addresses usually takes IPv4 too.
fn stands_in_the_way(bound: IpAddr, wanted: IpAddr) -> bool {
    let bound = bound.to_canonical();
    bound == wanted || (bound.is_unspecified() && (bound.is_ipv6() || wanted.is_ipv4()))
}

/// A line of /proc/net/{tcp,udp}{,6}: the local address and the inode of a socket that others cannot be bound beside.
fn parse_line(line: &str, protocol: Protocol) -> Option<(SocketAddr, u64)> {
    let mut columns = line.split_ascii_whitespace();
    let (address, port) = columns.nth(1)?.split_once(':')?;
    let state = columns.nth(1)?;
    let inode = columns.nth(5)?.parse().ok()?;
    let wanted = match protocol {
        Protocol::Tcp => TCP_LISTEN,
        Protocol::Udp => UDP_UNCONNECTED,
    };
    let local = SocketAddr::new(parse_address(address)?, u16::from_str_radix(port, 16).ok()?);
    (state == wanted).then_some((local, inode))
}

/// An address as /proc/net writes it: words of 32 bits, each in the order of this machine.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |index: usize| {
        let digits = text.get(index * 8..index * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut octets = [0; 16];
            for (index, to) in octets.chunks_exact_mut(4).enumerate() {
                to.copy_from_slice(&word(index)?);
            }
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

fn who_holds_socket(inode: u64) -> Option<(String, u32)> {
    let wanted = format!("socket:[{inode}]");
    find_process(|process| {
        let descriptors = fs::read_dir(process.join("fd")).ok();
        descriptors.into_iter().flatten().flatten().any(|descriptor| {
            fs::read_link(descriptor.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
        })
    })
}

/// The process that has the TUN device of this name open.
pub(super) fn who_holds_tun(name: &str) -> Option<(String, u32)> {
    find_process(|process| {
        let descriptors = fs::read_dir(process.join("fdinfo")).ok();
        descriptors.into_iter().flatten().flatten().any(|descriptor| {
            let about = fs::read_to_string(descriptor.path()).unwrap_or_default();
            about
                .lines()
                .any(|line| line.strip_prefix("iff:").is_some_and(|interface| interface.trim() == name))
        })
    })
}

fn find_process(is_it: impl Fn(&Path) -> bool) -> Option<(String, u32)> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let path = entry.path();
        if !is_it(&path) {
            return None;
        }
        let name = fs::read_to_string(path.join("comm")).ok()?;
        Some((name.trim_end().to_owned(), pid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_are_read_and_only_sockets_that_stand_in_the_way() {
        let cases = [
            (
                "  86: 0202007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 23001 2 0 0",
                Protocol::Udp,
                Some(("127.0.2.2:53", 23001)),
            ),
            (
                "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 777 1 0 100",
                Protocol::Tcp,
                Some(("0.0.0.0:22", 777)),
            ),
            ("   1: B80D01FD00001111:0035 0:0 0A 0:0 00:0 0 0 0 42 1", Protocol::Tcp, None),
            (
                "   1: B80D01FD000011110000000002000000:0035 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 42 1",
                Protocol::Tcp,
                Some(("[fd01:db8:1111::2]:53", 42)),
            ),
            (
                "   2: 0100007F:0035 0100007F:D431 01 00000000:00000000 00:00000000 00000000  0  0 9 1 0 20 4 30 10 -1",
                Protocol::Tcp,
                None,
            ),
            ("", Protocol::Tcp, None),
            ("a b c d e f g h i j", Protocol::Udp, None),
        ];
        for (line, protocol, expected) in cases {
            let expected = expected.map(|(local, inode)| (local.parse::<SocketAddr>().unwrap(), inode));
            assert_eq!(parse_line(line, protocol), expected, "{line}");
        }
    }

    #[test]
    fn what_is_bound_to_all_addresses_stands_in_the_way_too() {
        let cases = [
            ("127.0.2.2", "127.0.2.2", true),
            ("0.0.0.0", "127.0.2.2", true),
            ("::", "127.0.2.2", true),
            ("::", "fd01:db8:1111::2", true),
            ("::ffff:127.0.2.2", "127.0.2.2", true),
            ("0.0.0.0", "fd01:db8:1111::2", false),
            ("127.0.0.53", "127.0.2.2", false),
        ];
        for (bound, wanted, expected) in cases {
            let (bound, wanted) = (bound.parse().unwrap(), wanted.parse().unwrap());
            assert_eq!(stands_in_the_way(bound, wanted), expected, "{bound} and {wanted}");
        }
    }

    #[test]
    fn an_open_port_is_named() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let local = socket.local_addr().unwrap();
        let holder = who_holds_port(local.port(), local.ip()).unwrap();
        assert_eq!((holder.protocol, holder.local), (Protocol::Udp, local));
        let (name, pid) = holder.process.clone().unwrap();
        assert_eq!(pid, std::process::id());
        assert_eq!(holder.to_string(), format!("UDP {local} is held by {name} (process {pid})"));
    }
}
