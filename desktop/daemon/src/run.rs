//! The daemon's life: from what it was left as to the signal that ends it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use weft_ipc::{Access, Listener};
use weft_model::{FirewallPlan, UserError};
use weft_platform::{NetworkMonitor, Platform, Watch};
use weft_runtime::session::{Session, SessionConfig};
use weft_runtime::sockets::SocketFactory;

use crate::applier::{Applier, Undone};
use crate::apply_thread::{ApplyThread, Outcome};
use crate::daemon::{self, Daemon};
use crate::fatal::Fatal;
use crate::journal::Journal;
use crate::keeper::Keeper;
use crate::log::LogRing;
use crate::state::{StateDir, Stored};
use crate::target::{Decision, Left};
use crate::{dns_watch, follow, serve};

/// Names that the system knows without asking anybody (hosts(5)).
const HOSTS_FILE: &str = "/etc/hosts";

/// The most that the DNS cache takes, in bytes: room for 100,000 names of one short answer each, of about 64 bytes with
/// the index. It takes what its entries need and no more.
const DNS_CACHE_BYTES: usize = 8 << 20;

/// What a daemon runs on.
pub(crate) struct Parts {
    pub(crate) platform: Platform,
    pub(crate) monitor: Box<dyn NetworkMonitor>,
    pub(crate) state_dir: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) access: Access,
    /// The firewall mark of the sockets outside the tunnel.
    pub(crate) mark: Option<u32>,
    pub(crate) log: LogRing,
}

/// Resolves when the daemon shall end.
pub(crate) type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The signals that end the daemon: SIGTERM, SIGINT and SIGHUP.
///
/// # Errors
/// The system refuses to tell of them.
pub(crate) fn signals() -> Result<Stop, Fatal> {
    let listen = |kind| signal(kind).context("signals cannot be listened for");
    let mut term = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hangup = listen(SignalKind::hangup())?;
    Ok(Box::pin(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }))
}

/// Runs a daemon until `stop`, and then puts everything back; the target state stays.
///
/// # Errors
/// The daemon cannot start, or a part of it has ended. What is in force stays then: a device that shall be connected
/// stays blocked.
pub(crate) async fn run(parts: Parts, stop: Stop) -> Result<(), Fatal> {
    let Parts { platform, monitor, state_dir, socket, access, mark, log } = parts;
    let prepared = prepare(&state_dir, platform)?;
    let (firewall_changes, _firewall_watch) = watch_firewall(&prepared.applier)?;
    let (dns_changes, _dns_watch) = watch_dns(&prepared.applier)?;
    let (daemon, outcomes, decision) = assemble(prepared, mark, log)?;
    let listener = listen(&socket, &access)?;
    let (networks, _watch) = watch_network(monitor.as_ref())?;

    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(follow::session(Arc::clone(&daemon)));
    tasks.spawn(follow::system(Arc::clone(&daemon), outcomes));
    tasks.spawn(follow::network(Arc::clone(&daemon), networks));
    tasks.spawn(follow::firewall(Arc::clone(&daemon), firewall_changes));
    tasks.spawn(dns_watch::follow(Arc::clone(&daemon), dns_changes));
    tasks.spawn(follow::state(Arc::clone(&daemon)));
    go_on(&daemon, &decision).await;
    // Clients wait at the socket until there is something true to tell them.
    tasks.spawn(serve::serve(Arc::clone(&daemon), listener, access));
    tell_manager(NotifyState::Ready);
    tracing::info!("ready at {}", socket.display());

    tokio::select! {
        () = stop => {}
        _ = tasks.join_next() => {
            return Err(anyhow!("a part of the daemon has ended; what is in force stays").into());
        }
    }
    tell_manager(NotifyState::Stopping);
    tracing::info!("ending");
    shut_down(&daemon).await;
    tasks.shutdown().await;
    Ok(())
}

/// The daemon's state, read, and the system as the decision wants it.
struct Prepared {
    applier: Applier,
    keeper: Keeper,
    left: Left,
    decision: Decision,
}

/// Reads what the device was left as, blocks where it must be, and undoes what a former daemon left.
fn prepare(state_dir: &Path, platform: Platform) -> Result<Prepared, Fatal> {
    let state = StateDir::open(state_dir).with_context(|| format!("{}", state_dir.display()))?;
    let (keeper, left) = Keeper::open(state.clone());
    let decision = left.decide();
    decision.troubles.iter().for_each(|trouble| tracing::error!("{trouble}"));
    let (journal, trouble) = Journal::open(&state).context("the undo journal cannot be read")?;
    if let Some(trouble) = trouble {
        tracing::error!("{trouble}: the former DNS settings are lost");
    }
    let mut applier = Applier::new(platform, journal);
    recover(&mut applier, &decision.firewall)?;
    Ok(Prepared { applier, keeper, left, decision })
}

/// Blocks before anything is asked that may stop the start: whoever holds a port must not be what opens the device.
/// Where nothing is to be blocked, everything is asked first, and a start that fails changes nothing.
fn recover(applier: &mut Applier, firewall: &FirewallPlan) -> Result<(), Fatal> {
    let blocks = *firewall != FirewallPlan::Open;
    match blocks {
        true => applier.preflight_firewall().context("the device cannot be blocked")?,
        false => applier.preflight()?,
    }
    let undone = applier.recover(firewall).context("the device cannot be blocked")?;
    undone.iter().for_each(Undone::log);
    match blocks {
        true => applier.preflight().map_err(Fatal::Blocked),
        false => Ok(()),
    }
}

fn assemble(
    prepared: Prepared,
    mark: Option<u32>,
    log: LogRing,
) -> Result<(Arc<Daemon>, mpsc::UnboundedReceiver<Outcome>, Decision), Fatal> {
    let Prepared { mut applier, keeper, left, decision } = prepared;
    // Which addresses sockets can be bound to is known once they are the device's own.
    let addresses = applier.claim().context("the DNS proxy cannot have its addresses")?;
    applier.release().context("the DNS proxy's addresses stay")?;
    let system_dns = applier.system_dns().unwrap_or_else(|error| {
        tracing::warn!("the system's resolvers cannot be read: {error}");
        Vec::new()
    });
    let keeper = Arc::new(keeper);
    let config = SessionConfig {
        registration: left.registration.value(),
        profile: left.profile.value(),
        user: left.user.value().unwrap_or_default(),
        mark,
        dns_listen: addresses.into_iter().map(|address| SocketAddr::new(address, 53)).collect(),
        system_dns,
        hosts_file: Some(HOSTS_FILE.into()),
        sentinels: Vec::new(),
        dns_cache_bytes: DNS_CACHE_BYTES,
    };
    let session = Session::start(config, Arc::clone(&keeper) as _).map_err(anyhow::Error::new)?;
    let (system, outcomes) = ApplyThread::start(applier).context("the system gives no thread")?;
    let target = decision.target;
    if left.target != Stored::Read(target) {
        keeper.write_target(&target).context("the target state cannot be kept")?;
    }
    let outside = mark.map_or_else(SocketFactory::new, |mark| SocketFactory::new().with_mark(mark));
    let daemon = Daemon::new(daemon::Parts { session, system, keeper, log, outside, target });
    Ok((Arc::new(daemon), outcomes, decision))
}

fn listen(socket: &Path, access: &Access) -> Result<Listener, Fatal> {
    if access.group.is_none() {
        tracing::warn!("there is no group {}: only root may speak to weftd", access.group_name);
    }
    let listener = Listener::bind(socket, access);
    Ok(listener.with_context(|| format!("{} cannot be listened at", socket.display()))?)
}

type Networks = watch::Receiver<Option<weft_model::NetworkState>>;

fn watch_network(monitor: &dyn NetworkMonitor) -> Result<(Networks, Watch), Fatal> {
    let (tell, networks) = watch::channel(None);
    let watch = monitor.watch(Box::new(move |network| drop(tell.send_replace(Some(network)))));
    Ok((networks, watch.context("the network cannot be watched")?))
}

fn watch_firewall(applier: &Applier) -> Result<(watch::Receiver<()>, Watch), Fatal> {
    let (tell, changes) = watch::channel(());
    let watch = applier.watch_firewall(Box::new(move || tell.send_replace(())));
    Ok((changes, watch.context("the firewall cannot be watched")?))
}

fn watch_dns(applier: &Applier) -> Result<(watch::Receiver<()>, Watch), Fatal> {
    let (tell, changes) = watch::channel(());
    let watch = applier.watch_dns(Box::new(move || tell.send_replace(())));
    Ok((changes, watch.context("the DNS settings cannot be watched")?))
}

/// On to what the device shall be.
async fn go_on(daemon: &Daemon, decision: &Decision) {
    if decision.connect {
        let connected = match daemon.begin().await {
            Ok(_operation) => daemon.connect().await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = connected {
            tracing::error!("the device stays blocked: {failure}");
            daemon.strand(stranded(failure, &decision.troubles));
        }
    }
    daemon.publish_status().await;
}

/// What a user is told of a device that a start blocked and cannot connect.
fn stranded(failure: weft_ipc::Failure, troubles: &[String]) -> UserError {
    match failure {
        weft_ipc::Failure::User { error } if troubles.is_empty() => error,
        failure => {
            let why = if troubles.is_empty() { failure.to_string() } else { troubles.join("; ") };
            UserError::Settings { detail: format!("{why}: `weft disconnect` opens the device again") }
        }
    }
}

/// Puts everything back, with the session still there to answer what the system asks meanwhile.
async fn shut_down(daemon: &Daemon) {
    daemon.close().await;
    daemon.system.close();
    let undone = daemon.system.run(Applier::undo).await;
    undone.unwrap_or_default().iter().for_each(Undone::log);
}

fn tell_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("the service manager could not be told: {error}");
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
