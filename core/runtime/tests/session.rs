//! A whole session in a network of its own: its tunnel leads to a WireGuard responder, its shell is the test.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

#[path = "data_plane/sys.rs"]
mod sys;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weft_model::{
    Command, DnsSource, DnsUpstream, Event, Gateway, Plan, PrivateKey, Profile, Registration,
    RegistrationSource, State, TunnelEndpoint,
};
use weft_runtime::session::{DEFAULT_CACHE_BYTES, Host, Session, SessionConfig};
use weft_runtime::transport_maker::{SystemEntropy, anchor};
use weft_tunnel::wireguard::{PeerConfig, PeerId, PeerSink, Responder, ResponderConfig};
use weft_tunnel::{Outbox, SocketId};

const PATIENCE: Duration = Duration::from_secs(30);
const FAR_SIDE: &str = "127.0.0.1:2408";
const RESOLVER: &str = "127.0.0.9:53";
const PROXY: &str = "127.0.0.2:5353";
const A: u16 = 1;

struct Nothing;

impl Host for Nothing {
    fn store(
        &self,
        _: &Registration,
        _: Option<&Profile>,
        _: &weft_model::settings::UserChoices,
    ) -> std::io::Result<()> {
        Ok(())
    }
}

impl PeerSink for Nothing {
    fn packet(&mut self, _: PeerId, _: &mut [u8]) {}
    fn dropped(&mut self, _: weft_model::DropReason) {}
}

fn registration() -> Registration {
    let tunnel = TunnelEndpoint {
        public_key: PrivateKey::from([2; 32]).public(),
        preshared_key: None,
        addresses: vec!["127.0.0.1".parse().unwrap()],
        ports: vec![2408],
        keepalive: None,
        mtu: None,
        allowed_ips: Vec::new(),
    };
    let dns = DnsUpstream::Plain { servers: vec!["10.99.0.1".parse().unwrap()], search: Vec::new() };
    Registration {
        id: "device".to_owned(),
        source: RegistrationSource::Orchestrated,
        token: None,
        private_key: PrivateKey::from([1; 32]),
        addresses: vec!["172.16.0.2/32".parse().unwrap()],
        gateways: vec![Gateway { api: None, tunnel, dns, checks: None }],
    }
}

/// Names below corp are the former resolvers' to answer, and some of them are to stay outside the tunnel.
fn profile() -> Profile {
    Profile::from_json(r#"{"fallback_domains":[{"suffix":"corp"}],"exclude":[{"host":"*.out.corp"}]}"#)
        .unwrap()
}

/// The gateway's end of the tunnel.
fn respond(socket: &UdpSocket) {
    let config =
        ResponderConfig { private_key: PrivateKey::from([2; 32]), mtu: 1280, handshakes_per_second: 1000 };
    let responder = Responder::new(&config, anchor(), Box::new(SystemEntropy));
    let peer = PeerConfig {
        public_key: PrivateKey::from([1; 32]).public(),
        preshared_key: None,
        allowed_ips: vec!["172.16.0.2/32".parse().unwrap()],
        endpoint: None,
        keepalive: None,
        last_timestamp: None,
    };
    responder.add_peer(&peer).unwrap();
    let (mut room, mut out) = ([0; 2048], Outbox::new());
    while let Ok((length, from)) = socket.recv_from(&mut room) {
        let now = Instant::now();
        let _nudge = responder.open(SocketId(0), from, &mut room[..length], length, now, &mut Nothing);
        let _nudge = responder.handle_control(now, &mut out);
        for transmit in out.transmits() {
            socket.send_to(transmit.contents(), from).unwrap();
        }
        out.clear();
    }
}

/// Answers every question with 198.51.100.7 for a minute.
fn resolve(socket: &UdpSocket) {
    let mut room = [0; 2048];
    while let Ok((length, from)) = socket.recv_from(&mut room) {
        socket.send_to(&answer(&room[..length]), from).unwrap();
    }
}

/// Where the question of a message ends.
fn question_end(message: &[u8]) -> usize {
    let mut at = 12;
    while message[at] != 0 {
        at += usize::from(message[at]) + 1;
    }
    at + 5
}

fn answer(query: &[u8]) -> Vec<u8> {
    let mut answer = query[..question_end(query)].to_vec();
    answer[2] |= 0x80;
    // One answer, and nothing of the query's other sections.
    answer[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
    answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 51, 100, 7]);
    answer
}

fn query(name: &str) -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    query
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
            system_dns: vec![RESOLVER.parse::<SocketAddr>()?.ip()],
            hosts_file: None,
            sentinels: Vec::new(),
            dns_cache_bytes: DEFAULT_CACHE_BYTES,
        };
        for (address, serve) in [(FAR_SIDE, respond as fn(&UdpSocket)), (RESOLVER, resolve)] {
            let socket = UdpSocket::bind(address)?;
            std::thread::spawn(move || serve(&socket));
        }
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
        let log = device.session.dns_log(None).await.context("stopped")?;
        assert_eq!(log.entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["a.in.corp"]);

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
        assert!(device.session.dns_log(None).await.context("stopped")?.on, "the switch outlives the proxy");
        Ok(())
    });
}
