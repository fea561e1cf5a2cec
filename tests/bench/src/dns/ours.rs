//! weftd, with the upstream that all proxies ask in the place of its gateway's.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use netlab::Process;
use serde_json::{Value, json};
use weft_e2e::{PATIENCE, weftd};

use super::cores::Cores;
use super::field::{DOH_PORT, Field, Place, UPSTREAM};
use crate::tunnel::weft;

const REGISTRATION: &str = "/var/lib/weft/reg.json";

/// Starts it; its host is enrolled the first time.
///
/// # Errors
///
/// When one of the programs refuses.
pub(crate) fn start(field: &mut Field, place: Place, cores: Cores) -> Result<Process> {
    let host = field.host(place).clone();
    if host.read_file(REGISTRATION).is_err() {
        let mut daemon = run(field, place, cores)?;
        field.enrolment.register(&host)?;
        daemon.terminate(PATIENCE)?;
        let mut registration = serde_json::from_str::<Value>(&host.read_file(REGISTRATION)?)?;
        let doh =
            registration.pointer_mut("/gateways/0/dns/doh").context("no DoH server in the registration")?;
        let at = SocketAddr::new(UPSTREAM.into(), DOH_PORT);
        *doh = json!({
            "name": UPSTREAM,
            "path": "/dns-query",
            "inside": at,
            "outside": [at],
            "ca_pem": field.ca,
        });
        host.write_file(REGISTRATION, registration.to_string())?;
    }
    let daemon = run(field, place, cores)?;
    weft::connect(&host)?;
    Ok(daemon)
}

fn run(field: &Field, place: Place, cores: Cores) -> Result<Process> {
    let host = field.host(place);
    let daemon = host.spawn(cores.proxy_command(host, weftd()?))?;
    daemon.wait_for_line("ready", PATIENCE)?;
    Ok(daemon)
}
