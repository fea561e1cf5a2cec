//! The thread that answers handshakes and keeps the tunnel's deadlines.

use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use weft_runtime::data_plane::wait;
use weft_tunnel::{Nudge, Outbox};

use super::Shared;

pub(super) fn run(shared: &Shared) {
    let mut outbox = Outbox::new();
    while !shared.stopped() {
        // Before the work: what is nudged meanwhile is seen to in the next round.
        shared.control_waker.clear();
        let more = shared.responder.handle_control(Instant::now(), &mut outbox);
        shared.sockets.send(&mut outbox, &shared.counters.outward);
        if more == Nudge::Control {
            continue;
        }
        let deadline = shared.responder.poll_timeout();
        let limit = deadline.map(|deadline| deadline.at.saturating_duration_since(Instant::now()));
        let mut fds = [PollFd::new(&shared.control_waker, PollFlags::IN)];
        if let Err(error) = wait(&mut fds, limit) {
            return shared.fail("waiting for deadlines", &error);
        }
    }
}
