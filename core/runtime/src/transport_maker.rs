//! Makes the transports that the engine asks for, with the system's random numbers and calendar.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weft_engine::TransportMaker;
use weft_tunnel::wireguard::{Client, ClientConfig, Dates};
use weft_tunnel::{Anchor, Entropy};

/// The system's random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// # Panics
    /// Where the system has no random numbers to give: no key made without them may be used.
    fn fill(&mut self, bytes: &mut [u8]) {
        #[expect(clippy::expect_used, reason = "a key made without random numbers must never be used")]
        getrandom::fill(bytes).expect("the system gives random numbers");
    }
}

/// This moment on both clocks.
#[must_use]
pub fn anchor() -> Anchor {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Anchor { instant: Instant::now(), unix }
}

/// Makes a WireGuard transport to the gateway of the request. A maker's transports belong to one device, one after the other.
#[must_use]
pub fn transport_maker() -> TransportMaker {
    let dates = Dates::default();
    Box::new(move |request| {
        let tunnel = &request.gateway.tunnel;
        Client::transport(
            ClientConfig {
                private_key: request.registration.private_key.clone(),
                public_key: tunnel.public_key,
                preshared_key: tunnel.preshared_key.clone(),
                candidates: tunnel.candidates().collect(),
                keepalive: tunnel.keepalive,
                allowed_ips: tunnel.allowed_ips.clone(),
                own_addresses: request.registration.addresses.clone(),
                mtu: usize::from(request.mtu),
                dates: dates.clone(),
            },
            anchor(),
            Box::new(SystemEntropy),
        )
    })
}
