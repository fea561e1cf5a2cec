//! `weft-gateway device`.

use std::io::{self, Write};

use anyhow::Context;
use serde::Serialize;
use weft_model::{PrivateKey, PublicKey};

use super::args::DeviceCommand;
use super::init::{key_text, new_tunnel_key};
use super::output::{date, table};
use super::{Failure, announce, open_store, read_config};
use crate::addresses::INNER_V4;
use crate::config::Config;
use crate::dir::StateDir;
use crate::registry::now;
use crate::store::{Device, NewDevice};

pub(super) fn device(dir: &StateDir, command: DeviceCommand) -> Result<(), Failure> {
    match command {
        DeviceCommand::List(options) => list(dir, options.json),
        DeviceCommand::Revoke { id } => {
            let mut store = open_store(dir)?;
            let device = store.find_device(&id)?;
            store.revoke_device(&device.id, now())?;
            announce(dir)?;
            println!("revoked {} ({})", device.id, device.name);
            Ok(())
        }
        DeviceCommand::Delete { id } => {
            let mut store = open_store(dir)?;
            let device = store.find_device(&id)?;
            store.delete_device(&device.id)?;
            announce(dir)?;
            println!("deleted {} ({})", device.id, device.name);
            Ok(())
        }
        DeviceCommand::Add { name, key, profile } => add(dir, &name, key, profile.as_deref()),
    }
}

/// A device as `device list --json` shows it.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    name: &'a str,
    os: &'a str,
    version: &'a str,
    key: PublicKey,
    addresses: [std::net::IpAddr; 2],
    profile: Option<&'a str>,
    created: i64,
    last_seen: Option<i64>,
    revoked: Option<i64>,
}

fn list(dir: &StateDir, json: bool) -> Result<(), Failure> {
    let devices = open_store(dir)?.devices()?;
    let mut out = io::stdout().lock();
    if json {
        let shown: Vec<_> = devices
            .iter()
            .map(|device| Shown {
                id: &device.id,
                name: &device.name,
                os: &device.os,
                version: &device.version,
                key: device.key,
                addresses: [device.slot.v4().into(), device.slot.v6().into()],
                profile: device.profile.as_deref(),
                created: device.created,
                last_seen: device.last_seen,
                revoked: device.revoked,
            })
            .collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&shown)?)?;
        return Ok(());
    }
    let moment = |moment: Option<i64>| moment.map_or_else(|| "-".to_owned(), date);
    let rows: Vec<_> = devices
        .iter()
        .map(|device| {
            vec![
                device.id.clone(),
                device.name.clone(),
                device.os.clone(),
                device.slot.v4().to_string(),
                device.profile.clone().unwrap_or_else(|| "-".to_owned()),
                date(device.created),
                moment(device.last_seen),
                if device.revoked.is_some() { "revoked" } else { "active" }.to_owned(),
            ]
        })
        .collect();
    let heads = ["ID", "NAME", "OS", "ADDRESS", "PROFILE", "REGISTERED (UTC)", "LAST SEEN (UTC)", "STATE"];
    table(&mut out, &heads, &rows)?;
    Ok(())
}

fn add(dir: &StateDir, name: &str, key: Option<PublicKey>, profile: Option<&str>) -> Result<(), Failure> {
    if !(1..=253).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(Failure::Other(anyhow::anyhow!("--name: 1 to 253 characters, no control characters")));
    }
    let config = read_config(dir)?;
    let gateway_key = dir.read_wireguard_key()?.public();
    let private = if key.is_none() { Some(new_tunnel_key()?) } else { None };
    let key = key.or(private.as_ref().map(PrivateKey::public)).context("a key")?;
    if key == gateway_key {
        return Err(Failure::Other(anyhow::anyhow!("--key is the gateway's own key")));
    }
    let new = NewDevice { name, os: "wireguard", version: "", key, token: None };
    let device = open_store(dir)?.add_device(&new, profile, now())?;
    announce(dir)?;
    let mut out = io::stdout().lock();
    write_wg_quick(&mut out, &config, gateway_key, &device, private.as_ref())?;
    Ok(())
}

/// A wg-quick file. The device has an address of its own, since another client would not expect to share one.
fn write_wg_quick(
    out: &mut impl Write,
    config: &Config,
    gateway_key: PublicKey,
    device: &Device,
    private: Option<&PrivateKey>,
) -> io::Result<()> {
    writeln!(out, "# {} at {}", device.name, config.name)?;
    writeln!(out, "[Interface]")?;
    match private {
        Some(private) => {
            writeln!(out, "PrivateKey = {}", key_text(private).as_str())?;
        }
        None => writeln!(out, "# PrivateKey = the one that belongs to {}", device.key)?,
    }
    writeln!(out, "Address = {}/32, {}/128", device.slot.v4(), device.slot.v6())?;
    writeln!(out, "DNS = {INNER_V4}")?;
    writeln!(out, "MTU = {}", config.tunnel.mtu)?;
    writeln!(out)?;
    writeln!(out, "[Peer]")?;
    writeln!(out, "PublicKey = {gateway_key}")?;
    writeln!(out, "AllowedIPs = 0.0.0.0/0, ::/0")?;
    if let (Some(address), Some(port)) = (config.public_addresses.first(), config.tunnel.ports.first()) {
        writeln!(out, "Endpoint = {}", std::net::SocketAddr::new(*address, *port))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn a_wg_quick_file_has_all_that_a_client_needs_and_no_key_that_is_not_ours() {
        let text = "name = \"gw\"\npublic_addresses = [\"2001:db8::10\", \"203.0.113.10\"]\n";
        let config = Config::parse(text).unwrap();
        let private = PrivateKey::from([7; 32]);
        let new =
            NewDevice { name: "router", os: "wireguard", version: "", key: private.public(), token: None };
        let device = Store::in_memory().unwrap().add_device(&new, None, 0).unwrap();
        let write = |private: Option<&PrivateKey>| {
            let mut out = Vec::new();
            write_wg_quick(&mut out, &config, PublicKey::from([9; 32]), &device, private).unwrap();
            String::from_utf8(out).unwrap()
        };
        let whole = write(Some(&private));
        for line in [
            format!("PrivateKey = {}", key_text(&private).as_str()),
            "Address = 100.96.0.1/32, 2606:4700:cf1:1000::1/128".to_owned(),
            "DNS = 172.64.128.1".to_owned(),
            "MTU = 1280".to_owned(),
            format!("PublicKey = {}", PublicKey::from([9; 32])),
            "Endpoint = [2001:db8::10]:2408".to_owned(),
        ] {
            assert!(whole.lines().any(|present| present == line), "{line} in\n{whole}");
        }
        assert!(!write(None).lines().any(|line| line.starts_with("PrivateKey")));
    }
}
