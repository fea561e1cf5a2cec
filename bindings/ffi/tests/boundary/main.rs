//! The boundary from Rust: what an app may do wrong, and what it costs. Each test has a process of its own, in which
//! threads and descriptors are counted.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod closing;
mod descriptors;
mod enrolment;
mod header;
mod hosts;
mod order;
mod packets;
mod support;
mod sys;
