//! weft-gateway: the far side of Weft, for anybody to host.
//!
//! One process serves the tunnel endpoint ([`plane`]), the resolver with its policy ([`dns`]) and the device
//! orchestration API ([`api`]). The [`store`] is a file that the command line and the server share: a command
//! writes to it and then tells the server over the [`control`] socket, so a revocation holds from the moment the
//! command returns.

pub mod addresses;
pub mod api;
pub mod cli;
pub mod config;
pub mod control;
pub mod dir;
pub mod dns;
pub mod host;
pub mod pki;
pub mod plane;
pub mod registry;
pub mod run;
pub mod store;
