//! What people see of each answer.

use std::fmt::{Display, Write as _};

use weft_ipc::{LogLine, RegistrationSummary};
use weft_model::profile::FallbackDomain;
use weft_model::settings::{SplitTunnelMode, SplitTunnelSetting};
use weft_model::{Counter, Origin, Reason, RegistrationSource, Setting, Settings, Status, TunnelStats};

use crate::time;

/// A status: the state, the reason, and what else a user should know.
pub(crate) fn status(status: &Status) -> String {
    let mut text = format!("Status update: {}\n{}", status.state, reason(&status.reason));
    for warning in &status.warnings {
        text.push_str("\nWarning: ");
        text.push_str(warning);
    }
    text
}

fn reason(reason: &Reason) -> String {
    match reason {
        Reason::Healthy => reason.to_string(),
        _ => format!("Reason: {reason}"),
    }
}

/// A status on one line, for errors.
pub(crate) fn state_line(status: &Status) -> String {
    match &status.reason {
        Reason::Healthy => status.state.to_string(),
        reason => format!("{}, {reason}", status.state),
    }
}

pub(crate) fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Default => "default",
        Origin::UserSet => "user set",
        Origin::NetworkPolicy => "network policy",
        Origin::LocalPolicy => "local policy",
    }
}

pub(crate) fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().fold(String::new(), |mut text, item| {
        // Writing into a String never fails.
        let _ = write!(text, "\n    {item}");
        text
    })
}

fn setting<T>(text: &mut String, name: &str, setting: &Setting<T>, show: impl FnOnce(&T) -> String) {
    let value = show(&setting.value);
    let gap = if value.starts_with('\n') { "" } else { " " };
    let who = format!("({})", origin(setting.origin));
    let _ = write!(text, "\n{who:<17} {name}:{gap}{value}");
}

/// The values in force, with their origins.
pub(crate) fn settings(settings: &Settings) -> String {
    let mut text = "Merged configuration:".to_owned();
    if let Some(profile) = &settings.profile_name {
        let _ = write!(text, "\nProfile: {profile}");
    }
    let yes_no = |value: &bool| value.to_string();
    setting(&mut text, "Mode", &settings.service_mode, ToString::to_string);
    setting(&mut text, "Allow mode switch", &settings.allow_mode_switch, yes_no);
    setting(&mut text, "Switch locked", &settings.switch_locked, yes_no);
    setting(&mut text, "Allowed to leave", &settings.allowed_to_leave, yes_no);
    setting(&mut text, "Auto connect", &settings.auto_connect, |minutes| match minutes {
        0 => "off".to_owned(),
        minutes => format!("after {minutes} min"),
    });
    setting(&mut text, "Captive portal", &settings.captive_portal, |seconds| match seconds {
        0 => "never opened".to_owned(),
        seconds => format!("open for at most {seconds} s"),
    });
    setting(&mut text, "Tunnel protocol", &settings.tunnel_protocol, |protocol| {
        format!("{protocol:?}").to_lowercase()
    });
    setting(&mut text, "Disable auto fallback", &settings.disable_auto_fallback, yes_no);
    setting(&mut text, "MTU", &settings.mtu, ToString::to_string);
    setting(&mut text, "Split tunnel", &settings.split_tunnel, split_tunnel);
    setting(&mut text, "Fallback domains", &settings.fallback_domains, |domains| {
        list(domains.iter().map(fallback_domain))
    });
    setting(&mut text, "DNS search suffixes", &settings.dns_search_suffixes, |suffixes| list(suffixes));
    setting(&mut text, "DNS serve stale", &settings.dns_serve_stale_seconds, |seconds| match seconds {
        0 => "never".to_owned(),
        seconds => format!("for {seconds} s after an answer's time"),
    });
    setting(&mut text, "DNS prefer positive", &settings.dns_prefer_positive, yes_no);
    setting(&mut text, "Support URL", &settings.support_url, |url| {
        url.clone().unwrap_or_else(|| "none".to_owned())
    });
    text
}

fn split_tunnel(split: &SplitTunnelSetting) -> String {
    let mode = match split.mode {
        SplitTunnelMode::Exclude => "Exclude mode, with hosts/IPs:",
        SplitTunnelMode::Include => "Include mode, with hosts/IPs:",
    };
    format!("{mode}{}{}", list(&split.networks), list(&split.hosts))
}

pub(crate) fn fallback_domain(domain: &FallbackDomain) -> String {
    let servers: Vec<_> = domain.dns_server.iter().map(ToString::to_string).collect();
    match servers.is_empty() {
        true => domain.suffix.to_string(),
        false => format!("{} -> {}", domain.suffix, servers.join(", ")),
    }
}

pub(crate) fn bytes(count: u64) -> String {
    let mut rest = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if rest < 1024.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{rest:.1} {unit}") };
        }
        rest /= 1024.0;
    }
    format!("{rest:.1} TiB")
}

fn counter(counter: &Counter) -> String {
    format!("{} in {} packets", bytes(counter.bytes), counter.packets)
}

/// The tunnel's counters.
pub(crate) fn tunnel_stats(stats: &TunnelStats) -> String {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    let mut text = format!(
        "Tunnel protocol: {}\nEndpoint: {}\nTime since last handshake: {}\nHandshake round trip: {}\nSent: {}\nReceived: {}",
        if stats.protocol.is_empty() { "none" } else { &stats.protocol },
        or_none(stats.endpoint.map(|endpoint| endpoint.to_string())),
        or_none(stats.last_handshake_ms.map(time::span)),
        or_none(stats.handshake_rtt_us.map(|us| format!("{}.{:03} ms", us / 1000, us % 1000))),
        counter(&stats.sent),
        counter(&stats.received),
    );
    if stats.drops.is_empty() {
        text.push_str("\nDropped: none");
    } else {
        text.push_str("\nDropped:");
        text.push_str(&list(stats.drops.iter().map(|(reason, count)| format!("{reason}: {count}"))));
    }
    text
}

/// Who this device is.
pub(crate) fn registration(registration: &RegistrationSummary) -> String {
    let source = match registration.source {
        RegistrationSource::Orchestrated => "registered with a gateway",
        RegistrationSource::Imported => "imported from a wg-quick file",
    };
    let mut text = format!(
        "Device: {}\nSource: {source}\nPublic key: {}\nAddresses:{}",
        registration.id,
        registration.public_key,
        list(&registration.addresses)
    );
    if let Some(profile) = &registration.profile {
        let _ = write!(text, "\nProfile: {profile}");
    }
    for gateway in &registration.gateways {
        let api = gateway.api.as_deref().unwrap_or("none");
        let _ = write!(
            text,
            "\nGateway:\n    API: {api}\n    Public key: {}\n    DNS: {}\n    Endpoints:{}",
            gateway.public_key,
            gateway.dns,
            list(&gateway.endpoints).replace("\n    ", "\n        ")
        );
    }
    text
}

/// One line of the log.
pub(crate) fn log_line(line: &LogLine) -> String {
    format!("{} {:>5} {}: {}", time::stamp(line.unix_ms), line.level, line.target, line.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
    }
}
