//! What a report of a problem needs, without a key or a token in it.

use std::process::{Command, Stdio};
use std::time::Duration;

use weft_ipc::{DiagnosticSection, Diagnostics};
use weft_model::{ROUTING_TABLE, Registration, UserError};
use zeroize::Zeroizing;

use crate::applier::Applier;
use crate::daemon::{Daemon, internal};
use crate::enrol;

/// The most bytes of one section, and lines of the log.
const MAX_SECTION: usize = 48 * 1024;
const MAX_LOG_LINES: usize = 400;
/// How long all the system's tools may take together.
const TOOLS_WITHIN: Duration = Duration::from_secs(10);
/// Where the tools are looked for, whatever the daemon's own environment says.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// What stands in a secret's place.
const REDACTED: &str = "[redacted]";

/// Collects everything.
pub(crate) async fn collect(daemon: &Daemon) -> Result<Diagnostics, UserError> {
    let registration = daemon.keeper.registration();
    let status = daemon.publish_status().await;
    let (settings, stats) = (daemon.settings().await?, daemon.stats().await?);
    let mut sections = daemon.system.run(|applier| own_sections(applier)).await.unwrap_or_default();
    let tools = tokio::task::spawn_blocking(tool_sections);
    match tokio::time::timeout(TOOLS_WITHIN, tools).await {
        Ok(Ok(more)) => sections.extend(more),
        Ok(Err(_)) => return Err(internal("the system's tools could not be run")),
        Err(_) => sections.push(section("ip", "the system's tools did not end in time")),
    }
    let mut diagnostics = Diagnostics {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        system: system(),
        status,
        settings,
        stats,
        registration: enrol::show(daemon).ok(),
        sections,
        log: daemon.log.newest(MAX_LOG_LINES).0,
    };
    redact(&mut diagnostics, &secrets(registration.as_ref()));
    Ok(diagnostics)
}

fn own_sections(applier: &Applier) -> Vec<DiagnosticSection> {
    let firewall = applier.describe_firewall().unwrap_or_else(|error| error.to_string());
    let dns = applier.describe_dns();
    let dns = format!(
        "mode: {}\n{}\nplace: {}\nWeft's own: {}\nservers: {:?}\nsearch: {:?}\n{}",
        dns.mode,
        dns.trace.join("\n"),
        dns.place,
        dns.ours,
        dns.servers,
        dns.search,
        dns.warnings.join("\n")
    );
    vec![section("Weft's firewall", &firewall), section("DNS settings", &dns)]
}

fn tool_sections() -> Vec<DiagnosticSection> {
    let table = ROUTING_TABLE.to_string();
    let commands: [&[&str]; 10] = [
        &["ip", "address", "show"],
        &["ip", "-4", "rule", "show"],
        &["ip", "-6", "rule", "show"],
        &["ip", "-4", "route", "show"],
        &["ip", "-6", "route", "show"],
        &["ip", "-4", "route", "show", "table", &table],
        &["ip", "-6", "route", "show", "table", &table],
        &["ip", "-statistics", "link", "show", "dev", weft_model::INTERFACE_NAME],
        &["nft", "list", "tables"],
        &["nft", "list", "table", "inet", "weft"],
    ];
    let mut sections: Vec<_> =
        commands.iter().map(|words| section(&words.join(" "), &output_of(words))).collect();
    let resolv_conf = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_else(|error| error.to_string());
    sections.push(section("/etc/resolv.conf", &resolv_conf));
    sections
}

fn output_of(words: &[&str]) -> String {
    let Some((program, arguments)) = words.split_first() else { return String::new() };
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)),
        Err(error) => format!("{program}: {error}"),
    }
}

fn section(source: &str, text: &str) -> DiagnosticSection {
    let end = (0..=text.len().min(MAX_SECTION)).rev().find(|end| text.is_char_boundary(*end));
    let (shown, rest) = text.split_at(end.unwrap_or_default());
    let printable = |line: &str| line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut lines: Vec<String> = shown.lines().map(printable).collect();
    if !rest.is_empty() {
        lines.push(format!("({} more bytes)", rest.len()));
    }
    DiagnosticSection { source: source.to_owned(), lines }
}

fn system() -> String {
    let name = rustix::system::uname();
    let part = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    [part(name.sysname()), part(name.release()), part(name.machine())].join(" ")
}

/// Every secret of a registration, as text.
fn secrets(registration: Option<&Registration>) -> Vec<Zeroizing<String>> {
    let Some(registration) = registration else { return Vec::new() };
    let text = |value: serde_json::Result<String>| {
        value.ok().map(|text| Zeroizing::new(text.trim_matches('"').into()))
    };
    let token = registration.token.as_ref().map(|token| Zeroizing::new(token.expose().to_owned()));
    let key = text(serde_json::to_string(&registration.private_key));
    let shared = registration.gateways.iter().filter_map(|gateway| gateway.tunnel.preshared_key.as_ref());
    let shared = shared.filter_map(|key| text(serde_json::to_string(key)));
    token.into_iter().chain(key).chain(shared).filter(|secret| !secret.is_empty()).collect()
}

/// Nothing here should hold a secret; where something does all the same, it goes.
fn redact(diagnostics: &mut Diagnostics, secrets: &[Zeroizing<String>]) {
    let lines = diagnostics.sections.iter_mut().flat_map(|section| &mut section.lines);
    let texts = diagnostics.log.iter_mut().map(|line| &mut line.text);
    for line in lines.chain(texts).chain(&mut diagnostics.status.warnings) {
        for secret in secrets {
            if line.contains(secret.as_str()) {
                *line = line.replace(secret.as_str(), REDACTED);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn sections_are_bounded_and_printable() {
        let short = section("x", "a\nb\u{1b}[0m\n");
        assert_eq!(short.lines, ["a", "b [0m"]);
        let long = section("x", &"\u{e4}".repeat(MAX_SECTION));
        assert!(long.lines[0].len() <= MAX_SECTION);
        assert_eq!(long.lines[1], format!("({MAX_SECTION} more bytes)"));
    }

    #[test]
    fn a_tool_that_fails_says_so() {
        assert!(output_of(&["no-such-tool-of-ours"]).starts_with("no-such-tool-of-ours: "));
        assert!(output_of(&["sh", "-c", "echo no >&2; exit 3"]).contains("no"));
        assert_eq!(output_of(&["echo", "yes"]), "yes\n");
    }

    #[test]
    fn every_secret_of_a_registration_is_known() {
        let mut registration = testing::registration();
        registration.token = Some("device-token".to_owned().into());
        let known = secrets(Some(&registration));
        let known: Vec<&str> = known.iter().map(|secret| secret.as_str()).collect();
        assert_eq!(
            known,
            [
                "device-token",
                "qMqVhGHXzEsNPVsrCLbWYvhBlCzFTBWcPKaBJGdNC3c=",
                "FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE="
            ]
        );
    }
}
