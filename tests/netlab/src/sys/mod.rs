//! The system calls that need `unsafe`, each file holding one kind and nothing else.

pub(crate) mod ethtool;
pub(crate) mod life;
pub(crate) mod namespace;
pub(crate) mod packet;
