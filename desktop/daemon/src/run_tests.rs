//! Whole daemons on a system in memory, spoken to over their sockets. The endpoint never answers, so a connect gets as
//! far as its handshake.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use weft_ipc::{Client, ClientError, Failure, Request, Response};
use weft_model::{Profile, Reason, Secret, ServiceMode, State, Status};
use weft_platform::fake::{self, FakeSystem, Step};

use super::*;
use crate::target::Target;
use crate::testing::{WG_CONF, registration};

const PATIENCE: Duration = Duration::from_secs(30);

/// A device: its system, its state, and the daemon that runs on it.
struct Device {
    system: FakeSystem,
    folder: tempfile::TempDir,
    former: String,
    daemon: Option<Running>,
}

struct Running {
    thread: JoinHandle<Option<Result<(), Fatal>>>,
    stop: oneshot::Sender<()>,
    kill: oneshot::Sender<()>,
}

impl Device {
    fn new() -> Self {
        let (_, system) = fake::platform();
        let former = system.resolv_conf();
        Self { system, folder: tempfile::tempdir().unwrap(), former, daemon: None }
    }

    /// A device with a registration and this profile.
    fn with_profile(json: &str) -> Self {
        let device = Self::new();
        let (keeper, _) = Keeper::open(device.state());
        keeper.adopt(&registration(), Some(&Profile::from_json(json).unwrap())).unwrap();
        device
    }

    fn state(&self) -> StateDir {
        StateDir::open(&self.folder.path().join("state")).unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("weftd.sock")
    }

    fn parts(&self) -> Parts {
        Parts {
            platform: self.system.platform(),
            monitor: self.system.monitor(),
            state_dir: self.folder.path().join("state"),
            socket: self.socket(),
            access: Access { group_name: "weft".into(), group: Some(rustix::process::getegid().as_raw()) },
            mark: None,
            log: LogRing::default(),
        }
    }

    /// Why a daemon does not start.
    fn refused(&self) -> Fatal {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(self.parts(), Box::pin(std::future::pending()))).unwrap_err()
    }

    /// Starts a daemon, as another process: the interface of a former one went with it.
    fn start(&mut self) {
        self.system.change(|state| {
            state.interface = None;
            state.routes.clear();
        });
        let _ = self.system.take_steps();
        let parts = self.parts();
        let (stop, stopped) = oneshot::channel();
        let (kill, killed) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let stopped = Box::pin(async move { drop(stopped.await) });
            runtime.block_on(async move {
                tokio::select! {
                    ended = run(parts, stopped) => Some(ended),
                    _ = killed => None,
                }
            })
        });
        self.daemon = Some(Running { thread, stop, kill });
        self.ask(&Request::Status).unwrap();
    }

    /// Ends the daemon as a service manager does.
    fn stop(&mut self) {
        let running = self.daemon.take().unwrap();
        running.stop.send(()).unwrap();
        running.thread.join().unwrap().expect("it was not killed").unwrap();
    }

    /// Ends the daemon as `kill -9` does: nothing of it runs any more, and nothing is put back.
    fn kill(&mut self) {
        let running = self.daemon.take().unwrap();
        running.kill.send(()).unwrap();
        assert!(running.thread.join().unwrap().is_none());
    }

    fn client(&self) -> Client {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Client::connect(&self.socket()) {
                Ok(client) => return client,
                Err(ClientError::NotRunning { .. }) if Instant::now() < deadline => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn ask(&self, request: &Request) -> Result<Response, ClientError> {
        self.client().request(request)
    }

    fn status(&self) -> Status {
        let Response::Status(status) = self.ask(&Request::Status).unwrap() else { panic!("no status") };
        *status
    }

    fn import(&self) {
        let text = Secret::from(WG_CONF.to_owned());
        let imported = self.ask(&Request::ImportRegistration { name: "office".into(), text }).unwrap();
        assert!(matches!(imported, Response::Done | Response::Noted(_)), "{imported:?}");
    }

    fn eventually(&self, what: &str, holds: impl Fn(&fake::State) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.system.state()) {
            assert!(Instant::now() < deadline, "not {what}: {:?}", self.system);
            std::thread::yield_now();
        }
    }

    fn wait_until_up(&self) {
        self.eventually("up", |state| {
            state.firewall != FirewallPlan::Open && state.interface.is_some() && !state.routes.is_empty()
        });
    }

    fn wait_until_down(&self) {
        let mut client = self.client();
        let mut answer = client.request(&Request::Subscribe).unwrap();
        while !matches!(&answer, Response::Status(status) if status.state == State::Disconnected) {
            answer = client.next_response(Some(Instant::now() + PATIENCE)).unwrap();
        }
        self.eventually("clean", |state| !state.claimed);
        assert!(self.system.is_clean(), "{:?}", self.system);
        assert_eq!(self.system.resolv_conf(), self.former);
    }

    fn target(&self) -> Target {
        self.state().read("target.json").value().unwrap()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(running) = self.daemon.take() {
            // A test that failed has said why already.
            let _ = running.kill.send(());
            drop(running.thread.join());
        }
    }
}

fn failure(result: Result<Response, ClientError>) -> Failure {
    match result {
        Err(ClientError::Failure(failure)) => failure,
        other => panic!("no failure: {other:?}"),
    }
}

#[test]
fn a_device_is_registered_connected_disconnected_and_forgotten() {
    let mut device = Device::new();
    device.start();
    let unregistered = Reason::Error { error: UserError::RegistrationMissing };
    assert_eq!((device.status().state, device.status().reason), (State::Disconnected, unregistered));
    let missing = Failure::from(UserError::RegistrationMissing);
    for request in [Request::Connect, Request::Registration, Request::DeleteRegistration] {
        assert_eq!(failure(device.ask(&request)), missing, "{request:?}");
    }
    assert!(!device.system.state().claimed || !device.target().connected);

    device.import();
    assert_eq!(
        failure(device.ask(&Request::ImportRegistration {
            name: "again".into(),
            text: Secret::from(WG_CONF.to_owned()),
        })),
        Failure::Registered
    );
    let Response::Registration(summary) = device.ask(&Request::Registration).unwrap() else { panic!() };
    assert_eq!(summary.id, "office");

    assert_eq!(device.ask(&Request::Connect).unwrap(), Response::Done);
    device.wait_until_up();
    assert_eq!(device.status().state, State::Connecting);
    assert!(device.target().connected);

    assert_eq!(device.ask(&Request::Disconnect).unwrap(), Response::Done);
    device.wait_until_down();
    assert!(!device.target().connected);

    device.ask(&Request::Connect).unwrap();
    device.wait_until_up();
    assert_eq!(device.ask(&Request::DeleteRegistration).unwrap(), Response::Done);
    device.wait_until_down();
    assert_eq!(failure(device.ask(&Request::Registration)), missing);
    device.stop();
    let left: Vec<_> = std::fs::read_dir(device.folder.path().join("state"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left, ["target.json"]);
    assert!(!device.socket().exists());
}

#[test]
fn a_stopped_daemon_puts_everything_back_and_connects_again_at_its_next_start() {
    let mut device = Device::new();
    device.start();
    device.import();
    device.ask(&Request::Connect).unwrap();
    device.wait_until_up();
    device.stop();
    assert!(device.system.is_clean());
    assert_eq!(device.system.take_steps().last(), Some(&Step::FirewallClear));
    assert!(device.target().connected);

    device.start();
    device.wait_until_up();
    assert_eq!(device.system.take_steps().first(), Some(&Step::FirewallApply));
    device.ask(&Request::Disconnect).unwrap();
    device.wait_until_down();
    device.stop();
    device.start();
    assert_eq!(device.status().state, State::Disconnected);
    assert!(device.system.is_clean());
}

#[test]
fn a_killed_daemon_leaves_the_device_blocked_until_the_next_start() {
    let mut device = Device::new();
    device.start();
    device.import();
    device.ask(&Request::Connect).unwrap();
    device.wait_until_up();
    device.kill();
    assert_ne!(device.system.state().firewall, FirewallPlan::Open);

    device.start();
    device.wait_until_up();
    let steps = device.system.take_steps();
    assert_eq!(steps.first(), Some(&Step::FirewallApply));
    assert!(!steps.contains(&Step::FirewallClear), "{steps:?}");

    // Disconnected meanwhile, by another hand: the start undoes everything.
    device.kill();
    Keeper::open(device.state()).0.write_target(&Target::default()).unwrap();
    device.start();
    device.wait_until_down();
    assert_eq!(device.system.take_steps().last(), Some(&Step::DnsRelease));
}

#[test]
fn a_device_whose_registration_is_lost_stays_blocked_until_the_user_decides() {
    let mut device = Device::new();
    Keeper::open(device.state()).0.write_target(&Target { connected: true, locked: false }).unwrap();
    std::fs::write(device.state().path("reg.json"), "damaged").unwrap();
    device.start();
    device.eventually("blocked", |state| state.firewall != FirewallPlan::Open);
    let status = device.status();
    assert_eq!(status.state, State::Unable);
    let Reason::Error { error } = status.reason else { panic!("no reason") };
    let error = error.to_string();
    assert!(error.contains("reg.json is damaged") && error.contains("weft disconnect"), "{error}");
    let text = Secret::from(WG_CONF.to_owned());
    let refused = failure(device.ask(&Request::ImportRegistration { name: "office".into(), text }));
    assert!(refused.to_string().contains("weft disconnect"), "{refused}");
    device.ask(&Request::Disconnect).unwrap();
    device.wait_until_down();
    device.import();
    assert_eq!(device.status().state, State::Disconnected);
}

#[test]
fn a_disconnect_that_leaves_something_fails_and_the_next_tries_again() {
    let mut device = Device::new();
    Keeper::open(device.state()).0.write_target(&Target { connected: true, locked: false }).unwrap();
    device.start();
    assert_eq!(device.status().state, State::Unable);
    device.system.fail_next(Step::FirewallClear, "the system says no");
    let refused = failure(device.ask(&Request::Disconnect)).to_string();
    assert!(refused.contains("firewall") && refused.contains("the system says no"), "{refused}");
    assert_ne!(device.system.state().firewall, FirewallPlan::Open);
    let status = device.status();
    assert_eq!(status.state, State::Unable);
    assert!(format!("{:?}", status.reason).contains("the system says no"), "{status:?}");
    assert_eq!(device.ask(&Request::Disconnect).unwrap(), Response::Done);
    device.wait_until_down();
}

#[test]
fn what_the_administrator_locks_stays_connected() {
    let mut device = Device::with_profile(r#"{"switch_locked":true,"allowed_to_leave":false}"#);
    device.start();
    device.wait_until_up();
    for request in [
        Request::Disconnect,
        Request::DeleteRegistration,
        Request::SetMode { mode: ServiceMode::TrafficOnly },
    ] {
        let refused = failure(device.ask(&request));
        assert!(
            matches!(&refused, Failure::User { error: UserError::Forbidden { .. } }),
            "{request:?}: {refused}"
        );
    }
    let target = device.target();
    assert!(target.connected && target.locked);
    // The lock outlives the profile.
    device.kill();
    std::fs::write(device.state().path("profile.json"), "damaged").unwrap();
    device.start();
    device.wait_until_up();
}

#[test]
fn a_bundle_holds_no_secret_of_the_state() {
    let mut device = Device::with_profile("{}");
    let mut known = registration();
    known.token = Some("device-token-of-the-test".to_owned().into());
    Keeper::open(device.state()).0.adopt(&known, None).unwrap();
    device.start();
    device.ask(&Request::Connect).unwrap();
    device.wait_until_up();
    let Response::Diagnostics(bundle) = device.ask(&Request::Diagnostics).unwrap() else { panic!() };
    let text = serde_json::to_string(&bundle).unwrap();
    for secret in ["device-token-of-the-test", "qMqVhGHXzEsNPVsr", "FpCyhws9cxwWoV4x"] {
        let kept = std::fs::read_to_string(device.state().path("reg.json")).unwrap();
        assert!(kept.contains(secret), "the test itself is wrong: {secret}");
        assert!(!text.contains(secret), "{secret}");
    }
    assert!(bundle.sections.iter().any(|section| section.source == "Weft's firewall"));
    assert_eq!(bundle.registration.unwrap().id, "office");
}

#[test]
fn people_are_told_of_names() {
    let mut device = Device::new();
    device.start();
    let Response::DnsFallback(fallback) = device.ask(&Request::DnsFallback).unwrap() else { panic!() };
    assert!(fallback.domains.iter().any(|domain| domain.suffix.to_string() == "home.arpa"));
    assert_eq!(fallback.origin, weft_model::Origin::Default);
    assert_eq!(fallback.system_resolvers.len(), 2);
    let Response::DnsStatus(status) = device.ask(&Request::DnsStatus).unwrap() else { panic!() };
    assert_eq!((status.upstream, status.settings.ours), (None, false));
    let query = Request::DnsLookup { name: "db.corp".parse().unwrap(), kind: 1 };
    assert_eq!(failure(device.ask(&query)), UserError::DnsOff.into());
    assert_eq!(device.ask(&Request::DnsFlush).unwrap(), Response::Done);

    device.import();
    let Response::DnsStatus(status) = device.ask(&Request::DnsStatus).unwrap() else { panic!() };
    assert!(status.upstream.is_some());
    for (enable, on) in [(None, false), (Some(true), true), (None, true), (Some(false), false)] {
        let Response::DnsLog(log) = device.ask(&Request::DnsLog { enable }).unwrap() else { panic!() };
        assert_eq!((log.on, log.entries.len()), (on, 0), "{enable:?}");
    }
    device.stop();
}

#[test]
fn a_crowd_of_clients_leaves_the_daemon_answering() {
    let mut device = Device::new();
    device.start();
    let clients: Vec<_> = (0..100).map(|_| Client::connect(&device.socket())).collect();
    let busy = |client: &Result<Client, ClientError>| {
        matches!(client, Err(ClientError::Failure(Failure::Busy { .. })))
    };
    let turned_away = clients.iter().filter(|client| busy(client)).count();
    assert!(clients.iter().all(|client| client.is_ok() || busy(client)));
    assert!((36..100).contains(&turned_away), "{turned_away} turned away");
    drop(clients);
    let deadline = Instant::now() + PATIENCE;
    while Client::connect(&device.socket()).is_err() {
        assert!(Instant::now() < deadline, "the daemon does not answer any more");
        std::thread::yield_now();
    }
}

#[test]
fn a_watcher_sees_a_connect_begin_and_end() {
    let mut device = Device::new();
    device.start();
    device.import();
    let mut watcher = device.client();
    let Response::Status(first) = watcher.request(&Request::Subscribe).unwrap() else { panic!() };
    assert_eq!(first.state, State::Disconnected);
    let mut next = |wanted: State| loop {
        let answer = watcher.next_response(Some(Instant::now() + PATIENCE)).unwrap();
        if matches!(answer, Response::Status(status) if status.state == wanted) {
            return;
        }
    };
    device.ask(&Request::Connect).unwrap();
    next(State::Connecting);
    device.ask(&Request::Disconnect).unwrap();
    next(State::Disconnected);
}

#[test]
fn a_start_that_cannot_block_fails_and_leaves_what_stands() {
    let mut device = Device::with_profile(r#"{"switch_locked":true}"#);
    device.start();
    device.wait_until_up();
    device.kill();
    device.system.fail_next(Step::FirewallApply, "no nftables");
    let error = device.refused();
    assert!(error.to_string().contains("cannot be blocked"), "{error}");
    assert_ne!(device.system.state().firewall, FirewallPlan::Open);
}

#[test]
fn a_start_blocks_a_device_left_connected_before_anything_can_stop_it() {
    let mut device = Device::with_profile("{}");
    Keeper::open(device.state()).0.write_target(&Target { connected: true, locked: false }).unwrap();
    device.system.fail_next(Step::Preflight, "port 53 is held");
    let error = device.refused();
    assert_eq!(error.code(), 5);
    let text = error.to_string();
    assert!(text.contains("port 53 is held") && text.contains("stay blocked"), "{text}");
    assert_ne!(device.system.state().firewall, FirewallPlan::Open);
    let steps = device.system.take_steps();
    assert_eq!(steps.first(), Some(&Step::FirewallApply));
    assert!(!steps.contains(&Step::FirewallClear), "{steps:?}");

    device.system.fail_next(Step::FirewallPreflight, "no nftables");
    let error = device.refused();
    assert_eq!((error.code(), error.to_string().contains("cannot be blocked")), (1, true), "{error}");
    assert_ne!(device.system.state().firewall, FirewallPlan::Open, "the former one stands");

    // Whoever held it let go, and the next try connects.
    device.start();
    device.wait_until_up();
}

#[test]
fn a_firewall_that_another_program_removes_is_in_place_again() {
    let mut device = Device::new();
    Keeper::open(device.state()).0.write_target(&Target { connected: true, locked: false }).unwrap();
    device.start();
    // Stranded, so that no plan of the session's comes and closes it.
    assert_eq!(device.status().state, State::Unable);
    let before = device.system.state();
    assert_ne!(before.firewall, FirewallPlan::Open);
    device.system.flush_firewall();
    device.eventually("closed again", |state| {
        (&state.firewall, &state.guarded) == (&before.firewall, &before.guarded)
    });
    device.ask(&Request::Disconnect).unwrap();
    device.wait_until_down();
    let _ = device.system.take_steps();
    device.system.flush_firewall();
    device.ask(&Request::Diagnostics).unwrap();
    assert!(!device.system.take_steps().contains(&Step::FirewallApply));
}

#[test]
fn a_start_that_fails_changes_nothing_of_a_disconnected_device() {
    let device = Device::with_profile("{}");
    for step in [Step::Preflight, Step::FirewallPreflight] {
        device.system.fail_next(step, "something is missing");
        let error = device.refused();
        assert_eq!(error.code(), 3);
        let text = error.to_string();
        assert!(text.contains("something is missing") && !text.contains("blocked"), "{text}");
        assert_eq!(device.system.take_steps(), []);
        assert!(device.system.is_clean());
    }
}
