//! A transport without secrets: each packet in a datagram, behind four bytes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use weft_model::DropReason;
use weft_packet::{GsoKind, Run, segment_len, write_segment};
use weft_tunnel::{Inbound, Nudge, Opened, Outbound, Outbox, PacketSink, Received, Sealed, SocketId};

const MARK: [u8; 4] = *b"weft";

/// The first socket; tests may add others.
pub(crate) const SOCKET: SocketId = SocketId(1);

/// Seals, and remembers what it saw.
pub(crate) struct Fake {
    pub(crate) path: Mutex<(SocketId, SocketAddr)>,
    kinds: [AtomicUsize; 4],
}

fn place(kind: GsoKind) -> usize {
    match kind {
        GsoKind::None => 0,
        GsoKind::TcpV4 => 1,
        GsoKind::TcpV6 => 2,
        GsoKind::Udp => 3,
    }
}

impl Fake {
    pub(crate) fn new(to: SocketAddr) -> Arc<Self> {
        Arc::new(Self { path: Mutex::new((SOCKET, to)), kinds: Default::default() })
    }

    /// How many runs of a kind it sealed.
    pub(crate) fn sealed(&self, kind: GsoKind) -> usize {
        self.kinds[place(kind)].load(Ordering::Relaxed)
    }
}

impl Outbound for Fake {
    fn seal(&self, run: Run, _: Instant, out: &mut Outbox) -> Sealed {
        let (socket, to) = *self.path.lock().unwrap();
        for index in 0..run.segments() {
            let len = segment_len(&run, index);
            let room = out.datagram(socket, to, MARK.len() + len);
            room[..MARK.len()].copy_from_slice(&MARK);
            assert_eq!(write_segment(&run, index, &mut room[MARK.len()..]), len);
        }
        self.kinds[place(run.offload().kind)].fetch_add(1, Ordering::Relaxed);
        Sealed::Done(run, Nudge::None)
    }

    fn mtu(&self) -> usize {
        1280
    }
}

pub(crate) struct FakeInbound;

impl Inbound for FakeInbound {
    fn open(&mut self, received: Received<'_>, _: Instant, sink: &mut dyn PacketSink) -> Opened {
        let Received::Datagrams { data, stride, .. } = received else { return Opened::default() };
        for datagram in data.chunks_mut(stride) {
            match datagram.split_at_mut_checked(MARK.len()) {
                Some((mark, packet)) if *mark == MARK => sink.packet(packet),
                _ => sink.dropped(DropReason::BadDatagram),
            }
        }
        Opened::default()
    }
}
