//! WireGuard, by its paper ("WireGuard: Next Generation Kernel Network Tunnel", Donenfeld): the handshake
//! Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, its cookies, its sessions and its timers.
//!
//! [`Client`] is one tunnel to one far side, behind the [`Transport`](crate::Transport) seam. [`Responder`] serves
//! many peers. Both are made of the same parts: a link (the data path of one peer, shared by threads), a negotiator
//! (its handshakes) and activity (the moments that the timers derive from).

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

mod campaign;
mod candidates;
mod client;
mod control;
mod cookie;
mod crypto;
mod handshake;
mod inbox;
mod link;
mod message;
mod negotiator;
mod packet;
mod replay;
mod responder;
mod session;
mod sockets;
mod timers;

pub use client::{Client, ClientConfig};
pub use handshake::{Dates, Timestamp};
pub use responder::{AddPeerError, PeerConfig, PeerId, PeerSink, PeerStats, Responder, ResponderConfig};

/// Bytes that a datagram is longer than the packet in it, without the packet's padding.
pub const OVERHEAD: usize = message::DATA_OVERHEAD;

/// Locks; what a panicked holder left behind is whole, since no holder leaves a change half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
