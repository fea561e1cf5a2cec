//! Changes of the settings by each means: taken down, made, taken back, and looked at.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::{fs, io};

use weft_model::{DnsMode, DnsPlan};

use super::bus::{Bus, BusError};
use super::choose::{self, FileFacts, Place, Resolvconf};
use super::proxy_link::{self, ProxyLink};
use super::{LinuxDns, environment, leads_to_weft, named, network_manager, resolvconf, resolved};
use crate::dns_seam::{DnsStanding, Restored};
use crate::error::PlatformError;
use crate::record::{Before, DnsChange, DnsRecord, FileChange, LinkChange};
use crate::resolv_conf;
use crate::resolver_file::FileHost as _;

/// A drop-in's permissions.
const DROP_IN_MODE: u32 = 0o644;

fn in_resolved(error: BusError) -> PlatformError {
    named(DnsMode::ResolvedLink, &error)
}

fn in_network_manager(error: BusError) -> PlatformError {
    named(DnsMode::NetworkManager, &error)
}

fn in_resolvconf(error: io::Error) -> PlatformError {
    named(DnsMode::Resolvconf, &error)
}

fn whose_resolvconf() -> Result<Resolvconf, PlatformError> {
    environment::resolvconf().ok_or_else(|| in_resolvconf(io::ErrorKind::NotFound.into()))
}

impl LinuxDns {
    /// What a change by this means starts from.
    pub(super) fn change_for(&self, mode: DnsMode) -> Result<DnsChange, PlatformError> {
        Ok(match mode {
            DnsMode::ResolvedLink => DnsChange::Link(LinkChange::default()),
            DnsMode::ResolvedGlobal => {
                // What an earlier weftd left there is nobody's.
                let before = match self.drop_in.0.load()? {
                    found if resolv_conf::is_ours(found.content()) => Before::Absent,
                    found => found,
                };
                let file = FileChange { before, written: Vec::new() };
                DnsChange::DropIn { file, system: self.system_in(mode, None)? }
            }
            DnsMode::NetworkManager => {
                let system = self.system_in(mode, None)?;
                DnsChange::NetworkManager { set: LinkChange::default(), system }
            }
            DnsMode::Resolvconf => {
                DnsChange::Resolvconf { written: None, system: self.system_in(mode, None)? }
            }
            DnsMode::None if environment::forces(mode) => {
                DnsChange::Nothing { system: self.system_in(mode, None)? }
            }
            // Where it cannot be written, the attempt says why.
            DnsMode::File | DnsMode::FileInPlace | DnsMode::None => {
                DnsChange::File(FileChange { before: self.file.before()?, written: Vec::new() })
            }
        })
    }

    pub(super) fn prepare_any(&self, plan: &DnsPlan, record: &mut DnsRecord) -> Result<(), PlatformError> {
        let newest = match record.change {
            DnsChange::DropIn { .. } | DnsChange::NetworkManager { .. } | DnsChange::Resolvconf { .. } => {
                Some(self.system_in(record.mode, Some(record))?)
            }
            DnsChange::File(_) | DnsChange::Link(_) | DnsChange::Nothing { .. } => None,
        };
        match &mut record.change {
            DnsChange::File(file) => self.file.prepare_change(plan, file)?,
            // resolved goes on searching the other links' domains by itself.
            DnsChange::Link(set) => *set = LinkChange::of(plan, &[]),
            DnsChange::DropIn { file, system } => {
                *system = newest.unwrap_or_default();
                file.written = vec![resolved::drop_in(plan)];
            }
            DnsChange::NetworkManager { set, system } => {
                *system = newest.unwrap_or_default();
                *set = LinkChange::of(plan, &system.search);
            }
            DnsChange::Resolvconf { written, system } => {
                *system = newest.unwrap_or_default();
                *written = Some(resolv_conf::render(plan, &system.search));
            }
            DnsChange::Nothing { .. } => {}
        }
        Ok(())
    }

    pub(super) fn apply_any(&mut self, plan: &DnsPlan, record: &mut DnsRecord) -> Result<(), PlatformError> {
        self.prepare_any(plan, record)?;
        match &mut record.change {
            DnsChange::File(file) => {
                self.file.0.in_place = record.mode == DnsMode::FileInPlace;
                self.file.apply_change(plan, file)?;
            }
            DnsChange::Link(set) => self.apply_link(set)?,
            DnsChange::DropIn { file, .. } => self.apply_drop_in(file)?,
            DnsChange::NetworkManager { set, .. } => {
                let mut bus = Bus::system().map_err(in_network_manager)?;
                network_manager::set_global(&mut bus, &set.servers, &set.search)
                    .map_err(in_network_manager)?;
            }
            DnsChange::Resolvconf { written, .. } => {
                let text = written.as_deref().unwrap_or_default();
                resolvconf::add(whose_resolvconf()?, text).map_err(in_resolvconf)?;
            }
            DnsChange::Nothing { .. } => {}
        }
        Ok(())
    }

    fn apply_link(&mut self, set: &LinkChange) -> Result<(), PlatformError> {
        let tunnel = proxy_link::tunnel()?;
        if tunnel.is_none() && self.link.is_none() {
            self.link = Some(ProxyLink::make()?);
        }
        let missing = || PlatformError::InterfaceMissing { name: proxy_link::NAME.to_owned() };
        let (_, index) = proxy_link::current()?.ok_or_else(missing)?;
        let mut bus = Bus::system().map_err(in_resolved)?;
        resolved::set_link(&mut bus, index, set).map_err(in_resolved)?;
        // Names have another way by now.
        if tunnel.is_some() {
            self.link = None;
        }
        Ok(())
    }

    fn apply_drop_in(&mut self, file: &FileChange) -> Result<(), PlatformError> {
        let Some(text) = file.written.last() else { return Ok(()) };
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let wanted = Before::File { content: text.as_bytes().to_vec(), mode: DROP_IN_MODE, uid, gid };
        let is_there = self.drop_in.0.load()? == wanted;
        let mut bus = Bus::system().map_err(in_resolved)?;
        if is_there && resolved::global_servers(&mut bus).is_ok_and(|servers| leads_first(&servers)) {
            return Ok(());
        }
        self.drop_in.0.make_folder()?;
        self.drop_in.0.store(&wanted)?;
        let detail = match resolved::restart(&mut bus) {
            Ok(true) => return Ok(()),
            Ok(false) => "systemd is not there to restart it".to_owned(),
            Err(error) => error.to_string(),
        };
        // What is not read now would be read at some other time.
        let _ = self.drop_in.0.store(&file.before);
        Err(named(DnsMode::ResolvedGlobal, &detail))
    }

    pub(super) fn restore_any(&mut self, record: &DnsRecord) -> Result<Restored, PlatformError> {
        match &record.change {
            DnsChange::File(file) => {
                self.file.0.in_place = record.mode == DnsMode::FileInPlace;
                self.file.restore_change(file)
            }
            DnsChange::Link(set) if set.servers.is_empty() => Ok(Restored::Unchanged),
            DnsChange::Link(_) => self.restore_link(),
            DnsChange::DropIn { file, .. } => self.restore_drop_in(file),
            DnsChange::NetworkManager { set, .. } if set.servers.is_empty() => Ok(Restored::Unchanged),
            DnsChange::NetworkManager { .. } => restore_network_manager(),
            DnsChange::Resolvconf { written: None, .. } | DnsChange::Nothing { .. } => {
                Ok(Restored::Unchanged)
            }
            DnsChange::Resolvconf { .. } => match environment::resolvconf() {
                // It was removed, and what was handed in to it with it.
                None => Ok(Restored::Unchanged),
                Some(whose) => {
                    let leads_to_weft = || Ok(leads_to_weft(self.file.0.load()?.content()));
                    resolvconf::remove(whose, leads_to_weft).map(|()| Restored::Restored)
                }
            },
        }
    }

    /// With the link its settings go by themselves; the tunnel interface may stay.
    fn restore_link(&mut self) -> Result<Restored, PlatformError> {
        self.link = None;
        let Some((_, index)) = proxy_link::tunnel()? else { return Ok(Restored::Restored) };
        match Bus::system().and_then(|mut bus| resolved::revert_link(&mut bus, index)) {
            Ok(()) => {}
            Err(error) if error.is_absent() => resolved::forget_link(index),
            Err(error) => return Err(in_resolved(error)),
        }
        Ok(Restored::Restored)
    }

    /// The drop-in goes first, and resolved is restarted then. So it is what resolved has that tells whether the restore
    /// is done, however far an earlier one came.
    fn restore_drop_in(&mut self, file: &FileChange) -> Result<Restored, PlatformError> {
        self.drop_in.0.tidy();
        let now = self.drop_in.0.load()?;
        let is_before = now == file.before;
        let is_foreign = !is_before && now != Before::Absent && !resolv_conf::is_ours(now.content());
        if !is_before && !is_foreign {
            self.drop_in.0.store(&file.before)?;
        }
        match Bus::system().and_then(|mut bus| restart_if_led(&mut bus)) {
            Ok(Led::StillByWeft) => Ok(Restored::Owed),
            _ if is_foreign => Ok(Restored::LeftForeign),
            Ok(Led::ByOthers) if is_before => Ok(Restored::Unchanged),
            Ok(Led::ByOthers | Led::ByWeftNoMore) => Ok(Restored::Restored),
            // Without the bus nobody can tell what resolved has.
            Err(error) if error.is_absent() => Ok(Restored::Owed),
            Err(error) => Err(in_resolved(error)),
        }
    }

    pub(super) fn standing_any(&self, record: &DnsRecord) -> Result<DnsStanding, PlatformError> {
        let first = self.look(record)?;
        // Whoever keeps the settings may come or go between two looks, as in a restart; another mode is one that stays.
        if matches!(first, DnsStanding::OtherMode(_)) { self.look(record) } else { Ok(first) }
    }

    fn look(&self, record: &DnsRecord) -> Result<DnsStanding, PlatformError> {
        let standing = self.standing_by(&record.change)?;
        let wanted = match (&record.change, &standing) {
            (DnsChange::Nothing { .. }, _) => return Ok(standing),
            // Weft's own file tells nothing of who would keep the settings without it; the former one does. Whoever
            // keeps that one may have been away when the mode was chosen.
            (DnsChange::File(file), DnsStanding::InForce) => match self.mode_over(&file.before)? {
                DnsMode::File | DnsMode::FileInPlace | DnsMode::None => return Ok(standing),
                wanted => wanted,
            },
            (_, DnsStanding::Away) if self.still_leads_to_keeper(record.mode)? => return Ok(standing),
            _ => self.decide()?.mode,
        };
        Ok(if wanted == record.mode { standing } else { DnsStanding::OtherMode(wanted) })
    }

    /// The mode that would be chosen now if this stood in the file's place.
    fn mode_over(&self, before: &Before) -> Result<DnsMode, PlatformError> {
        let Before::Symlink { target, content } = before else {
            return Ok(choose::choose(&self.found(before)?).mode);
        };
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let behind = folder.join(OsStr::from_bytes(target));
        // What is behind the link may have come since.
        let content = fs::read(&behind).unwrap_or_else(|_| content.clone());
        let state = Before::Symlink { target: target.clone(), content };
        let mut environment = self.found(&state)?;
        environment.file.place = Place::Link(fs::canonicalize(&behind).unwrap_or(behind));
        Ok(choose::choose(&environment).mode)
    }

    /// Whether names come to whoever keeps the settings in this mode as soon as it runs again, and go nowhere else
    /// meanwhile.
    fn still_leads_to_keeper(&self, mode: DnsMode) -> Result<bool, PlatformError> {
        let now = self.file.0.load()?;
        Ok(match mode {
            DnsMode::ResolvedLink | DnsMode::ResolvedGlobal => {
                let text = String::from_utf8_lossy(now.content()).into_owned();
                let leads = choose::leads_to_resolved(&FileFacts { text, ..FileFacts::default() });
                leads
                    || matches!(now, Before::Symlink { target, content } if content.is_empty() && target.ends_with(resolved::STUB))
            }
            // It leaves its file behind.
            DnsMode::NetworkManager => leads_to_weft(now.content()),
            DnsMode::Resolvconf | DnsMode::File | DnsMode::FileInPlace | DnsMode::None => true,
        })
    }

    fn standing_by(&self, change: &DnsChange) -> Result<DnsStanding, PlatformError> {
        match change {
            DnsChange::File(file) => self.file.standing_of(file),
            DnsChange::Link(set) => self.link_standing(set),
            DnsChange::DropIn { file, .. } => self.drop_in_standing(file),
            DnsChange::NetworkManager { .. } => self.network_manager_standing(),
            DnsChange::Resolvconf { .. } => self.resolvconf_standing(),
            DnsChange::Nothing { .. } => Ok(DnsStanding::InForce),
        }
    }

    fn link_standing(&self, set: &LinkChange) -> Result<DnsStanding, PlatformError> {
        let Some((name, index)) = proxy_link::current()? else {
            return Ok(DnsStanding::Replaced {
                found: "the link of the settings is gone".to_owned(),
                by: None,
            });
        };
        let found = Bus::system().and_then(|mut bus| {
            let found = resolved::link(&mut bus, index)?;
            Ok((found, resolved::is_all_claimed_by_others(&mut bus, index)?))
        });
        match found {
            Ok((found, true)) if resolved::is_set(&found, set) => Ok(DnsStanding::Shared {
                found: "systemd-resolved leads all names to other resolvers besides".to_owned(),
            }),
            Ok((found, false)) if resolved::is_set(&found, set) => Ok(DnsStanding::InForce),
            Ok(((servers, _), _)) => {
                let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
                let found = match servers.is_empty() {
                    true => format!("systemd-resolved has no settings for {name}"),
                    false => {
                        format!("systemd-resolved has other settings for {name} ({})", servers.join(", "))
                    }
                };
                Ok(DnsStanding::Replaced { found, by: None })
            }
            Err(error) if error.is_absent() => Ok(DnsStanding::Away),
            Err(error) => Err(in_resolved(error)),
        }
    }

    fn drop_in_standing(&self, file: &FileChange) -> Result<DnsStanding, PlatformError> {
        let now = self.drop_in.0.load()?;
        if file.written.last().map(String::as_bytes) != Some(now.content()) {
            let found = format!("{} is not what Weft wrote", resolved::DROP_IN);
            return Ok(DnsStanding::Replaced { found, by: None });
        }
        let servers = Bus::system().and_then(|mut bus| match resolved::runs(&mut bus)? {
            true => resolved::global_servers(&mut bus).map(Some),
            false => Ok(None),
        });
        match servers {
            Ok(Some(servers)) if leads_first(&servers) => Ok(DnsStanding::InForce),
            Ok(Some(_)) => {
                let found = "systemd-resolved runs with other servers than its settings name".to_owned();
                Ok(DnsStanding::Replaced { found, by: None })
            }
            Ok(None) => Ok(DnsStanding::Away),
            Err(error) if error.is_absent() => Ok(DnsStanding::Away),
            Err(error) => Err(in_resolved(error)),
        }
    }

    fn network_manager_standing(&self) -> Result<DnsStanding, PlatformError> {
        match Bus::system().and_then(|mut bus| network_manager::global(&mut bus)) {
            Ok(global) if global.is_ours() => {}
            Ok(_) => {
                let found = "NetworkManager has other global DNS settings, or none".to_owned();
                return Ok(DnsStanding::Replaced { found, by: None });
            }
            Err(error) if error.is_absent() => return Ok(DnsStanding::Away),
            Err(error) => return Err(in_network_manager(error)),
        }
        Ok(DnsStanding::InForce)
    }

    fn resolvconf_standing(&self) -> Result<DnsStanding, PlatformError> {
        let now = self.file.0.load()?;
        if leads_to_weft(now.content()) {
            return Ok(DnsStanding::InForce);
        }
        let found = format!("{} does not lead to what was handed in to resolvconf", self.path.display());
        Ok(DnsStanding::Replaced { found, by: resolv_conf::author(now.content()) })
    }
}

fn leads_first(servers: &[std::net::IpAddr]) -> bool {
    servers.first().is_some_and(|server| weft_model::DNS_PROXY_ADDRESSES.contains(server))
}

/// What leads names in resolved, after a restart where Weft did.
enum Led {
    ByOthers,
    ByWeftNoMore,
    /// Nobody is there to restart it.
    StillByWeft,
}

fn restart_if_led(bus: &mut Bus) -> Result<Led, BusError> {
    if !resolved::runs(bus)? {
        resolved::restart_if_starting(bus);
        return Ok(Led::ByOthers);
    }
    if !leads_first(&resolved::global_servers(bus)?) {
        return Ok(Led::ByOthers);
    }
    Ok(if resolved::restart(bus)? { Led::ByWeftNoMore } else { Led::StillByWeft })
}

/// Its global settings outlast it, so they are owed while it is away.
fn restore_network_manager() -> Result<Restored, PlatformError> {
    let restored = Bus::system().and_then(|mut bus| {
        let global = network_manager::global(&mut bus)?;
        if global.is_empty() {
            return Ok(Restored::Unchanged);
        }
        if !global.is_ours() {
            tracing::warn!("NetworkManager's global DNS settings were changed by somebody else and are left");
            return Ok(Restored::LeftForeign);
        }
        network_manager::clear_global(&mut bus).map(|()| Restored::Restored)
    });
    match restored {
        Err(error) if error.is_absent() => Ok(Restored::Owed),
        restored => restored.map_err(in_network_manager),
    }
}
