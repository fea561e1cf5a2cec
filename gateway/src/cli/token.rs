//! `weft-gateway token`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use weft_model::Secret;

use super::args::TokenCommand;
use super::{Failure, open_store, read_config};
use crate::config::Config;
use crate::dir::{self, StateDir};
use crate::pki;
use crate::registry::now;
use crate::store::{TokenHash, new_enrolment_token};

/// What a query's value carries as it is (RFC 3986, section 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) fn token(dir: &StateDir, command: TokenCommand) -> Result<(), Failure> {
    let TokenCommand::Create { uses, expires, profile, phone } = command;
    let config = read_config(dir)?;
    let gateway = Gateway { url: url(&config), fingerprint: fingerprint(dir, &config)? };
    let mut store = open_store(dir)?;
    let token = new_enrolment_token().map_err(anyhow::Error::from)?;
    let now = now();
    let expires = expires.0.map(|time| now.saturating_add_unsigned(time.as_secs()));
    store.add_enrolment_token(&TokenHash::of(token.expose()), uses, expires, profile.as_deref(), now)?;
    if phone { gateway.show_phone(&token) } else { gateway.show(&token) }
}

/// How a device knows the gateway.
struct Gateway {
    url: String,
    /// Of its own authority; none where the certificate is one that systems trust.
    fingerprint: Option<String>,
}

fn url(config: &Config) -> String {
    let host = if config.name.contains(':') { format!("[{}]", config.name) } else { config.name.clone() };
    let port = if config.api.port == 443 { String::new() } else { format!(":{}", config.api.port) };
    format!("https://{host}{port}")
}

fn fingerprint(dir: &StateDir, config: &Config) -> Result<Option<String>, Failure> {
    match (&config.tls, dir::read(&dir.ca_certificate())) {
        (None, Ok(authority)) => {
            let fingerprint = pki::fingerprint(&authority).map_err(anyhow::Error::msg)?;
            Ok(Some(fingerprint))
        }
        _ => Ok(None),
    }
}

impl Gateway {
    fn show(&self, token: &Secret) -> Result<(), Failure> {
        println!("{}", token.expose());
        // An argument would show in the device's process list, and stay in its shell's history.
        eprint!("On the device: weft registration new {} --token-file -", self.url);
        match &self.fingerprint {
            Some(fingerprint) => eprintln!(" \\\n  --ca-fingerprint {fingerprint}"),
            None => eprintln!(),
        }
        eprintln!("Then paste the token, press Enter and Ctrl-D.");
        Ok(())
    }

    fn show_phone(&self, token: &Secret) -> Result<(), Failure> {
        let link = self.link(token);
        let code = QrCode::with_error_correction_level(&link, EcLevel::L).map_err(anyhow::Error::from)?;
        println!("{link}");
        // Dark on light whatever the terminal's colours: not every camera reads it the other way.
        let drawn = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
        eprintln!("{drawn}\nOn the phone: open the app and scan this code, or open the link.");
        Ok(())
    }

    /// What the app for phones is opened by.
    fn link(&self, token: &Secret) -> String {
        let encoded = |value: &str| utf8_percent_encode(value, UNRESERVED).to_string();
        let mut link = format!("weft://enrol?url={}&token={}", encoded(&self.url), encoded(token.expose()));
        if let Some(fingerprint) = &self.fingerprint {
            // Without its colons, which would take three characters each of the code.
            link.push_str("&ca=");
            link.push_str(&fingerprint.replace(':', ""));
        }
        link
    }
}
