//! A whole session in a network of its own: its tunnel leads to a WireGuard responder, its shell is the test.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod desktop;
mod gateway;
mod memory;
mod phone;
#[path = "../data_plane/sys.rs"]
mod sys;
