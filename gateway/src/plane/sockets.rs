//! The UDP sockets, and by which of this machine's addresses a device is answered.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustix::event::{PollFd, PollFlags};
use weft_model::DropReason;
use weft_runtime::data_plane::wait;
use weft_runtime::sockets::{SocketFactory, UdpSocket};
use weft_tunnel::{Outbox, SocketId, Transmit};

use super::counters::Direction;

/// The most ways; more addresses of this machine are answered from whichever the system chooses.
const MAX_WAYS: usize = 1024;
/// The time that a full socket is waited for.
const PATIENCE: Duration = Duration::from_millis(50);

/// A socket, and the address of this machine that a device sent to: an answer from another would not pass its NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    socket: usize,
    source: Option<IpAddr>,
}

/// The sockets. To the tunnel every way is a socket of its own.
#[derive(Debug)]
pub(super) struct Sockets {
    sockets: Vec<UdpSocket>,
    /// The way of socket id `n` is the `n`th. It only grows.
    ways: ArcSwap<Vec<Way>>,
    adding: Mutex<()>,
}

impl Sockets {
    pub(super) fn bind(locals: &[SocketAddr]) -> io::Result<Self> {
        let factory = SocketFactory::new();
        let sockets = locals.iter().map(|local| factory.tunnel_at(*local)).collect::<io::Result<Vec<_>>>()?;
        let ways = (0..sockets.len()).map(|socket| Way { socket, source: None }).collect();
        Ok(Self { sockets, ways: ArcSwap::from_pointee(ways), adding: Mutex::new(()) })
    }

    pub(super) fn all(&self) -> &[UdpSocket] {
        &self.sockets
    }

    /// The id of the way by which something came.
    pub(super) fn id(&self, socket: usize, to: Option<IpAddr>) -> SocketId {
        let wanted = Way { socket, source: to.filter(|address| !address.is_multicast()) };
        let find = |ways: &[Way]| ways.iter().position(|way| *way == wanted);
        let place = find(&self.ways.load()).unwrap_or_else(|| {
            let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
            let ways = self.ways.load_full();
            if let Some(place) = find(&ways) {
                return place;
            }
            if ways.len() >= MAX_WAYS {
                return socket;
            }
            self.ways.store(Arc::new(ways.iter().copied().chain([wanted]).collect()));
            ways.len()
        });
        SocketId(u32::try_from(place).unwrap_or_default())
    }

    /// Sends all of `outbox` and empties it. What cannot be sent is counted.
    pub(super) fn send(&self, outbox: &mut Outbox, direction: &Direction) {
        let ways = self.ways.load();
        for transmit in outbox.transmits() {
            let way = transmit.socket.and_then(|id| ways.get(usize::try_from(id.0).ok()?));
            let socket = way.and_then(|way| Some((self.sockets.get(way.socket)?, way.source)));
            let (Some((socket, source)), Some(destination)) = (socket, transmit.destination) else {
                continue;
            };
            if let Err((reason, bytes)) = send(socket, source, destination, transmit) {
                direction.drop(reason, bytes.div_ceil(transmit.segment.max(1)));
            }
        }
        drop(ways);
        outbox.clear();
    }
}

/// Sends one batch; else why not all of it, and how many bytes were left.
fn send(
    socket: &UdpSocket,
    mut source: Option<IpAddr>,
    destination: SocketAddr,
    transmit: &Transmit,
) -> Result<(), (DropReason, usize)> {
    let mut contents = transmit.contents();
    loop {
        let refused = match socket.send(destination, source, contents, transmit.segment) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        contents = contents.get(refused.sent..).unwrap_or_default();
        if refused.error.kind() == io::ErrorKind::WouldBlock {
            let mut fds = [PollFd::new(socket, PollFlags::OUT)];
            if !matches!(wait(&mut fds, Some(PATIENCE)), Ok(true)) {
                return Err((DropReason::QueueFull, contents.len()));
            }
        } else if source.take().is_none() {
            // With a source it may be that this machine has lost the address.
            return Err((DropReason::SystemError, contents.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_ours_is_a_way_of_its_own() {
        let any = "127.0.0.1:0".parse().unwrap();
        let sockets = Sockets::bind(&[any, any]).unwrap();
        let one = Some("192.0.2.1".parse().unwrap());
        let two = Some("192.0.2.2".parse().unwrap());
        let ids =
            [(0, None), (1, None), (0, one), (0, two), (1, one)].map(|(socket, to)| sockets.id(socket, to));
        let mut unique = ids.to_vec();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), ids.len());
        assert_eq!(sockets.id(0, two), ids[3]);
        assert_eq!(sockets.ways.load()[usize::try_from(ids[4].0).unwrap()], Way { socket: 1, source: one });
    }

    #[test]
    fn addresses_without_end_do_not_fill_the_memory() {
        let sockets = Sockets::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        for number in 0..5000_u32 {
            sockets.id(0, Some(std::net::Ipv4Addr::from_bits(number).into()));
        }
        assert_eq!(sockets.ways.load().len(), MAX_WAYS);
    }
}
