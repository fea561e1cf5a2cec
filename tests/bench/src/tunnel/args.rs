//! What the user asked for of the tunnels.

use clap::{Args, ValueEnum};

use super::contender::Contender;

const ROUNDS: u32 = 3;
const SECONDS: u32 = 3;
const IDLE_SECONDS: u32 = 30;

/// How the tunnels are measured.
#[derive(Clone, Debug, Args)]
pub(crate) struct TunnelArgs {
    /// How often each figure is measured; the median counts.
    #[arg(long, default_value_t = ROUNDS, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// How long each transfer takes, in seconds.
    #[arg(long, default_value_t = SECONDS, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) seconds: u32,
    /// How long the idle tunnels are watched, in seconds.
    #[arg(long, default_value_t = IDLE_SECONDS, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) idle_seconds: u32,
    /// Measures this tunnel or kind of figure alone; may be given several times.
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) only: Vec<Only>,
    /// TCP's congestion control at both ends.
    #[arg(long, default_value = "cubic", value_name = "NAME")]
    pub(crate) congestion: String,
}

/// What `--only` may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Only {
    /// Weft's daemon and gateway.
    Weft,
    /// Weft's data plane alone, without daemon and gateway.
    TunnelPair,
    /// The Go implementation by WireGuard's authors.
    WireguardGo,
    /// Mullvad's.
    Gotatun,
    /// Cloudflare's.
    Boringtun,
    /// Bytes a second, their cost in processor time, and the memory they took.
    Throughput,
    /// Memory and wake-ups of connected tunnels that nobody uses.
    Idle,
    /// Round-trip times, idle and beside a transfer.
    Latency,
}

impl Only {
    fn contender(self) -> Option<Contender> {
        use netlab::peers::Implementation::{Boringtun, Gotatun, WireGuardGo};
        match self {
            Self::Weft => Some(Contender::Weft),
            Self::TunnelPair => Some(Contender::TunnelPair),
            Self::WireguardGo => Some(Contender::Peer(WireGuardGo)),
            Self::Gotatun => Some(Contender::Peer(Gotatun)),
            Self::Boringtun => Some(Contender::Peer(Boringtun)),
            Self::Throughput | Self::Idle | Self::Latency => None,
        }
    }
}

impl Default for TunnelArgs {
    fn default() -> Self {
        let congestion = "cubic".to_owned();
        Self { rounds: ROUNDS, seconds: SECONDS, idle_seconds: IDLE_SECONDS, only: Vec::new(), congestion }
    }
}

impl TunnelArgs {
    /// Shortens everything where `--quick` asks for it.
    #[must_use]
    pub(crate) fn settled(mut self, quick: bool) -> Self {
        if quick {
            self.rounds = 1;
            self.seconds = self.seconds.min(2);
            self.idle_seconds = self.idle_seconds.min(5);
        }
        self
    }

    /// Whether the figures of a kind are wanted.
    #[must_use]
    pub(crate) fn wants(&self, kind: Only) -> bool {
        let mut kinds = self.only.iter().filter(|only| only.contender().is_none()).peekable();
        kinds.peek().is_none() || kinds.any(|only| *only == kind)
    }

    /// The tunnels that are wanted, in their order.
    #[must_use]
    pub(crate) fn contenders(&self) -> Vec<Contender> {
        let named = self.only.iter().filter_map(|only| only.contender()).collect::<Vec<_>>();
        let wanted = |contender: &Contender| named.is_empty() || named.contains(contender);
        Contender::ALL.into_iter().filter(wanted).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        tunnel: TunnelArgs,
    }

    fn args(words: &str) -> TunnelArgs {
        let words = std::iter::once("weft-bench").chain(words.split_whitespace());
        Program::try_parse_from(words).unwrap().tunnel
    }

    #[test]
    fn only_narrows_tunnels_and_kinds_apart() {
        let all = args("");
        assert_eq!(all.contenders(), Contender::ALL);
        assert!(all.wants(Only::Throughput) && all.wants(Only::Idle) && all.wants(Only::Latency));
        let one = args("--only weft --only wireguard-go");
        assert_eq!(one.contenders().len(), 2);
        assert!(one.wants(Only::Idle));
        let kind = args("--only idle");
        assert_eq!(kind.contenders(), Contender::ALL);
        assert!(kind.wants(Only::Idle) && !kind.wants(Only::Throughput));
    }

    #[test]
    fn quick_is_one_round_and_never_longer_than_asked() {
        let quick = args("--seconds 1 --rounds 9").settled(true);
        assert_eq!((quick.rounds, quick.seconds, quick.idle_seconds), (1, 1, 5));
    }

    #[test]
    fn senseless_values_are_refused() {
        for words in ["--rounds 0", "--seconds 0", "--only nobody"] {
            let words = std::iter::once("weft-bench").chain(words.split_whitespace());
            assert!(Program::try_parse_from(words).is_err());
        }
    }
}
