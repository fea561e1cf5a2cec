//! The data plane between two TUN devices, with a transport that does not encrypt.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod fake;
mod life;
mod own;
mod pair;
mod passing;
mod refusing;
mod sentinel;
mod swap;
mod sys;
mod traffic;
