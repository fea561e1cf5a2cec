//! The system's DNS settings on Linux.

pub(super) mod watch;
