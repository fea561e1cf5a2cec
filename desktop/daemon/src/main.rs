//! weftd: the daemon.

fn main() {}
