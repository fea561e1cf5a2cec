//! The devices as the packet path sees them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use ipnet::IpNet;
use weft_model::profile::AddressMode;
use weft_model::{DropReason, PublicKey};
use weft_tunnel::wireguard::{PeerConfig, PeerId, Responder};

use crate::addresses::{SHARED_V4, Slot};
use crate::registry::Directory;
use crate::store::Device;

/// A device with a tunnel.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: PeerId,
    /// The device's identifier.
    pub(super) device: String,
    pub(super) slot: Slot,
    key: PublicKey,
    /// Whether it has the shared address at the moment; it may have either, and shows which by what it sends.
    shared: AtomicBool,
}

impl Peer {
    pub(super) fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    pub(super) fn note_shared(&self, shared: bool) {
        if self.is_shared() != shared {
            self.shared.store(shared, Ordering::Relaxed);
        }
    }
}

/// The devices at one moment.
#[derive(Debug, Default)]
pub(super) struct PeerTable {
    by_id: HashMap<PeerId, Arc<Peer>>,
    by_slot: HashMap<Slot, Arc<Peer>>,
}

impl PeerTable {
    pub(super) fn with_id(&self, id: PeerId) -> Option<&Arc<Peer>> {
        self.by_id.get(&id)
    }

    pub(super) fn at(&self, address: IpAddr) -> Option<&Arc<Peer>> {
        self.by_slot.get(&Slot::of(address)?)
    }
}

/// The devices.
#[derive(Default)]
pub(super) struct Peers {
    table: ArcSwap<PeerTable>,
    /// Drops of devices that are gone. Held while the table is changed.
    retired: Mutex<Vec<(DropReason, u64)>>,
}

impl Peers {
    pub(super) fn load(&self) -> Guard<Arc<PeerTable>> {
        self.table.load()
    }

    pub(super) fn all(&self) -> Vec<Arc<Peer>> {
        self.table.load().by_id.values().cloned().collect()
    }

    /// Makes the tunnel's peers those of the directory. A device that is gone or has another key is cut off before
    /// this returns.
    pub(super) fn sync(&self, responder: &Responder, directory: &Directory) {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted: HashMap<Slot, &Arc<Device>> =
            directory.active().map(|device| (device.slot, device)).collect();
        let mut table = PeerTable::default();
        for peer in self.table.load().by_id.values() {
            let stays = wanted
                .get(&peer.slot)
                .is_some_and(|device| device.id == peer.device && device.key == peer.key);
            if stays {
                table.by_id.insert(peer.id, Arc::clone(peer));
                table.by_slot.insert(peer.slot, Arc::clone(peer));
            } else {
                let now = std::time::Instant::now();
                retired
                    .extend(responder.peer_stats(peer.id, now).map(|stats| stats.drops).unwrap_or_default());
                responder.remove_peer(peer.id);
            }
        }
        for device in wanted.into_values() {
            if table.by_slot.contains_key(&device.slot) {
                continue;
            }
            let profile = directory.profile(device);
            let shared = profile.is_some_and(|profile| profile.tunnel_address == AddressMode::Shared);
            match responder.add_peer(&peer_config(device)) {
                Ok(id) => {
                    let (key, slot, name) = (device.key, device.slot, device.id.clone());
                    let peer =
                        Arc::new(Peer { id, device: name, slot, key, shared: AtomicBool::new(shared) });
                    table.by_id.insert(id, Arc::clone(&peer));
                    table.by_slot.insert(slot, peer);
                }
                Err(error) => tracing::warn!(device = device.id, %error, "a device has no tunnel"),
            }
        }
        self.table.store(Arc::new(table));
        compact(&mut retired);
    }

    /// Drops that the tunnel counted.
    pub(super) fn drops(&self, responder: &Responder) -> Vec<(DropReason, u64)> {
        let now = std::time::Instant::now();
        let mut drops = responder.drops();
        drops.extend(self.retired.lock().unwrap_or_else(PoisonError::into_inner).iter());
        for peer in self.all() {
            drops.extend(responder.peer_stats(peer.id, now).map(|stats| stats.drops).unwrap_or_default());
        }
        compact(&mut drops);
        drops
    }
}

/// Its packets may come from the shared address and from its own.
fn peer_config(device: &Device) -> PeerConfig {
    let sources = [SHARED_V4.into(), device.slot.v4().into(), device.slot.v6().into()];
    PeerConfig {
        public_key: device.key,
        preshared_key: None,
        allowed_ips: sources.map(|address: IpAddr| IpNet::from(address)).to_vec(),
        endpoint: None,
        keepalive: None,
        last_timestamp: None,
    }
}

/// One entry a reason.
fn compact(drops: &mut Vec<(DropReason, u64)>) {
    let mut sums: Vec<(DropReason, u64)> = Vec::new();
    for (reason, count) in drops.drain(..) {
        match sums.iter_mut().find(|(other, _)| *other == reason) {
            Some((_, sum)) => *sum += count,
            None => sums.push((reason, count)),
        }
    }
    *drops = sums;
}
