//! A session as on a phone: names come as packets of the interface, which each plan makes anew.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Command as Program;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weft_model::settings::UserChoices;
use weft_model::{
    AppRules, Command, Event, LocalPolicy, NetworkState, Plan, Profile, SENTINEL_ADDRESSES, ServiceMode,
    State, Way,
};
use weft_runtime::session::{Session, SessionConfig};
use weft_runtime::tun::PacketQueue;

use crate::gateway::{Heard, Nothing, PATIENCE, query, registration, resolver, serve};
use crate::sys;

const TRAFFIC: &str = r#"{"fallback_domains":[{"suffix":"corp"}],"exclude":[{"host":"a.out.corp"}]}"#;
const DNS_ONLY: &str = r#"{"fallback_domains":[{"suffix":"corp"}],"service_mode_v2":{"mode":"1dot1"}}"#;

/// How the host gives packets to the session.
enum Packets {
    /// A new TUN for each plan, as Android's VpnService.
    Tun,
    /// A queue, as Apple's packet flow.
    Queue,
}

struct Phone {
    session: Session,
    heard: Arc<Heard>,
    way: Packets,
    queue: Option<PacketQueue>,
    /// TUNs made so far.
    made: usize,
    states: Vec<State>,
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Program::new("ip").args(arguments).output()?;
    ensure!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

impl Phone {
    fn start(profile: &str, way: Packets) -> Result<Self> {
        let config = SessionConfig {
            registration: Some(registration()),
            profile: Some(Profile::from_json(profile)?),
            user: UserChoices::default(),
            mark: None,
            dns_listen: Vec::new(),
            system_dns: vec![resolver().ip()],
            hosts_file: None,
            sentinels: SENTINEL_ADDRESSES.to_vec(),
            dns_cache_bytes: 1 << 20,
        };
        let heard = serve()?;
        let session = Session::start(config, Arc::new(Nothing))?;
        Ok(Self { session, heard, way, queue: None, made: 0, states: Vec::new() })
    }

    /// A TUN of its own name with the plan's address and a route to the sentinel: what the system does for an app.
    fn make_tun(&mut self) -> Result<OwnedFd> {
        self.made += 1;
        let name = format!("tun{}", self.made);
        let tun = sys::tun(&name, false)?;
        ip(&["link", "set", &name, "mtu", "1280", "up"])?;
        ip(&["addr", "add", "172.16.0.2/32", "dev", &name])?;
        ip(&["route", "replace", "198.18.0.53/32", "dev", &name, "src", "172.16.0.2"])?;
        Ok(tun)
    }

    fn apply(&mut self, plan: &Plan) -> Result<()> {
        if plan.interface.is_none() {
            return Ok(());
        }
        match self.way {
            Packets::Tun => {
                let tun = self.make_tun()?;
                self.session.attach_tun(tun)?;
            }
            Packets::Queue if self.queue.is_none() => self.queue = Some(self.session.packet_queue()?),
            Packets::Queue => {}
        }
        Ok(())
    }

    async fn next_event(&self) -> Result<Event> {
        let event = tokio::time::timeout(PATIENCE, self.session.next_event());
        event.await.context("no event")?.context("the session has stopped")
    }

    /// Applies plans until the device is in a state; gives the last plan.
    async fn until(&mut self, state: State) -> Result<Option<Plan>> {
        let mut last = None;
        loop {
            match self.next_event().await? {
                Event::Plan(plan) => {
                    self.apply(&plan)?;
                    self.session.acknowledge(plan.number, Ok(())).await;
                    last = Some(*plan);
                }
                Event::Status(status) => {
                    self.states.push(status.state);
                    if status.state == state {
                        return Ok(last);
                    }
                }
                _ => {}
            }
        }
    }

    async fn connect(&mut self) -> Result<Plan> {
        self.session.command(Command::Connect).await?;
        self.until(State::Connected).await?.context("no plan")
    }

    /// Waits for the next plan and applies it.
    async fn next_plan(&mut self) -> Result<Plan> {
        loop {
            if let Event::Plan(plan) = self.next_event().await? {
                self.apply(&plan)?;
                self.session.acknowledge(plan.number, Ok(())).await;
                return Ok(*plan);
            }
        }
    }

    /// Polls until `found` holds.
    async fn eventually(&self, what: &str, mut found: impl FnMut() -> bool) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !found() {
            ensure!(Instant::now() < end, "no {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

fn on_a_phone(profile: &'static str, way: Packets, test: impl AsyncFnOnce(Phone) -> Result<()> + Send) {
    netlab::run(|lab| {
        let host = lab.host("phone").build()?;
        host.inside(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { test(Phone::start(profile, way)?).await })
        })?
    });
}

fn sentinel() -> SocketAddr {
    SocketAddr::new(SENTINEL_ADDRESSES[0], 53)
}

/// Asks the sentinel by the device's own stack; gives the response code and the number of answers.
fn ask(name: &str) -> Result<(u8, u8)> {
    let client = UdpSocket::bind("172.16.0.2:0")?;
    client.connect(sentinel())?;
    client.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut room = [0; 2048];
    for _ in 0..PATIENCE.as_secs() {
        client.send(&query(name))?;
        if let Ok(length) = client.recv(&mut room) {
            ensure!(length > 12, "no DNS message");
            return Ok((room[3] & 0x0f, room[7]));
        }
    }
    anyhow::bail!("no answer for {name}")
}

/// The same by a stream.
fn ask_stream(name: &str) -> Result<(u8, u8)> {
    let mut stream = TcpStream::connect_timeout(&sentinel(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let query = query(name);
    stream.write_all(&u16::try_from(query.len())?.to_be_bytes())?;
    stream.write_all(&query)?;
    let mut room = [0; 14];
    stream.read_exact(&mut room)?;
    Ok((room[5] & 0x0f, room[9]))
}

fn interfaces() -> Result<Vec<String>> {
    let output = Program::new("ip").args(["-br", "link"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let names = text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    Ok(names.filter(|name| name.starts_with("tun")).collect())
}

#[test]
fn each_plan_brings_a_new_interface_and_the_tunnel_goes_on() {
    on_a_phone(TRAFFIC, Packets::Tun, async |mut phone: Phone| {
        phone.connect().await?;
        let heard = Arc::clone(&phone.heard);
        let handshakes = heard.handshakes();
        assert_eq!(ask("x.corp")?, (0, 1));
        for round in 0..5 {
            let apps = Some(AppRules::Except(vec![format!("org.example.app{round}")]));
            phone.session.set_managed(LocalPolicy { apps: apps.clone(), ..LocalPolicy::default() }).await?;
            let plan = phone.next_plan().await?;
            assert_eq!(Some(plan.apps), apps);
            assert_eq!(ask(&format!("y{round}.corp"))?, (0, 1), "round {round}");
            let own = format!("tun{}", phone.made);
            phone
                .eventually("end of the former interface", || {
                    interfaces().is_ok_and(|all| all == [own.as_str()])
                })
                .await?;
        }
        assert_eq!(phone.session.status().await.context("stopped")?.state, State::Connected);
        assert_eq!(heard.handshakes(), handshakes, "the transport was not touched");
        Ok(())
    });
}

#[test]
fn exact_names_are_in_the_plan_that_a_phone_connects_by() {
    on_a_phone(TRAFFIC, Packets::Tun, async |mut phone: Phone| {
        let plan = phone.connect().await?;
        let resolved = "198.51.100.7".parse()?;
        assert!(plan.excluded_routes.iter().any(|network| network.contains(&resolved)), "{plan:?}");
        assert!(!plan.routes.iter().any(|network| network.contains(&resolved)));
        let told = phone.session.explain_address(resolved).await.context("stopped")?;
        assert_eq!((told.learnt, told.way), (true, Way::Outside));
        let told = phone.session.explain_host("a.out.corp".parse()?).await.context("stopped")?;
        assert_eq!(told.entry.context("no entry")?.to_string(), "a.out.corp");
        assert!(phone.heard.queries() >= 2, "both families were asked for");
        Ok(())
    });
}

#[test]
fn dns_only_answers_by_packets_without_a_tunnel() {
    on_a_phone(DNS_ONLY, Packets::Tun, async |mut phone: Phone| {
        let plan = phone.connect().await?;
        assert_eq!(plan.routes.len(), 2, "the sentinels and nothing else: {plan:?}");
        assert_eq!(ask("x.corp")?, (0, 1));
        assert_eq!(ask_stream("y.corp")?, (0, 1));
        assert_eq!(phone.heard.handshakes(), 0);
        // Its interface goes and comes again.
        ip(&["link", "delete", &format!("tun{}", phone.made)])?;
        phone.next_plan().await?;
        assert_eq!(ask("z.corp")?, (0, 1));
        phone.session.command(Command::Disconnect).await?;
        phone.until(State::Disconnected).await?;
        phone.eventually("end of the interface", || interfaces().is_ok_and(|all| all.is_empty())).await?;
        Ok(())
    });
}

#[test]
fn a_wake_and_another_network_prove_the_tunnel_at_once() {
    on_a_phone(TRAFFIC, Packets::Tun, async |mut phone: Phone| {
        phone.connect().await?;
        let heard = Arc::clone(&phone.heard);
        let made = phone.made;
        let before = heard.handshakes();
        phone.session.woke().await;
        phone.eventually("handshake after the wake", || heard.handshakes() > before).await?;
        let network = |interface: &str| NetworkState {
            interface: Some(interface.to_owned()),
            has_v4: true,
            ..NetworkState::default()
        };
        phone.session.network_changed(network("wlan0 (1)")).await;
        let before = heard.handshakes();
        phone.session.network_changed(network("wlan0 (2)")).await;
        phone.eventually("handshake on the new network", || heard.handshakes() > before).await?;
        assert_eq!(ask("x.corp")?, (0, 1));
        assert_eq!(phone.made, made, "the interface stays");
        Ok(())
    });
}

/// An IPv4 datagram from the device to the sentinel.
fn datagram(payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(28 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 172, 16, 0, 2, 198, 18, 0, 53]);
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    packet[10..12].copy_from_slice(&folded.to_be_bytes());
    packet.extend(40_000u16.to_be_bytes());
    packet.extend(53u16.to_be_bytes());
    packet.extend((total - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

#[test]
fn a_host_that_owns_the_packets_is_answered_in_every_mode_and_over_disconnects() {
    const ROUNDS: usize = 5;
    for profile in [TRAFFIC, DNS_ONLY] {
        on_a_phone(profile, Packets::Queue, async |mut phone: Phone| {
            for round in 0..ROUNDS {
                phone.connect().await?;
                let queue = phone.queue.clone().context("no queue")?;
                let packet = datagram(&query("x.corp"));
                let end = u32::try_from(packet.len())?;
                assert_eq!(queue.send(&packet, &[0, end])?, 1);
                let batch = tokio::time::timeout(PATIENCE, queue.receive()).await.context("no answer")??;
                let answer = batch.iter().next().context("empty")?;
                assert_eq!(
                    (answer[9], answer[12..16].to_vec(), answer[28 + 7]),
                    (17, vec![198, 18, 0, 53], 1)
                );
                phone.session.command(Command::Disconnect).await?;
                phone.until(State::Disconnected).await?;
                assert!(!queue.is_closed(), "round {round}");
            }
            // No initiation is one too many, however soon a tunnel follows another.
            assert_eq!(phone.heard.handshakes(), if profile == TRAFFIC { ROUNDS } else { 0 });
            let queue = phone.queue.clone().context("no queue")?;
            phone.session.shutdown().await;
            assert!(queue.receive().await.is_err() && queue.is_closed());
            Ok(())
        });
    }
}

/// Asks for one name after the other until it is stopped. What gets lost with an interface is asked again, as any
/// client does; nothing is refused.
fn ask_until(stop: &AtomicBool) -> Result<usize> {
    for number in 0.. {
        if stop.load(Ordering::Acquire) {
            return Ok(number);
        }
        let answer = ask(&format!("n{number}.corp"))?;
        ensure!(answer == (0, 1), "query {number}: {answer:?}");
    }
    anyhow::bail!("numbers have ended")
}

#[test]
fn names_stay_with_weft_while_the_administrator_switches_the_mode() {
    on_a_phone(TRAFFIC, Packets::Tun, async |mut phone: Phone| {
        phone.connect().await?;
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let asker = std::thread::spawn(move || ask_until(&stopped));
        for mode in [ServiceMode::DnsOnly, ServiceMode::TrafficAndDns].repeat(3) {
            let policy = LocalPolicy { service_mode: Some(mode), ..LocalPolicy::default() };
            phone.session.set_managed(policy).await?;
            loop {
                match phone.next_event().await? {
                    Event::Plan(plan) => {
                        ensure!(plan.dns.is_some(), "names go elsewhere on the way to {mode}");
                        phone.apply(&plan)?;
                        phone.session.acknowledge(plan.number, Ok(())).await;
                    }
                    Event::Status(status) if status.state == State::Connected => break,
                    _ => {}
                }
            }
        }
        stop.store(true, Ordering::Release);
        let asked = asker.join().unwrap()?;
        ensure!(asked > 0);
        Ok(())
    });
}

#[test]
fn a_late_word_of_an_older_plan_leaves_the_interface() {
    on_a_phone(TRAFFIC, Packets::Tun, async |mut phone: Phone| {
        let up = phone.connect().await?;
        phone.session.command(Command::Disconnect).await?;
        let down = loop {
            if let Event::Plan(plan) = phone.next_event().await? {
                break plan;
            }
        };
        assert!(down.interface.is_none());
        phone.session.acknowledge(up.number, Ok(())).await;
        assert!(phone.session.has_device(), "the shell has not removed it yet");
        phone.session.acknowledge(down.number, Ok(())).await;
        assert!(!phone.session.has_device());
        Ok(())
    });
}

#[test]
fn a_descriptor_that_is_no_tun_changes_nothing() {
    on_a_phone(TRAFFIC, Packets::Tun, async |mut phone: Phone| {
        phone.connect().await?;
        assert!(phone.session.attach_tun(std::fs::File::open("/dev/null")?.into()).is_err());
        assert_eq!(ask("x.corp")?, (0, 1));
        Ok(())
    });
}
