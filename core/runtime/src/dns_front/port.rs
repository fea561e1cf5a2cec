//! Joins the DNS front of packets to whichever tunnel is up: each comes and goes without the other.

use std::sync::{Mutex, Weak};

use arc_swap::ArcSwapOption;
use tokio::sync::mpsc;
use weft_packet::Run;

use crate::data_plane::DataPlane;
use crate::lock::lock;

/// Where the device's packets for the sentinel addresses go, and where the answers go back.
#[derive(Default)]
pub(crate) struct PacketPort {
    front: ArcSwapOption<mpsc::Sender<Vec<u8>>>,
    plane: Mutex<Weak<DataPlane>>,
}

impl PacketPort {
    pub(crate) fn set_front(&self, packets: mpsc::Sender<Vec<u8>>) {
        self.front.store(Some(packets.into()));
    }

    pub(crate) fn set_plane(&self, plane: Weak<DataPlane>) {
        *lock(&self.plane) = plane;
    }

    /// Takes a packet of the device's. False where there is no front, or it has too many.
    pub(crate) fn take(&self, packet: Vec<u8>) -> bool {
        self.front.load().as_ref().is_some_and(|front| front.try_send(packet).is_ok())
    }

    /// Hands an answer to the device; without a tunnel it is lost.
    pub(crate) fn write(&self, run: Run) {
        let plane = lock(&self.plane).upgrade();
        if let Some(plane) = plane {
            plane.write_own(run);
        }
    }
}
