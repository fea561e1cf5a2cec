//! What no app can bring about: a panic of the core's own control thread.

use std::io;

use weft_model::settings::UserChoices;
use weft_model::{Profile, Registration, SENTINEL_ADDRESSES, wg_quick};
use weft_runtime::session::{Session as CoreSession, SessionConfig as CoreConfig};

use super::*;
use crate::HostError;
use crate::host::HostThread;
use crate::keeper::Keeper;
use crate::warnings::Warnings;

struct Nothing;

impl Host for Nothing {
    fn protect(&self, _fd: i32) -> Result<(), HostError> {
        Ok(())
    }

    fn load_secret(&self, _name: String) -> Result<Option<Vec<u8>>, HostError> {
        Ok(None)
    }

    fn store_secret(&self, _name: String, _value: Option<Vec<u8>>) -> Result<(), HostError> {
        Ok(())
    }

    fn network(&self) -> Result<NetworkInfo, HostError> {
        Ok(NetworkInfo::default())
    }
}

/// Stands in the place of the adaptor, which lets no panic of an app's host through.
struct Panicking;

impl weft_runtime::session::Host for Panicking {
    fn store(
        &self,
        _registration: &Registration,
        _profile: Option<&Profile>,
        _user: &UserChoices,
    ) -> io::Result<()> {
        panic!("the control thread is no more")
    }
}

fn config() -> SessionConfig {
    SessionConfig {
        device_name: "phone".into(),
        os: "linux".into(),
        os_version: String::new(),
        managed: None,
        dns_cache_bytes: None,
    }
}

fn session() -> Session {
    let text = "[Interface]\nPrivateKey = qMqVhGHXzEsNPVsrCLbWYvhBlCzFTBWcPKaBJGdNC3c=\nAddress = 172.16.0.2/32\n\
        [Peer]\nPublicKey = HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=\nEndpoint = 127.0.0.1:9\nAllowedIPs = 0.0.0.0/0\n";
    let core = CoreConfig {
        registration: Some(wg_quick::parse("office", text.as_bytes()).unwrap().registration),
        profile: None,
        user: UserChoices::default(),
        mark: None,
        dns_listen: Vec::new(),
        system_dns: Vec::new(),
        hosts_file: None,
        sentinels: SENTINEL_ADDRESSES.to_vec(),
        dns_cache_bytes: 0,
    };
    let host = HostThread::start(Arc::new(Nothing)).unwrap();
    let warnings = Arc::<Warnings>::default();
    let keeper = Keeper::open(Arc::clone(&host), Arc::clone(&warnings)).unwrap();
    let core = CoreSession::start(core, Arc::new(Panicking)).unwrap();
    Session { inner: Arc::new(Inner::over(core, config(), (host, keeper, warnings), Arc::default())) }
}

#[tokio::test]
async fn a_panic_of_the_control_thread_is_the_last_event() {
    let session = session();
    let stopped = session.set_service_mode(ServiceMode::TrafficOnly).await;
    assert!(matches!(stopped, Err(WeftError::Internal { .. })), "{stopped:?}");
    let mut last = None;
    while let Some(event) = session.next_event().await {
        last = Some(event);
    }
    assert_eq!(last, Some(Event::Panicked { detail: "the control thread is no more".into() }));
    assert_eq!(session.next_event().await, None);
    assert_eq!(session.status().await, None);
    session.close().await;
}

#[tokio::test]
async fn a_panic_of_a_call_is_told_and_the_session_goes_on() {
    let session = session();
    let caught: Result<(), _> = session.guard(async { panic!("a call") }).await;
    assert_eq!(caught, Err(WeftError::Internal { detail: "a call".into() }));
    let told = loop {
        match session.next_event().await {
            Some(Event::Panicked { detail }) => break detail,
            Some(_) => {}
            None => panic!("the events have ended"),
        }
    };
    assert_eq!(told, "a call");
    assert!(session.status().await.is_some());
    session.close().await;
}
