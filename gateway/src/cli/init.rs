//! `weft-gateway init`.

use std::fs;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use weft_model::PrivateKey;
use zeroize::Zeroizing;

use super::Failure;
use super::args::InitOptions;
use crate::config::{self, Config, Initial};
use crate::dir::{self, DirError, StateDir};
use crate::pki;
use crate::store::Store;

pub(super) fn init(dir: &StateDir, options: InitOptions) -> Result<(), Failure> {
    let name = match (options.name, options.public_address.first()) {
        (Some(name), _) => name,
        (None, Some(address)) => address.to_string(),
        (None, None) => return Err(Failure::Other(anyhow::anyhow!("give --public-address"))),
    };
    let initial = Initial {
        name,
        public_addresses: options.public_address,
        api_port: options.api_port,
        uplinks: options.uplink,
    };
    // Everything is checked and made before the first file is written.
    config::check_name(&initial.name)?;
    initial.uplinks.iter().try_for_each(|name| config::check_interface("--uplink", name))?;
    let text = config::template(&initial);
    let config = Config::parse(&text)?;
    dir.require_empty()?;
    let authority = pki::new_authority()?;
    let server = pki::new_server(&authority.key, &config.name, &config.public_addresses)?;
    let tunnel_key = new_tunnel_key()?;

    dir.create()?;
    let tunnel_key = key_text(&tunnel_key);
    let files: [(PathBuf, &[u8]); 6] = [
        (dir.wireguard_key(), tunnel_key.as_bytes()),
        (dir.ca_key(), authority.key.as_bytes()),
        (dir.ca_certificate(), authority.certificate.as_bytes()),
        (dir.server_key(), server.key.as_bytes()),
        (dir.server_certificate(), server.certificate.as_bytes()),
        (dir.config(), text.as_bytes()),
    ];
    if let Err(failure) = write_all(dir, &files) {
        remove(dir, &files);
        return Err(failure);
    }
    explain(dir, &config, &authority.certificate)
}

fn write_all(dir: &StateDir, files: &[(PathBuf, &[u8])]) -> Result<(), Failure> {
    for (path, bytes) in files {
        dir::write_new(path, bytes)?;
    }
    Store::create(&dir.database())?;
    Ok(())
}

/// Takes back what was written; nothing of it was there before.
fn remove(dir: &StateDir, files: &[(PathBuf, &[u8])]) {
    for path in files.iter().map(|(path, _)| path).chain([&dir.database()]) {
        if let Err(error) = fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("weft-gateway: {}", DirError::Io { path: path.clone(), error });
        }
    }
}

/// A new tunnel key.
pub(super) fn new_tunnel_key() -> Result<PrivateKey, Failure> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(anyhow::Error::from)?;
    Ok(PrivateKey::from(*bytes))
}

/// A tunnel key as WireGuard writes it.
pub(super) fn key_text(key: &PrivateKey) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(key.expose()))
}

fn explain(dir: &StateDir, config: &Config, authority: &str) -> Result<(), Failure> {
    let fingerprint = pki::fingerprint(authority).map_err(anyhow::Error::msg)?;
    println!("The gateway {} is set up in {}.", config.name, dir.root().display());
    println!();
    println!("CA fingerprint (SHA-256): {fingerprint}");
    println!();
    println!("Next:");
    println!("  look over   {}", dir.config().display());
    println!("  weft-gateway token create     a token for a device, and what to type there");
    println!("  weft-gateway run              serve");
    Ok(())
}
