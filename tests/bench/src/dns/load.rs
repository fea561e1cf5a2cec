//! The load generator, dnsperf, and the questions that it asks.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use netlab::Host;

use super::field::ZONE;
use crate::figures::median;

const TYPES: [&str; 3] = ["A", "AAAA", "HTTPS"];
/// Sockets that the queries come from.
const CLIENTS: &str = "10";
/// How long beyond its time a run may take.
const GRACE: Duration = Duration::from_secs(40);

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    /// The file of questions.
    pub(crate) questions: &'a str,
    /// How long, in seconds.
    pub(crate) seconds: u32,
    /// Queries a second, which also makes each answer's time known; as many as are answered where there is none.
    pub(crate) rate: Option<u32>,
    /// Queries that wait for their answers at most.
    pub(crate) outstanding: u32,
    /// Ends when each question has been asked once.
    pub(crate) once: bool,
    /// How long an answer is waited for, in seconds.
    pub(crate) timeout: u32,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answers {
    /// Queries that were sent.
    pub(crate) sent: u64,
    /// Answers without an error.
    pub(crate) good: u64,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
    /// The median of the times from query to answer, in seconds, where they are known.
    pub(crate) p50: Option<f64>,
}

impl Answers {
    /// Good answers a second.
    #[must_use]
    pub(crate) fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.good as f64 / self.seconds } else { 0.0 }
    }

    /// The share of the queries that had no good answer.
    #[must_use]
    pub(crate) fn failures(&self) -> f64 {
        if self.sent == 0 { 1.0 } else { 1.0 - self.good as f64 / self.sent as f64 }
    }
}

impl Load<'_> {
    /// Asks a server on a host.
    ///
    /// # Errors
    ///
    /// When dnsperf is not there, or breaks down.
    pub(crate) fn run(&self, host: &Host, server: SocketAddr) -> Result<Answers> {
        let mut command = host.command("dnsperf");
        command.args(["-s", &server.ip().to_string(), "-p", &server.port().to_string()]);
        command.args(["-d", self.questions, "-c", CLIENTS, "-T", "1", "-b", "1024"]);
        command.args(["-l", &self.seconds.to_string(), "-t", &self.timeout.to_string()]);
        command.args(["-q", &self.outstanding.to_string(), "-O", "suppress=timeouts"]);
        if let Some(rate) = self.rate {
            command.args(["-v", "-Q", &rate.to_string()]);
        }
        if self.once {
            command.args(["-n", "1"]);
        }
        let deadline = Duration::from_secs(u64::from(self.seconds)) + GRACE;
        let output = host.finish(command, deadline)?.success()?;
        parse(&output.stdout).with_context(|| format!("dnsperf printed:\n{}", output.stdout))
    }
}

fn parse(text: &str) -> Option<Answers> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix(name))?;
        line.split_whitespace().next()
    };
    // Only codes that were seen are listed: `NOERROR 4 (66.67%), REFUSED 2 (33.33%)`.
    let good = text
        .lines()
        .find_map(|line| line.split_once("NOERROR ").filter(|_| line.contains("Response codes:")));
    let good = good.map_or(Some(0), |(_, rest)| rest.split_whitespace().next()?.parse().ok())?;
    Some(Answers {
        sent: field("Queries sent:")?.parse().ok()?,
        good,
        seconds: field("Run time (s):")?.parse().ok()?,
        p50: median(&text.lines().filter_map(answer_time).collect::<Vec<_>>()),
    })
}

/// Of a line like `> NOERROR a.example A 0.000316`.
fn answer_time(line: &str) -> Option<f64> {
    line.strip_prefix("> NOERROR ")?.split_whitespace().nth(2)?.parse().ok()
}

/// Every type of `names` names, which begin with `label`; of the first type alone where there are to be no more
/// questions than names.
#[must_use]
pub(crate) fn questions(label: &str, names: u32, every_type: bool) -> String {
    let types = if every_type { &TYPES[..] } else { &TYPES[..1] };
    let mut text = String::new();
    for number in 0..names {
        for kind in types {
            let _infallible = writeln!(text, "{label}{number}.{ZONE} {kind}");
        }
    }
    text
}

/// So many names that are each asked for once, of types in turn.
#[must_use]
pub(crate) fn fresh_questions(label: &str, count: u32) -> String {
    let mut text = String::new();
    for (number, kind) in (0..count).zip(TYPES.into_iter().cycle()) {
        let _infallible = writeln!(text, "{label}{number}.{ZONE} {kind}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "[Status] Sending queries (to 127.0.0.1:5399)\n> NOERROR a.example A 0.031\n\
        > NOERROR b.example A 0.028\n> NOERROR a.example A 0.025\n> REFUSED c.example HTTPS 9.0\n\nStatistics:\n\n  \
        Queries sent:         6\n  Queries completed:    5 (83.33%)\n  Queries lost:         1 (16.67%)\n\n  \
        Response codes:       NOERROR 3 (60.00%), REFUSED 2 (40.00%)\n  Run time (s):         0.5\n  \
        Queries per second:   10.0\n";

    #[test]
    fn what_dnsperf_prints_is_understood() {
        let answers = parse(PRINTED).unwrap();
        assert_eq!(answers, Answers { sent: 6, good: 3, seconds: 0.5, p50: Some(0.028) });
        assert!((answers.rate() - 6.0).abs() < 1e-9 && (answers.failures() - 0.5).abs() < 1e-9);
        let none = PRINTED.replace("NOERROR 3 (60.00%), ", "");
        assert_eq!(parse(&none).unwrap().good, 0);
        assert_eq!(parse("Statistics:\n"), None);
    }

    #[test]
    fn questions_are_of_every_type_or_each_of_its_own_name() {
        let every = questions("c", 2, true);
        assert_eq!(every.lines().count(), 6);
        assert!(every.starts_with("c0.bench.example A\nc0.bench.example AAAA\nc0.bench.example HTTPS\nc1"));
        assert_eq!(questions("m", 2, false), "m0.bench.example A\nm1.bench.example A\n");
        assert_eq!(fresh_questions("f", 4).lines().last(), Some("f3.bench.example A"));
    }
}
