//! A host made for tests, and what a session leaves behind.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use weft_ffi::{Event, Host, HostError, NetworkInfo, Plan, Session, SessionConfig, State, Status};
use weft_model::{ApiEndpoint, DnsUpstream, DohEndpoint, Registration, RegistrationSource};

/// How long anything may take that should be there at once.
pub(crate) const SOON: Duration = Duration::from_secs(20);

const WG_CONF: &str = "[Interface]\n\
    PrivateKey = qMqVhGHXzEsNPVsrCLbWYvhBlCzFTBWcPKaBJGdNC3c=\nAddress = 172.16.0.2/32\n\
    [Peer]\nPublicKey = HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=\n\
    Endpoint = 127.0.0.1:9\nAllowedIPs = 0.0.0.0/0, ::/0\n";

/// What a host does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Serves,
    Throws,
    Panics,
    /// Does not return before [`TestHost::let_go`].
    Hangs,
}

/// A host with a store in memory.
pub(crate) struct TestHost {
    pub(crate) secrets: Mutex<HashMap<String, Vec<u8>>>,
    manners: Mutex<HashMap<&'static str, Manner>>,
    calls: Mutex<Vec<&'static str>>,
    held: Mutex<bool>,
    released: Condvar,
    /// Dropped from within the next call.
    pub(crate) drop_inside: Mutex<Option<Arc<Session>>>,
}

impl TestHost {
    /// Has stored nothing.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            secrets: Mutex::default(),
            manners: Mutex::default(),
            calls: Mutex::default(),
            held: Mutex::new(true),
            released: Condvar::new(),
            drop_inside: Mutex::default(),
        })
    }

    /// Has stored a registration whose gateway does not answer, and a profile that lets the user choose the mode.
    pub(crate) fn registered() -> Arc<Self> {
        let state =
            serde_json::json!({ "registration": registration(), "profile": { "allow_mode_switch": true } });
        let host = Self::new();
        host.secrets.lock().unwrap().insert("state".into(), state.to_string().into_bytes());
        host
    }

    pub(crate) fn set(&self, call: &'static str, manner: Manner) {
        self.manners.lock().unwrap().insert(call, manner);
    }

    pub(crate) fn let_go(&self) {
        *self.held.lock().unwrap() = false;
        self.released.notify_all();
    }

    pub(crate) fn count(&self, call: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|known| **known == call).count()
    }

    fn asked(&self, call: &'static str) -> Result<(), HostError> {
        self.calls.lock().unwrap().push(call);
        let dropped = self.drop_inside.lock().unwrap().take();
        drop(dropped);
        let manner = self.manners.lock().unwrap().get(call).copied();
        match manner.unwrap_or(Manner::Serves) {
            Manner::Serves => Ok(()),
            Manner::Throws => Err(HostError::Failed { detail: format!("no {call}\ntoday") }),
            Manner::Panics => panic!("{call} panics"),
            Manner::Hangs => {
                let held = self.held.lock().unwrap();
                drop(self.released.wait_while(held, |held| *held).unwrap());
                Ok(())
            }
        }
    }
}

impl Host for TestHost {
    fn protect(&self, _fd: i32) -> Result<(), HostError> {
        self.asked("protect")
    }

    fn load_secret(&self, name: String) -> Result<Option<Vec<u8>>, HostError> {
        self.asked("load_secret")?;
        Ok(self.secrets.lock().unwrap().get(&name).cloned())
    }

    fn store_secret(&self, name: String, value: Option<Vec<u8>>) -> Result<(), HostError> {
        self.asked("store_secret")?;
        let mut secrets = self.secrets.lock().unwrap();
        match value {
            Some(value) => secrets.insert(name, value),
            None => secrets.remove(&name),
        };
        Ok(())
    }

    fn network(&self) -> Result<NetworkInfo, HostError> {
        self.asked("network")?;
        Ok(network())
    }
}

fn registration() -> Registration {
    let mut registration = weft_model::wg_quick::parse("office", WG_CONF.as_bytes()).unwrap().registration;
    registration.source = RegistrationSource::Orchestrated;
    registration.token = Some("device-token".to_owned().into());
    for gateway in &mut registration.gateways {
        let nobody = "127.0.0.1:9".parse().unwrap();
        gateway.api =
            Some(ApiEndpoint { name: "gateway.example".into(), addresses: vec![nobody], ca_pem: None });
        gateway.dns = DnsUpstream::Doh(DohEndpoint {
            name: "gateway.example".into(),
            path: "/dns-query".into(),
            inside: "172.64.128.2:443".parse().unwrap(),
            outside: vec![nobody],
            ca_pem: None,
        });
    }
    registration
}

/// A network of both families.
pub(crate) fn network() -> NetworkInfo {
    NetworkInfo {
        id: Some("100".into()),
        interface: Some("wlan0".into()),
        has_v4: true,
        has_v6: true,
        ..NetworkInfo::default()
    }
}

pub(crate) fn config() -> SessionConfig {
    SessionConfig {
        device_name: "Ann's phone".into(),
        os: "linux".into(),
        os_version: "6.1".into(),
        managed: None,
        dns_cache_bytes: None,
    }
}

pub(crate) fn session(host: &Arc<TestHost>) -> Session {
    Session::new(config(), Arc::clone(host) as Arc<dyn Host>).unwrap()
}

/// Awaits as an app's thread does, without any runtime, within [`SOON`].
pub(crate) fn wait<T>(work: impl Future<Output = T>) -> T {
    within(SOON, work).unwrap()
}

pub(crate) fn within<T>(time: Duration, work: impl Future<Output = T>) -> Result<T> {
    struct Unpark(std::thread::Thread);

    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let mut work = std::pin::pin!(work);
    let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
    let deadline = Instant::now() + time;
    loop {
        if let std::task::Poll::Ready(value) = work.as_mut().poll(&mut std::task::Context::from_waker(&waker))
        {
            return Ok(value);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "it does not end");
        std::thread::park_timeout(left);
    }
}

/// The next plan of the session that `wanted` takes; those before it are acknowledged.
pub(crate) fn plan(session: &Session, wanted: impl Fn(&Plan) -> bool) -> Result<Plan> {
    loop {
        match wait(session.next_event()) {
            Some(Event::Plan { plan }) if wanted(&plan) => return Ok(plan),
            Some(Event::Plan { plan }) => wait(session.acknowledge_plan(plan.number, None)),
            Some(_) => {}
            None => bail!("the session has ended"),
        }
    }
}

/// Pulls events until the status is `wanted`; plans are acknowledged.
pub(crate) fn status(session: &Session, wanted: impl Fn(&Status) -> bool) -> Result<Status> {
    loop {
        match wait(session.next_event()).context("the session has ended")? {
            Event::Plan { plan } => wait(session.acknowledge_plan(plan.number, None)),
            Event::Status { status } if wanted(&status) => return Ok(status),
            _ => {}
        }
    }
}

pub(crate) fn is_in(state: State) -> impl Fn(&Status) -> bool {
    move |status| status.state == state
}

/// The threads and descriptors of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
}

pub(crate) fn held() -> Held {
    // The event loop's own library keeps two descriptors from its first use on, for the whole process.
    static WARM: std::sync::Once = std::sync::Once::new();
    WARM.call_once(|| {
        let before = threads().len();
        let session = session(&TestHost::new());
        wait(session.close());
        drop(session);
        eventually(|| threads().len() <= before).unwrap();
    });
    count()
}

fn count() -> Held {
    let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    Held { threads: count("/proc/self/task"), descriptors: count("/proc/self/fd") }
}

/// The names of this process's threads, for a message.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
    tasks.filter_map(|task| name(task.ok()?).ok()).map(|name| name.trim().to_owned()).collect()
}

/// Waits until the process holds what it held before, and no more.
pub(crate) fn nothing_is_left_of(before: Held) -> Result<()> {
    let is_gone = || {
        let now = count();
        now.threads <= before.threads && now.descriptors <= before.descriptors
    };
    eventually(is_gone).with_context(|| format!("{before:?} became {:?}: {:?}", count(), threads()))
}

/// Waits until `done` says so.
pub(crate) fn eventually(mut done: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + SOON;
    while !done() {
        ensure!(Instant::now() < deadline, "it does not come about");
        std::thread::yield_now();
    }
    Ok(())
}
