//! `weft-gateway certificate`.

use super::args::CertificateCommand;
use super::{Failure, read_config};
use crate::dir::{self, StateDir};
use crate::pki;

pub(super) fn certificate(dir: &StateDir, command: &CertificateCommand) -> Result<(), Failure> {
    let config = read_config(dir)?;
    match command {
        CertificateCommand::Renew => {
            let authority = dir::read_secret(&dir.ca_key())?;
            let server = pki::new_server(&authority, &config.name, &config.public_addresses)?;
            dir::replace(&dir.server_key(), server.key.as_bytes())?;
            dir::replace(&dir.server_certificate(), server.certificate.as_bytes())?;
            println!("made a new certificate for {}; it holds after a restart", config.name);
        }
        CertificateCommand::Fingerprint => {
            let authority = dir::read(&dir.ca_certificate())?;
            println!("{}", pki::fingerprint(&authority).map_err(anyhow::Error::msg)?);
        }
    }
    Ok(())
}
