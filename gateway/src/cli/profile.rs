//! `weft-gateway profile`.

use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context, bail};
use weft_model::{Profile, SplitTunnel};

use super::args::ProfileCommand;
use super::output::table;
use super::{Failure, announce, open_store, read_config};
use crate::dir::StateDir;
use crate::store::NamedProfile;

/// The longest profile that is read, in bytes.
const MAX_PROFILE: u64 = 1 << 20;

pub(super) fn profile(dir: &StateDir, command: ProfileCommand) -> Result<(), Failure> {
    match command {
        ProfileCommand::List => {
            let profiles = open_store(dir)?.profiles()?;
            let rows: Vec<_> = profiles.iter().map(summary).collect();
            table(&mut io::stdout().lock(), &["NAME", "DEFAULT", "MODE", "SPLIT TUNNEL"], &rows)?;
            Ok(())
        }
        ProfileCommand::Show { name, json } => {
            let found = open_store(dir)?.profile(name.as_deref())?;
            let mut out = io::stdout().lock();
            if json {
                writeln!(out, "{}", serde_json::to_string_pretty(&found.profile)?)?;
            } else {
                show(&mut out, &found)?;
            }
            Ok(())
        }
        ProfileCommand::Set { file } => {
            let (config, mut store) = (read_config(dir)?, open_store(dir)?);
            let profile = Profile::from_json(&read(&file)?)?;
            check_mtu(&profile, config.tunnel.mtu)?;
            let set = store.set_profile(profile)?;
            announce(dir)?;
            println!("set {}{}", set.name, if set.is_default { " (default)" } else { "" });
            Ok(())
        }
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let limited = |source: &mut dyn Read, text: &mut String| {
        // One byte more, so that a longer profile is not taken for its beginning.
        let read = source.take(MAX_PROFILE + 1).read_to_string(text)?;
        let fits = u64::try_from(read).is_ok_and(|read| read <= MAX_PROFILE);
        if fits { Ok(read) } else { Err(io::Error::other("the profile is larger than 1 MiB")) }
    };
    let read = if file == Path::new("-") {
        limited(&mut io::stdin(), &mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| limited(&mut file, &mut text))
    };
    read.with_context(|| file.display().to_string())?;
    Ok(text)
}

fn check_mtu(profile: &Profile, tunnel: u16) -> anyhow::Result<()> {
    if let Some(mtu) = profile.mtu.filter(|mtu| *mtu > tunnel) {
        bail!(
            "mtu: {mtu} bytes are more than tunnel.mtu in config.toml, {tunnel}: lower one or raise the other"
        );
    }
    Ok(())
}

fn split_tunnel(profile: &Profile) -> String {
    let (word, entries) = match profile.split_tunnel() {
        Some(SplitTunnel::Include(entries)) => ("include", entries),
        Some(SplitTunnel::Exclude(entries)) => ("exclude", entries),
        None => return "exclude, the default entries".to_owned(),
    };
    let ending = if entries.len() == 1 { "y" } else { "ies" };
    format!("{word}, {} entr{ending}", entries.len())
}

fn summary(named: &NamedProfile) -> Vec<String> {
    vec![
        named.name.clone(),
        if named.is_default { "yes" } else { "no" }.to_owned(),
        named.profile.service_mode_v2.mode.to_string(),
        split_tunnel(&named.profile),
    ]
}

fn show(out: &mut impl Write, named: &NamedProfile) -> io::Result<()> {
    let profile = &named.profile;
    let yes_no = |value: bool| if value { "yes" } else { "no" };
    writeln!(out, "{}{}", named.name, if named.is_default { " (default)" } else { "" })?;
    if let Some(description) = &profile.description {
        writeln!(out, "  {description}")?;
    }
    writeln!(out, "  service mode          {}", profile.service_mode_v2.mode)?;
    writeln!(out, "  mode switch allowed   {}", yes_no(profile.allow_mode_switch))?;
    writeln!(out, "  switch locked         {}", yes_no(profile.switch_locked))?;
    writeln!(out, "  allowed to leave      {}", yes_no(profile.allowed_to_leave))?;
    writeln!(out, "  auto connect          {} min", profile.auto_connect)?;
    writeln!(out, "  split tunnel          {}", split_tunnel(profile))?;
    let entries = profile.exclude.iter().chain(&profile.include).flatten();
    for entry in entries {
        let address = entry.address.map(|address| address.to_string());
        let host = entry.host.as_ref().map(ToString::to_string);
        let remark = entry.description.as_deref().unwrap_or_default();
        writeln!(out, "    {}", format!("{:22}{remark}", address.or(host).unwrap_or_default()).trim_end())?;
    }
    match &profile.fallback_domains {
        Some(domains) => {
            writeln!(out, "  fallback domains      {}", domains.len())?;
            for domain in domains {
                let servers: Vec<_> = domain.dns_server.iter().map(ToString::to_string).collect();
                writeln!(out, "    {}", format!("{:22}{}", domain.suffix, servers.join(", ")).trim_end())?;
            }
        }
        None => writeln!(out, "  fallback domains      the default ones")?,
    }
    Ok(())
}
