//! The tasks that carry what happens between session, system and target.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use weft_model::{Event, NetworkState, Settings, State};

use crate::applier::Applier;
use crate::apply_thread::Outcome;
use crate::daemon::Daemon;
use crate::memory;
use crate::target::Target;

/// Carries the session's events to the system and the watchers, until the session ends.
pub(crate) async fn session(daemon: Arc<Daemon>) {
    let mut state = State::Disconnected;
    let mut settling: Option<JoinHandle<()>> = None;
    while let Some(event) = daemon.session.next_event().await {
        match event {
            Event::Plan(plan) => {
                tracing::debug!("plan {}", plan.number);
                daemon.system.submit(plan);
            }
            Event::Status(status) => {
                tracing::info!("{}: {}", status.state, status.reason);
                daemon.publish_status().await;
                let former = std::mem::replace(&mut state, status.state);
                if status.state == State::Connected && former != State::Connected {
                    // Nothing but queries and packets is to be done from here on.
                    let former = settling.replace(tokio::spawn(memory::settle()));
                    if let Some(former) = former {
                        former.abort();
                    }
                }
            }
            Event::Settings(settings) => copy_lock(&daemon, &settings),
            Event::Revoked => tracing::warn!("the gateway has revoked this device"),
        }
    }
}

/// Keeps the target's copy of the administrator's lock.
pub(crate) fn copy_lock(daemon: &Daemon, settings: &Settings) {
    let target = Target { locked: settings.switch_locked.value, ..daemon.target() };
    if let Err(error) = daemon.set_target(target) {
        tracing::warn!("{error}");
    }
}

/// Carries what became of plans to the session, until the thread that applies them ends.
pub(crate) async fn system(daemon: Arc<Daemon>, mut outcomes: mpsc::UnboundedReceiver<Outcome>) {
    while let Some(outcome) = outcomes.recv().await {
        match outcome {
            Outcome::Tun(descriptor) => {
                if let Err(error) = daemon.session.attach_tun(descriptor) {
                    tracing::error!("the tunnel interface's descriptor cannot be used: {error}");
                }
            }
            Outcome::Applied(number, result) => daemon.session.acknowledge(number, result).await,
        }
    }
}

/// Keeps the target and the DNS proxy's addresses in step with the state: the session connects by itself where the
/// profile says so, and what it no longer needs goes once it is down.
pub(crate) async fn state(daemon: Arc<Daemon>) {
    let mut states = daemon.watch_status();
    while states.changed().await.is_ok() {
        let Ok(_operation) = daemon.begin().await else { return };
        // What counts is the state now that no change is under way.
        let state = daemon.publish_status().await.state;
        let target = daemon.target();
        match state {
            State::Connecting | State::Connected | State::Reconnecting if !target.connected => {
                tracing::info!("the session connects by itself, as the profile says");
                let kept = daemon.set_target(Target { connected: true, ..target });
                if let Err(error) = kept.and(daemon.claim().await) {
                    tracing::warn!("{error}");
                }
            }
            State::Disconnected if !target.connected => daemon.release().await,
            _ => {}
        }
    }
}

/// Puts the firewall in place again where another program removes it, as `nft flush ruleset` does.
pub(crate) async fn firewall(daemon: Arc<Daemon>, mut changes: watch::Receiver<()>) {
    while changes.changed().await.is_ok() {
        match daemon.system.run(Applier::close_again).await {
            Some(Ok(true)) => tracing::warn!("another program removed Weft's firewall; it is in place again"),
            Some(Ok(false)) => {}
            Some(Err(error)) => tracing::error!("Weft's firewall may have been removed: {error}"),
            None => return,
        }
    }
}

/// Carries the network's state to the session.
pub(crate) async fn network(daemon: Arc<Daemon>, mut networks: watch::Receiver<Option<NetworkState>>) {
    while networks.changed().await.is_ok() {
        let network = networks.borrow_and_update().clone();
        if let Some(network) = network {
            daemon.session.network_changed(network).await;
            // A new network brings new resolvers; whoever keeps them may take seconds to say so.
            daemon.refresh_system_dns().await;
        }
    }
}
