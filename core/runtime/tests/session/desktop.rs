//! A session as on a desktop: names come to a loopback socket, addresses are learnt apart from the routes.

use std::net::{IpAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use weft_model::{Command, DnsSource, Event, Plan, Profile, State};
use weft_runtime::session::{DEFAULT_CACHE_BYTES, Session, SessionConfig};

use crate::gateway::{Nothing, PATIENCE, query, registration, resolver, serve};
use crate::sys;

const PROXY: &str = "127.0.0.2:5353";
const A: u16 = 1;

/// Names below corp are the former resolvers' to answer, and some of them are to stay outside the tunnel.
fn profile() -> Profile {
    Profile::from_json(r#"{"fallback_domains":[{"suffix":"corp"}],"exclude":[{"host":"*.out.corp"}]}"#)
        .unwrap()
}

/// A session on a host, with the shell's part done up to "connected".
struct Device {
    session: Session,
    client: UdpSocket,
    tun: OwnedFd,
}

impl Device {
    fn start() -> Result<Self> {
        let config = SessionConfig {
            registration: Some(registration()),
            profile: Some(profile()),
            user: weft_model::settings::UserChoices::default(),
            mark: None,
            dns_listen: vec![PROXY.parse()?],
            system_dns: vec![resolver().ip()],
            hosts_file: None,
            sentinels: Vec::new(),
            dns_cache_bytes: DEFAULT_CACHE_BYTES,
        };
        serve()?;
        let client = UdpSocket::bind("127.0.0.1:0")?;
        client.connect(PROXY)?;
        client.set_read_timeout(Some(PATIENCE))?;
        let tun = sys::tun("weft0", false)?;
        Ok(Self { session: Session::start(config, Arc::new(Nothing))?, client, tun })
    }

    async fn next_event(&self) -> Result<Event> {
        let event = tokio::time::timeout(PATIENCE, self.session.next_event());
        event.await.context("no event")?.context("the session has stopped")
    }

    async fn connect(&self) -> Result<()> {
        self.session.command(Command::Connect).await?;
        let mut attached = false;
        loop {
            match self.next_event().await? {
                Event::Plan(plan) => {
                    if plan.interface.is_some() && !attached {
                        self.session.attach_tun(self.tun.try_clone()?)?;
                        attached = true;
                    }
                    self.session.acknowledge(plan.number, Ok(())).await;
                }
                Event::Status(status) if status.state == State::Connected => return Ok(()),
                _ => {}
            }
        }
    }

    async fn next_plan(&self) -> Result<Plan> {
        loop {
            if let Event::Plan(plan) = self.next_event().await? {
                return Ok(*plan);
            }
        }
    }

    /// Waits for the end of what is under way.
    async fn reaches(&self, state: State) -> Result<()> {
        loop {
            match self.next_event().await? {
                Event::Status(status) if status.state == state => return Ok(()),
                _ => {}
            }
        }
    }

    fn asks(&self, name: &str) -> Result<()> {
        self.client.send(&query(name))?;
        Ok(())
    }

    /// Whether an answer is there already.
    fn has_answer(&self) -> Result<bool> {
        self.client.set_nonblocking(true)?;
        let there = self.client.peek(&mut [0; 1]).is_ok();
        self.client.set_nonblocking(false)?;
        Ok(there)
    }

    /// The response code and the number of answers of the next answer.
    fn answered(&self) -> Result<(u8, u8)> {
        let mut room = [0; 2048];
        let length = self.client.recv(&mut room).context("no answer")?;
        ensure!(length > 12, "no DNS message");
        Ok((room[3] & 0x0f, room[7]))
    }
}

/// Runs `test` on a host of its own.
fn on_a_host(name: &str, test: impl AsyncFnOnce(Device) -> Result<()> + Send) {
    netlab::run(|lab| {
        let host = lab.host(name).build()?;
        host.inside(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let device = Device::start()?;
                device.connect().await?;
                test(device).await
            })
        })?
    });
}

#[test]
fn an_answer_for_a_split_tunnel_host_comes_with_its_plan() {
    on_a_host("held", async |device: Device| {
        device.asks("a.out.corp")?;
        let plan = device.next_plan().await?;
        assert_eq!(plan.learnt.addresses, ["198.51.100.7".parse::<IpAddr>()?]);
        assert!(!device.has_answer()?, "the plan is not in force");
        device.session.acknowledge(plan.number, Ok(())).await;
        assert_eq!(device.answered()?, (0, 1));

        // In force already, whoever's name it is.
        device.asks("b.out.corp")?;
        assert_eq!(device.answered()?, (0, 1));
        Ok(())
    });
}

#[test]
fn an_answer_whose_plan_fails_is_a_failure() {
    on_a_host("failed", async |device: Device| {
        device.asks("a.out.corp")?;
        let plan = device.next_plan().await?;
        device.session.acknowledge(plan.number, Err("nft: no".to_owned())).await;
        assert_eq!(device.answered()?, (2, 0), "SERVFAIL without its addresses");
        Ok(())
    });
}

#[test]
fn other_names_wait_for_no_plan_and_a_look_up_says_who_answered() {
    on_a_host("told", async |device: Device| {
        let log = device.session.dns_log(Some(true)).await.context("stopped")?;
        assert!(log.on && log.entries.is_empty());
        device.asks("a.in.corp")?;
        assert_eq!(device.answered()?, (0, 1));
        let names = async || -> Result<Vec<String>> {
            let log = device.session.dns_log(None).await.context("stopped")?;
            Ok(log.entries.into_iter().map(|entry| entry.name).collect())
        };
        assert_eq!(names().await?, ["a.in.corp"]);

        device.session.dns_flush().await;
        let lookup = device.session.dns_lookup("a.in.corp".parse()?, A).await?;
        assert!(
            matches!(&lookup.source, DnsSource::Fallback { suffix, .. } if suffix == "corp"),
            "{lookup:?}"
        );
        assert_eq!((lookup.host_entry, lookup.rcode.as_str()), (None, "NOERROR"));

        device.session.command(Command::Disconnect).await?;
        let plan = device.next_plan().await?;
        device.session.acknowledge(plan.number, Ok(())).await;
        device.reaches(State::Disconnected).await?;
        assert!(device.session.dns_lookup("a.in.corp".parse()?, A).await.is_err());
        assert_eq!(names().await?, ["a.in.corp", "a.in.corp"], "the log outlives the proxy");
        device.connect().await?;
        device.asks("b.in.corp")?;
        assert_eq!(device.answered()?, (0, 1));
        assert_eq!(names().await?[2..], ["b.in.corp"], "so does the switch");
        device.session.dns_log(Some(false)).await.context("stopped")?;
        device.asks("c.in.corp")?;
        assert_eq!(device.answered()?, (0, 1));
        assert!(names().await?.is_empty());
        Ok(())
    });
}
