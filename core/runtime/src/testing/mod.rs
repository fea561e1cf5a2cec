//! What several tests need: certificates and servers on loopback, and patience.

mod http1;
mod pki;

use std::time::{Duration, Instant};

pub(crate) use http1::answer_once;
pub(crate) use pki::{Pki, accept};

/// For what a stall of the machine must not make fail.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks, so that who is waited for is not kept from its processor.
const PAUSE: Duration = Duration::from_millis(1);

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(PAUSE).await;
    }
}
