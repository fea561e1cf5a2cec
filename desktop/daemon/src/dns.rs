//! What people are told of the DNS proxy.

use std::net::IpAddr;

use serde::Serialize;
use weft_ipc::{DnsFallback, DnsStatus, MAX_FRAME};
use weft_model::{DnsLog, DnsLogNews, DnsLookup, DomainName, UserError};

use crate::applier::Applier;
use crate::daemon::{self, Daemon};
use crate::enrol;

/// How many bytes of a list an answer carries at most: half a frame, so that the rest of the answer has room.
const MAX_LIST: usize = MAX_FRAME / 2;

/// How names are answered at this moment.
pub(crate) async fn status(daemon: &Daemon) -> Result<DnsStatus, UserError> {
    let status = daemon.publish_status().await;
    let asked = daemon.system.ask(|applier| (applier.describe_dns(), system_resolvers(applier))).await;
    let (settings, system_resolvers) = asked.ok_or_else(daemon::system_thread_ended)?;
    let registration = daemon.keeper.registration().filter(|_| status.service_mode.handles_dns());
    let upstream =
        registration.and_then(|found| found.gateways.first().map(|first| enrol::upstream(&first.dns)));
    let (state, service_mode) = (status.state, status.service_mode);
    Ok(DnsStatus { state, service_mode, upstream, system_resolvers, settings })
}

/// The names that private resolvers answer.
pub(crate) async fn fallback(daemon: &Daemon) -> Result<DnsFallback, UserError> {
    let domains = daemon.settings().await?.fallback_domains;
    let resolvers = daemon.system.ask(|applier| system_resolvers(applier)).await;
    let system_resolvers = resolvers.ok_or_else(daemon::system_thread_ended)?;
    Ok(DnsFallback { origin: domains.origin, domains: domains.value, system_resolvers })
}

/// Asks the DNS proxy for a name.
pub(crate) async fn lookup(daemon: &Daemon, name: DomainName, kind: u16) -> Result<DnsLookup, UserError> {
    let mut lookup = daemon.session.dns_lookup(name, kind).await?;
    lookup.answers.truncate(fitting(lookup.answers.iter()));
    Ok(lookup)
}

/// The log of DNS queries, after switching it on or off.
pub(crate) async fn log(daemon: &Daemon, enable: Option<bool>) -> Result<DnsLog, UserError> {
    let mut log = daemon.session.dns_log(enable).await.ok_or_else(daemon::session_ended)?;
    let older = log.entries.len() - fitting(log.entries.iter().rev());
    log.entries.drain(..older);
    Ok(log)
}

/// News in pieces of which each fits an answer.
pub(crate) fn pieces(news: DnsLogNews) -> Vec<DnsLogNews> {
    let DnsLogNews { on, mut missed, mut entries } = news;
    let mut pieces = Vec::new();
    loop {
        let count = fitting(entries.iter()).max(1).min(entries.len());
        let rest = entries.split_off(count);
        pieces.push(DnsLogNews { on, missed: std::mem::take(&mut missed), entries });
        if rest.is_empty() {
            return pieces;
        }
        entries = rest;
    }
}

fn system_resolvers(applier: &Applier) -> Vec<IpAddr> {
    applier.system_dns().unwrap_or_else(|error| {
        tracing::warn!("the system's resolvers cannot be read: {error}");
        Vec::new()
    })
}

/// How many of the items an answer has room for, from the first.
fn fitting<T: Serialize>(items: impl Iterator<Item = T>) -> usize {
    let sizes = items.map(|item| serde_json::to_vec(&item).map_or(MAX_LIST, |text| text.len() + 1));
    let ends = sizes.scan(0_usize, |end, size| {
        *end = end.saturating_add(size);
        Some(*end)
    });
    ends.take_while(|end| *end <= MAX_LIST).count()
}

#[cfg(test)]
mod tests {
    use weft_model::{DnsLogEntry, DnsSource};

    use super::*;

    #[test]
    fn news_are_told_in_pieces_that_fit_and_what_was_missed_once() {
        let entry = |name: &str| DnsLogEntry {
            at: std::time::SystemTime::UNIX_EPOCH,
            name: name.to_owned(),
            kind: "A".to_owned(),
            source: DnsSource::Doh,
            rcode: "NOERROR".to_owned(),
            micros: 1,
            error: None,
        };
        let news = |missed, entries| DnsLogNews { on: true, missed, entries };
        assert_eq!(pieces(news(3, Vec::new())), [news(3, Vec::new())]);
        let long: Vec<_> = ["a", "b", "c"].map(|letter| entry(&letter.repeat(MAX_LIST / 2))).into();
        let each: Vec<_> = [7, 0, 0].into_iter().zip(&long).collect();
        let expected: Vec<_> =
            each.into_iter().map(|(missed, one)| news(missed, vec![one.clone()])).collect();
        assert_eq!(pieces(news(7, long)), expected);
        let short = vec![entry("short"); 100];
        assert_eq!(pieces(news(0, short.clone())), [news(0, short)]);
    }

    #[test]
    fn what_does_not_fit_an_answer_is_left_out() {
        let line = "x".repeat(1021);
        assert_eq!(fitting(std::iter::repeat_n(&line, 10)), 10);
        // With its quotes and its comma each takes 1024 bytes.
        assert_eq!(fitting(std::iter::repeat_n(&line, 2000)), MAX_LIST / 1024);
        assert_eq!(fitting([&"x".repeat(MAX_FRAME), &line].into_iter()), 0);
        assert_eq!(fitting(std::iter::empty::<&str>()), 0);
    }
}
