//! What the user asked for of the boundary to phones.

use clap::{Args, ValueEnum};

use super::row::Row;

const ROUNDS: u32 = 3;
const SECONDS: u32 = 3;

/// How the boundary is measured.
#[derive(Clone, Debug, Args)]
pub(crate) struct BoundaryArgs {
    /// How often each figure is measured; the median counts.
    #[arg(long, default_value_t = ROUNDS, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// How long each run takes, in seconds.
    #[arg(long, default_value_t = SECONDS, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// Measures these alone.
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',', num_args = 1..)]
    rows: Vec<Row>,
}

impl Default for BoundaryArgs {
    fn default() -> Self {
        Self { rounds: ROUNDS, seconds: SECONDS, rows: Vec::new() }
    }
}

impl BoundaryArgs {
    /// Shortens everything where `quick` asks for it.
    #[must_use]
    pub(crate) fn settled(mut self, quick: bool) -> Self {
        if quick {
            self.rounds = 1;
            self.seconds = 1;
        }
        self
    }

    /// The rows that are wanted, in their order.
    #[must_use]
    pub(crate) fn wanted(&self) -> Vec<Row> {
        let wanted = |row: &Row| self.rows.is_empty() || self.rows.contains(row);
        Row::value_variants().iter().copied().filter(wanted).collect()
    }
}
