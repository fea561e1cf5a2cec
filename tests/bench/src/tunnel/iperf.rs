//! Transfers by iperf3, and pings.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use netlab::{Host, Process};
use serde::Deserialize;

use super::field::{Field, SINK};

const SOON: Duration = Duration::from_secs(20);

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the device.
    Up,
    /// To the device.
    Down,
}

/// One transfer to be made.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    /// Which way.
    pub(crate) way: Way,
    /// How long, in seconds.
    pub(crate) seconds: u32,
    /// TCP's congestion control.
    pub(crate) congestion: String,
}

/// What came through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Transferred {
    /// Received, in bits a second.
    pub(crate) bits_per_second: f64,
    /// Received, in bytes.
    pub(crate) bytes: f64,
}

/// A transfer under way.
#[derive(Debug)]
pub(crate) struct Running {
    client: Process,
    deadline: Duration,
    _server: Process,
}

impl Running {
    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// When iperf3 could not make it.
    pub(crate) fn finish(self) -> Result<Transferred> {
        let output = self.client.output(self.deadline)?;
        parse_transfer(&output.stdout).with_context(|| format!("{}\n{}", output.command, output.stderr))
    }
}

impl Transfer {
    /// Starts it, with a server of its own: one that has just served refuses whoever comes too soon after.
    ///
    /// # Errors
    ///
    /// When iperf3 is not installed.
    pub(crate) fn begin(&self, field: &Field) -> Result<Running> {
        let mut command = field.sink.command("iperf3");
        command.args(["--server", "--one-off", "--forceflush"]);
        let server = field.sink.spawn(command)?;
        server.wait_for_line("listening", SOON)?;
        let client = field.device.spawn(self.command(&field.device))?;
        Ok(Running { client, deadline: self.deadline(), _server: server })
    }

    /// How long it may take.
    fn deadline(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds)) + SOON
    }

    fn command(&self, device: &Host) -> std::process::Command {
        let mut command = device.command("iperf3");
        command.args(["--client", &SINK.to_string(), "--json", "--connect-timeout", "5000"]);
        command.args(["--time", &self.seconds.to_string(), "--congestion", &self.congestion]);
        if self.way == Way::Down {
            command.arg("--reverse");
        }
        command
    }
}

#[derive(Deserialize)]
struct Report {
    error: Option<String>,
    end: Option<End>,
}

#[derive(Deserialize)]
struct End {
    sum_received: Option<Sum>,
}

#[derive(Deserialize)]
struct Sum {
    bytes: f64,
    bits_per_second: f64,
}

fn parse_transfer(json: &str) -> Result<Transferred> {
    let report = serde_json::from_str::<Report>(json).context("no report of iperf3's")?;
    if let Some(error) = report.error {
        bail!("iperf3: {error}");
    }
    let sum = report.end.and_then(|end| end.sum_received).context("iperf3 reports nothing received")?;
    if sum.bytes <= 0.0 || sum.bits_per_second <= 0.0 {
        bail!("iperf3 received nothing");
    }
    Ok(Transferred { bits_per_second: sum.bits_per_second, bytes: sum.bytes })
}

/// Round-trip times from `device` to the sink, in milliseconds; those that were lost are missing.
///
/// # Errors
///
/// When not one came back.
pub(crate) fn ping(device: &Host, count: u32, interval: Duration) -> Result<Vec<f64>> {
    let mut command = device.command("ping");
    command.args(["-n", "-W", "2", "-c", &count.to_string()]);
    command.args(["-i", &interval.as_secs_f64().to_string(), &SINK.to_string()]);
    let output = device.finish(command, interval * count + SOON)?;
    let times = parse_ping(&output.stdout);
    if times.is_empty() {
        return Err(anyhow!("no ping came back: {}{}", output.stdout, output.stderr));
    }
    Ok(times)
}

fn parse_ping(text: &str) -> Vec<f64> {
    let time = |line: &str| line.split_once("time=")?.1.split_whitespace().next()?.parse().ok();
    text.lines().filter_map(time).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_received_counts() {
        let json = r#"{"start":{}, "intervals":[], "end":{
            "streams":[], "sum_sent":{"bytes":10,"bits_per_second":99.5,"retransmits":0},
            "sum_received":{"start":0,"end":2.1,"seconds":2.1,"bytes":3166699520,"bits_per_second":25257923421.4294},
            "sender_tcp_congestion":"cubic"}}"#;
        let expected = Transferred { bits_per_second: 25_257_923_421.429_4, bytes: 3_166_699_520.0 };
        assert_eq!(parse_transfer(json).unwrap(), expected);
    }

    #[test]
    fn a_failed_transfer_says_why() {
        let refused = r#"{"start":{"connected":[]},"intervals":[],"end":{},
            "error":"unable to connect to server: Connection refused"}"#;
        let reason = |json| parse_transfer(json).unwrap_err().to_string();
        assert_eq!(reason(refused), "iperf3: unable to connect to server: Connection refused");
        assert_eq!(reason(r#"{"end":{}}"#), "iperf3 reports nothing received");
        assert_eq!(
            reason(r#"{"end":{"sum_received":{"bytes":0,"bits_per_second":0}}}"#),
            "iperf3 received nothing"
        );
        assert_eq!(reason("iperf3: command not found"), "no report of iperf3's");
    }

    #[test]
    fn pings_are_read_line_by_line() {
        let text = "PING 198.51.100.2 (198.51.100.2) 56(84) bytes of data.\n\
            64 bytes from 198.51.100.2: icmp_seq=1 ttl=63 time=0.583 ms\n\
            64 bytes from 198.51.100.2: icmp_seq=3 ttl=63 time=12 ms\n\n\
            --- 198.51.100.2 ping statistics ---\n\
            3 packets transmitted, 2 received, 33% packet loss, time 20ms\n\
            rtt min/avg/max/mdev = 0.583/6.29/12/5.7 ms\n";
        assert_eq!(parse_ping(text), [0.583, 12.0]);
    }
}
