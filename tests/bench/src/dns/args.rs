//! What the user asked for of the DNS proxies.

use clap::{Args, ValueEnum};

use super::proxy::Proxy;

const ROUNDS: u32 = 3;
const SECONDS: u32 = 2;
const IDLE_SECONDS: u32 = 30;

/// How the DNS proxies are measured.
#[derive(Clone, Debug, Args)]
pub(crate) struct DnsArgs {
    /// How often each figure is measured; the median counts.
    #[arg(long, default_value_t = ROUNDS, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// How long each run of the load generator takes, in seconds.
    #[arg(long, default_value_t = SECONDS, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// How long the idle proxies are watched, in seconds.
    #[arg(long, default_value_t = IDLE_SECONDS, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) idle_seconds: u32,
    /// Measures these kinds of figure alone.
    #[arg(long, value_enum, value_name = "KIND", value_delimiter = ',', num_args = 1..)]
    pub(crate) rows: Vec<Rows>,
    /// Measures these peers alone, beside Weft.
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',', num_args = 1..)]
    pub(crate) peers: Vec<Proxy>,
    /// Gives every process's id and then waits for so many seconds, to look at them with other tools.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub(crate) pause: u32,
}

/// Kinds of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rows {
    /// Queries by UDP whose answers are known.
    Cached,
    /// Queries that are asked of a DoH server.
    Doh,
    /// Memory with many answers.
    Memory,
    /// Wake-ups without queries.
    Idle,
}

impl Default for DnsArgs {
    fn default() -> Self {
        Self {
            rounds: ROUNDS,
            seconds: SECONDS,
            idle_seconds: IDLE_SECONDS,
            rows: Vec::new(),
            peers: Vec::new(),
            pause: 0,
        }
    }
}

impl DnsArgs {
    /// Shortens everything where `quick` asks for it.
    #[must_use]
    pub(crate) fn settled(mut self, quick: bool) -> Self {
        if quick {
            self.rounds = 1;
            self.seconds = 1;
            self.idle_seconds = self.idle_seconds.min(5);
        }
        self
    }

    /// Whether the figures of a kind are wanted.
    #[must_use]
    pub(crate) fn wants(&self, rows: Rows) -> bool {
        self.rows.is_empty() || self.rows.contains(&rows)
    }

    /// The proxies that are wanted, in their order.
    #[must_use]
    pub(crate) fn proxies(&self) -> Vec<Proxy> {
        let wanted =
            |proxy: &Proxy| *proxy == Proxy::Weft || self.peers.is_empty() || self.peers.contains(proxy);
        Proxy::ALL.into_iter().filter(wanted).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        dns: DnsArgs,
    }

    fn args(words: &str) -> DnsArgs {
        Program::try_parse_from(std::iter::once("weft-bench").chain(words.split_whitespace())).unwrap().dns
    }

    #[test]
    fn weft_is_measured_beside_whichever_peers() {
        assert_eq!(args("").proxies(), Proxy::ALL);
        assert_eq!(args("--peers dnsmasq,unbound").proxies(), [Proxy::Weft, Proxy::Unbound, Proxy::Dnsmasq]);
    }

    #[test]
    fn rows_narrow_the_kinds() {
        assert!(args("").wants(Rows::Idle));
        let some = args("--rows cached,doh");
        assert!(some.wants(Rows::Cached) && some.wants(Rows::Doh) && !some.wants(Rows::Memory));
    }

    #[test]
    fn quick_is_one_round() {
        let quick = args("--rounds 9 --idle-seconds 60").settled(true);
        assert_eq!((quick.rounds, quick.seconds, quick.idle_seconds), (1, 1, 5));
    }
}
