//! What several tests need: certificates and servers on loopback.

mod http1;
mod pki;

pub(crate) use http1::answer_once;
pub(crate) use pki::{Pki, accept};
