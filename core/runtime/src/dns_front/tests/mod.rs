//! The proxy's fronts, all asked the same, over a resolver that does as it is told.

mod bench;
mod fronts;
mod proxy;
mod sockets;
