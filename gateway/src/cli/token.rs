//! `weft-gateway token`.

use super::args::TokenCommand;
use super::{Failure, open_store, read_config};
use crate::dir::{self, StateDir};
use crate::pki;
use crate::registry::now;
use crate::store::{TokenHash, new_enrolment_token};

pub(super) fn token(dir: &StateDir, command: TokenCommand) -> Result<(), Failure> {
    let TokenCommand::Create { uses, expires, profile } = command;
    let config = read_config(dir)?;
    let mut store = open_store(dir)?;
    let token = new_enrolment_token().map_err(anyhow::Error::from)?;
    let now = now();
    let expires = expires.0.map(|time| now.saturating_add_unsigned(time.as_secs()));
    store.add_enrolment_token(&TokenHash::of(token.expose()), uses, expires, profile.as_deref(), now)?;

    println!("{}", token.expose());
    let host = if config.name.contains(':') { format!("[{}]", config.name) } else { config.name.clone() };
    let port = if config.api.port == 443 { String::new() } else { format!(":{}", config.api.port) };
    // An argument would show in the device's process list, and stay in its shell's history.
    eprint!("On the device: weft registration new https://{host}{port} --token-file -");
    match (&config.tls, dir::read(&dir.ca_certificate())) {
        (None, Ok(authority)) => {
            let fingerprint = pki::fingerprint(&authority).map_err(anyhow::Error::msg)?;
            eprintln!(" \\\n  --ca-fingerprint {fingerprint}");
        }
        _ => eprintln!(),
    }
    eprintln!("Then paste the token, press Enter and Ctrl-D.");
    Ok(())
}
