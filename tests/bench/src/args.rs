//! What the user asked for.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::boundary::BoundaryArgs;
use crate::dns::DnsArgs;
use crate::tunnel::TunnelArgs;

/// How long a quick run waits for a quiet machine at most, in seconds.
const QUICK_PATIENCE: u32 = 20;

/// Measures Weft beside what users would pick instead, in turns: tunnels, DNS proxies and the boundary to phones,
/// all where none is named.
#[derive(Clone, Debug, Parser)]
#[command(name = "weft-bench", version)]
pub(crate) struct Args {
    /// One short round, to see that everything works.
    #[arg(long, global = true)]
    pub(crate) quick: bool,
    /// How long to spend, altogether and at most, on waiting for a quiet machine and on repeating what was
    /// disturbed, in seconds.
    #[arg(long, default_value_t = 240, value_name = "SECONDS", global = true)]
    pub(crate) patience: u32,
    /// Where to write the figures.
    #[arg(long, default_value = "target/bench/results.json", value_name = "FILE", global = true)]
    pub(crate) output: PathBuf,
    #[command(subcommand)]
    kind: Option<Kind>,
}

/// What is measured.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Kind {
    /// Tunnels, each at both ends.
    Tunnel(TunnelArgs),
    /// DNS proxies on the device.
    Dns(DnsArgs),
    /// The boundary to phones.
    Boundary(BoundaryArgs),
}

impl Args {
    /// What is wanted, in its order.
    #[must_use]
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        match &self.kind {
            Some(kind) => vec![kind.clone()],
            None => vec![
                Kind::Tunnel(TunnelArgs::default()),
                Kind::Dns(DnsArgs::default()),
                Kind::Boundary(BoundaryArgs::default()),
            ],
        }
    }

    /// How long to spend on waiting and repeating.
    #[must_use]
    pub(crate) fn patience(&self) -> Duration {
        let seconds = if self.quick { self.patience.min(QUICK_PATIENCE) } else { self.patience };
        Duration::from_secs(u64::from(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &str) -> Args {
        Args::try_parse_from(std::iter::once("weft-bench").chain(words.split_whitespace())).unwrap()
    }

    #[test]
    fn every_kind_is_measured_where_none_is_named() {
        assert!(matches!(args("").kinds()[..], [Kind::Tunnel(_), Kind::Dns(_), Kind::Boundary(_)]));
        assert!(matches!(args("dns --quick").kinds()[..], [Kind::Dns(_)]));
        assert!(matches!(args("--quick tunnel").kinds()[..], [Kind::Tunnel(_)]));
        assert!(matches!(args("boundary --rows python").kinds()[..], [Kind::Boundary(_)]));
    }

    #[test]
    fn quick_runs_have_little_patience_wherever_the_word_stands() {
        for words in ["--quick", "dns --quick", "--quick dns"] {
            assert_eq!(args(words).patience(), Duration::from_secs(QUICK_PATIENCE.into()));
        }
        assert_eq!(args("tunnel --patience 7 --quick").patience(), Duration::from_secs(7));
    }
}
