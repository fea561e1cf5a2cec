//! weftd: the daemon.

mod applier;
mod journal;
mod state;
mod target;
#[cfg(test)]
mod testing;

fn main() {}
