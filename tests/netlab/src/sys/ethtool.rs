//! Switching an interface's offloads off, so that every frame on it is one that could be on a wire.

use std::io::Error;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketType, socket};

/// Rx checksum, tx checksum, scatter-gather, TSO, GSO, GRO: the `ETHTOOL_S*` commands of `linux/ethtool.h`.
const SWITCHES: [u32; 6] = [0x15, 0x17, 0x19, 0x1f, 0x24, 0x2c];

#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Switches the offloads of `interface`, in the calling thread's network namespace, on or off.
pub(crate) fn set_offloads(interface: &str, on: bool) -> Result<(), Error> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    for command in SWITCHES {
        let mut value = Value { command, data: u32::from(on) };
        // SAFETY: ifreq is plain old data, for which all zeroes is a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (place, byte) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(interface.bytes()) {
            *place = byte.cast_signed();
        }
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        // SAFETY: the kernel reads an ifreq whose data points to an ethtool_value; both outlive the call.
        let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
        // Not every kind of interface has every switch.
        if answer < 0 && Error::last_os_error().raw_os_error() != Some(libc::EOPNOTSUPP) {
            return Err(Error::last_os_error());
        }
    }
    Ok(())
}
