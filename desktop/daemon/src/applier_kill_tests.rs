//! The applier, killed for real at each step of setting DNS and of taking it back, beside those who keep the settings.
//!
//! A process of its own sets and takes back, and strace kills it as it enters one system call after the other.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netlab::services::{Bus, NetworkManager, Resolved, Systemd};
use netlab::topology::{DEVICE, INTERFACE, LAN, ROUTER};
use netlab::{Component, Host, Lab, Topology, eventually};

use super::*;
use crate::state::StateDir;
use crate::testing::connected;

/// Where a victim finds its state; without it, it is no victim.
const VICTIM: &str = "WEFT_TEST_VICTIM";
/// At which call it is killed, and the how many-th: `write 3`.
const AT: &str = "WEFT_TEST_VICTIM_AT";
/// The calls that change files, or start programs that do.
const FILES: [&str; 6] = ["write", "rename", "unlink", "mkdir", "symlink", "clone3"];
/// The call that speaks to the message bus, and to the kernel of links.
const MESSAGES: [&str; 1] = ["sendto"];
const SOON: Duration = Duration::from_secs(30);

/// The process that is killed: it sets the DNS settings of two plans, and takes them back.
#[test]
#[ignore = "started, and killed, by the tests below"]
fn victim() {
    let Some(folder) = std::env::var_os(VICTIM) else { return };
    let killer = std::env::var(AT).ok().map(|at| killer(&at));
    let state = StateDir::open(Path::new(&folder)).unwrap();
    let mut applier = Applier::new(Platform::native().unwrap(), Journal::open(&state).unwrap().0);
    let mut plan = connected(1).dns.unwrap();
    set(&mut applier, &plan);
    if victim_is_told_of_another_plan() {
        plan.search = vec!["branch.example".parse().unwrap()];
        set(&mut applier, &plan);
    }
    assert_eq!(applier.restore_dns().unwrap(), Some(Undone::Restored(DNS)));
    if let Some(mut killer) = killer {
        killer.kill().unwrap();
        killer.wait().unwrap();
    }
}

/// Whoever keeps the settings may still be on its way back from a restart.
fn set(applier: &mut Applier, plan: &DnsPlan) {
    eventually(SOON, "the plan's settings are set", || -> Result<()> {
        ensure!(applier.switch_dns(plan)?, "whoever keeps them is away");
        Ok(())
    })
    .unwrap();
}

/// A message is killed in one plan's life; there are many.
fn victim_is_told_of_another_plan() -> bool {
    std::env::var(AT).is_ok_and(|at| !MESSAGES.iter().any(|call| at.starts_with(call)))
}

/// What kills this thread, and so its process, at a call. It counts no call of other threads.
fn killer(at: &str) -> Child {
    let (call, when) = at.split_once(' ').unwrap();
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let (trace, inject) = (format!("--trace={call}"), format!("--inject={call}:signal=KILL:when={when}"));
    let mut strace = Command::new("strace");
    strace.args(["--output=/dev/null", &trace, &inject, "--attach", &thread]).stderr(Stdio::piped());
    let mut strace = strace.spawn().unwrap();
    let mut lines = BufReader::new(strace.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("attached")), "strace cannot attach");
    strace
}

/// A device, and who keeps its settings.
struct World {
    host: Host,
    mode: DnsMode,
    _manager: Option<NetworkManager>,
    _systemd: Option<Systemd>,
    _resolved: Option<Arc<Mutex<Resolved>>>,
    _bus: Option<Bus>,
    _topology: Topology,
}

impl World {
    fn new(lab: &Lab, mode: DnsMode) -> Result<Self> {
        let topology = Topology::standard(lab)?;
        let host = topology.device.clone();
        let mut world = Self {
            host: host.clone(),
            mode,
            _manager: None,
            _systemd: None,
            _resolved: None,
            _bus: None,
            _topology: topology,
        };
        match mode {
            DnsMode::ResolvedLink | DnsMode::ResolvedGlobal => {
                let bus = host.dbus(&[Component::Resolved])?;
                let mut resolved = bus.resolved("")?;
                // At first it found a file of resolvers instead of its own.
                resolved.restart()?;
                resolved.set_link(INTERFACE, &[LAN.into()], &["corp"])?;
                let resolved = Arc::new(Mutex::new(resolved));
                world._systemd = Some(bus.systemd(Arc::clone(&resolved))?);
                (world._resolved, world._bus) = (Some(resolved), Some(bus));
            }
            DnsMode::NetworkManager => {
                let bus = host.dbus(&[Component::NetworkManager])?;
                let manager = bus.network_manager("dns=default\nrc-manager=file")?;
                let (address, gateway, resolver) =
                    (format!("{DEVICE}/24"), ROUTER.to_string(), LAN.to_string());
                let settings =
                    ["ipv4.method", "manual", "ipv4.addresses", &address, "ipv4.gateway", &gateway];
                manager.connect(INTERFACE, &[settings.as_slice(), &["ipv4.dns", &resolver]].concat())?;
                (world._manager, world._bus) = (Some(manager), Some(bus));
            }
            DnsMode::Resolvconf => {
                host.install(&[Component::Openresolv])?;
                host.sh(&format!("rm /etc/resolv.conf; echo nameserver {LAN} | resolvconf -a eth0.dhcp"))?;
            }
            DnsMode::FileInPlace => {
                host.write_file("/run/resolv.conf", format!("nameserver {LAN}\n"))?;
                host.run(["mount", "--bind", "/run/resolv.conf", "/etc/resolv.conf"])?;
            }
            DnsMode::File | DnsMode::None => {}
        }
        eventually(SOON, "the former resolver is in force", || -> Result<()> {
            let shown = world.shown()?;
            ensure!(shown.contains(&LAN.to_string()), "{shown}");
            Ok(())
        })?;
        Ok(world)
    }

    /// The settings, as people see them.
    fn shown(&self) -> Result<String> {
        let lines = match self.mode {
            DnsMode::ResolvedLink | DnsMode::ResolvedGlobal => {
                "readlink /etc/resolv.conf; ls -A /run/systemd/resolved.conf.d 2>/dev/null || true; \
                 resolvectl dns; resolvectl domain"
            }
            _ => "cat /etc/resolv.conf; ls -A /etc | grep weftd || true",
        };
        Ok(self.host.sh(lines)?.stdout)
    }

    /// Waits until the settings are those again; `at` says when that was.
    fn comes_back(&self, before: &str, at: &str) -> Result<()> {
        eventually(SOON, format!("{}, {at}: all is as before", self.mode), || {
            let shown = self.shown()?;
            ensure!(shown == before, "{shown}\ninstead of\n{before}");
            Ok(())
        })
    }

    /// A victim with this state.
    fn victim(&self, state: &Path) -> Result<Command> {
        let mut command = self.host.command(std::env::current_exe()?);
        let name = concat!(module_path!(), "::victim");
        let name = name.split_once("::").map_or(name, |(_, name)| name);
        command.args(["--exact", name, "--ignored", "--test-threads=1"]);
        command.env(VICTIM, state).env("WEFT_DNS_MODE", self.mode.to_string());
        Ok(command)
    }

    /// Kills a victim as it enters such a call for the so many-th time. Says whether it came that far.
    fn kill(&self, state: &Path, call: &str, when: usize) -> Result<bool> {
        let mut victim = self.victim(state)?;
        victim.env(AT, format!("{call} {when}"));
        let output = self.host.finish(victim, SOON)?;
        let is_killed = output.status.signal() == Some(libc::SIGKILL);
        ensure!(is_killed || output.status.success(), "{call} {when}: {output:?}");
        Ok(is_killed)
    }
}

/// Kills at every such call, undoes from another process, and compares.
fn survives_a_kill_at_every_step(mode: DnsMode, calls: &'static [&str]) {
    netlab::run(move |lab| {
        let world = World::new(lab, mode)?;
        let before = world.shown()?;
        let folder = tempfile::tempdir()?;
        let unharmed = world.victim(folder.path())?;
        let said = world.host.finish(unharmed, SOON)?.success().context("nobody killed it")?.stdout;
        ensure!(said.contains("1 passed"), "{said}");
        world.comes_back(&before, "nobody killed it")?;
        let mut kills = 0;
        for call in calls {
            let mut when = 1;
            while world.kill(folder.path(), call, when)? {
                let undone = world.host.inside(|| -> Result<Vec<Undone>> {
                    let state = StateDir::open(folder.path())?;
                    Ok(Applier::new(Platform::native()?, Journal::open(&state)?.0).undo())
                })??;
                let is_whole = |one: &Undone| matches!(one, Undone::Restored(_));
                ensure!(undone.iter().all(is_whole), "{call} {when}: {undone:?}");
                world.comes_back(&before, &format!("{call} {when}"))?;
                ensure!(!folder.path().join("journal.json").exists(), "{call} {when}");
                (when, kills) = (when + 1, kills + 1);
            }
        }
        // The journal alone is written and replaced four times; a bus is told of two plans and of their end.
        ensure!(kills >= 8, "{kills} kills");
        Ok(())
    });
}

#[test]
fn killed_at_each_change_of_a_file_beside_systemd_resolved() {
    survives_a_kill_at_every_step(DnsMode::ResolvedLink, &FILES);
}

#[test]
fn killed_at_each_message_to_systemd_resolved() {
    survives_a_kill_at_every_step(DnsMode::ResolvedLink, &MESSAGES);
}

#[test]
fn killed_at_each_change_of_a_file_beside_resolveds_global_settings() {
    survives_a_kill_at_every_step(DnsMode::ResolvedGlobal, &FILES);
}

#[test]
fn killed_at_each_message_about_resolveds_global_settings() {
    survives_a_kill_at_every_step(DnsMode::ResolvedGlobal, &MESSAGES);
}

#[test]
fn killed_at_each_change_of_a_file_beside_network_manager() {
    survives_a_kill_at_every_step(DnsMode::NetworkManager, &FILES);
}

#[test]
fn killed_at_each_message_to_network_manager() {
    survives_a_kill_at_every_step(DnsMode::NetworkManager, &MESSAGES);
}

#[test]
fn killed_at_each_step_beside_resolvconf() {
    survives_a_kill_at_every_step(DnsMode::Resolvconf, &FILES);
}

#[test]
fn killed_at_each_step_with_a_file_that_is_written_in_place() {
    survives_a_kill_at_every_step(DnsMode::FileInPlace, &FILES);
}

#[test]
fn killed_at_each_step_with_a_plain_file() {
    survives_a_kill_at_every_step(DnsMode::File, &FILES);
}
