//! Service modes: what of names and packets each one takes, and that no switch between them lets anything slip.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use netlab::topology::{DEVICE_V6, GATEWAY, INTERFACE, LAN, UPLINK, WEB, WEB_V6};
use netlab::{Capture, Process, Seen, TCP, UDP};
use weft_e2e::dns::{Message, Query, ask_udp, kind};
use weft_e2e::{PATIENCE, Setup};

const WARP: &str = "warp";
const DNS_ONLY: &str = "1dot1";
const TRAFFIC_ONLY: &str = "tunnelonly";
/// The proxy's address that is no loopback address, so that others can route it.
const PROXY_V6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0xdb8, 0x1111, 0, 0, 0, 0, 2);
/// How long a neighbour tries to connect: its first try is what counts.
const REFUSAL: Duration = Duration::from_secs(2);

fn profile(mode: &str) -> String {
    format!(
        r#"{{"service_mode_v2": {{"mode": "{mode}"}}, "allow_mode_switch": true,
            "fallback_domains": [{{"suffix": "corp"}}]}}"#
    )
}

fn is_dns(seen: &Seen) -> bool {
    seen.has_port(UDP, 53) || seen.has_port(TCP, 53)
}

/// Where a page's packets come from, as its server sees it.
fn source(setup: &Setup, url: &str) -> Result<String> {
    setup.curl(&["--max-time", "2", url])
}

/// Waits until the pages of a name come from there.
fn wait_for_source(setup: &Setup, wanted: std::net::Ipv4Addr) -> Result<()> {
    netlab::eventually(PATIENCE, format!("pages come from {wanted}"), || {
        let page = source(setup, &format!("http://{WEB}/"))?;
        anyhow::ensure!(page.contains(&wanted.to_string()), "{page}");
        Ok(())
    })
}

#[test]
fn dns_only_sends_names_by_doh_outside_and_fallback_names_to_their_resolvers() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, &profile(DNS_ONLY))?;
        let wire = setup.topology.device.capture(INTERFACE)?;
        let page = source(&setup, "http://web.example/")?;
        assert!(page.contains("you are") && !page.contains(&GATEWAY.to_string()), "{page}");
        wire.settle()?;
        assert_eq!(wire.count(is_dns), 0, "{wire}");
        assert!(wire.count(|seen| seen.is_to(GATEWAY) && seen.has_port(TCP, 443)) > 0, "{wire}");
        assert_eq!(wire.count(|seen| seen.has_port(UDP, 2408)), 0, "{wire}");
        assert_eq!(setup.topology.lan_dns.count("web.example"), 0);

        assert!(source(&setup, "http://intranet.corp/")?.contains("you are"));
        assert!(setup.topology.lan_dns.count("intranet.corp") > 0);
        wire.settle()?;
        assert_eq!(wire.count(|seen| seen.outgoing && is_dns(seen) && !seen.is_to(LAN)), 0, "{wire}");
        Ok(())
    });
}

#[test]
fn traffic_only_has_no_proxy_at_all() {
    netlab::run(|lab| {
        let setup = Setup::new(lab, &profile(TRAFFIC_ONLY))?;
        let before = setup.device.traces()?.resolv_conf;
        setup.device.register(&setup.gateway)?;
        setup.device.connect()?;
        assert_eq!(setup.device.traces()?.resolv_conf, before);
        let said =
            setup.device.host().attempt(["dig", "+tries=1", "+time=1", "@127.0.2.2", "web.example"])?;
        assert!(!said.status.success(), "{said:?}");
        let page = setup.curl(&["-4", "http://web.example/"])?;
        assert!(page.contains(&GATEWAY.to_string()), "{page}");
        assert!(setup.topology.lan_dns.count("web.example") > 0);
        Ok(())
    });
}

/// How long a program waits for an answer before it asks another resolver (resolv.conf(5), "timeout").
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the proxy for who.example again and again until it is stopped, by two programs at once: one as fast as it is
/// answered, the other by the system's own way.
struct Askers {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<usize>>,
    system: Process,
}

impl Askers {
    fn start(setup: &Setup) -> Result<Self> {
        let host = setup.device.host();
        let socket = host.inside(|| -> Result<UdpSocket> {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect("127.0.2.2:53")?;
            socket.set_read_timeout(Some(TIMEOUT))?;
            Ok(socket)
        })??;
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || ask_until(&socket, &stopped));
        let line = "while :; do getent ahostsv4 who.example >/dev/null || echo no answer; done";
        let system = host.spawn(host.command_of(["sh", "-c", line])?)?;
        Ok(Self { stop, thread, system })
    }

    /// Every query had its answer.
    fn finish(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Release);
        let asked = self.thread.join().unwrap()?;
        self.system.kill9()?;
        assert!(asked > 0);
        assert_eq!(self.system.stdout(), "");
        Ok(())
    }
}

/// Gives the number of queries, each of which had an answer with an address.
fn ask_until(socket: &UdpSocket, stop: &AtomicBool) -> Result<usize> {
    let mut room = [0; 4096];
    for asked in 0.. {
        if stop.load(Ordering::Acquire) {
            return Ok(asked);
        }
        let id = u16::try_from(asked % 0xffff)?;
        socket.send(&Query::new("who.example", kind::A).bytes(id)).context("refused")?;
        let length = socket.recv(&mut room).with_context(|| format!("query {asked} has no answer"))?;
        let answer = Message::parse(&room[..length])?;
        anyhow::ensure!(answer.count(kind::A) == 1, "query {asked}: {answer:?}");
    }
    anyhow::bail!("numbers have ended")
}

/// Tries to reach a tunnelled destination again and again, by the routes and past them.
fn flood(setup: &Setup) -> Result<Process> {
    let line = format!(
        "while :; do (echo x > /dev/udp/{WEB}/9) 2>/dev/null; (echo x > /dev/udp/{WEB_V6}/9) 2>/dev/null; \
         ping -c 1 -W 1 -I {INTERFACE} {WEB} >/dev/null 2>&1; done"
    );
    let host = setup.device.host();
    host.spawn(host.command_of(["bash", "-c", &line])?)
}

/// More of the flood's datagrams, of both families, reach their destination from here on.
fn wait_for_flood(far: &Capture) -> Result<()> {
    let arrived = || -> Result<[usize; 2]> {
        far.settle()?;
        let of = |to: std::net::IpAddr| {
            far.count(|seen| !seen.outgoing && seen.is_to(to) && seen.has_port(UDP, 9))
        };
        Ok([of(WEB.into()), of(WEB_V6.into())])
    };
    let before = arrived()?;
    netlab::eventually(PATIENCE, "the flood arrives", || {
        let now = arrived()?;
        anyhow::ensure!(now.iter().zip(before).all(|(now, before)| *now >= before + 2), "{now:?} {before:?}");
        Ok(())
    })
}

fn assert_no_stray(wire: &Capture) -> Result<()> {
    wire.settle()?;
    let strays = wire.matching(|seen| seen.is_to(WEB) || seen.is_to(WEB_V6));
    assert!(strays.is_empty(), "{strays:#?}");
    Ok(())
}

#[test]
fn every_name_is_answered_by_the_gateway_while_the_user_switches_modes() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, &profile(WARP))?;
        setup.topology.web_dns.add("who.example", netlab::Record::A(WEB)).set_ttl(0);
        let wire = setup.topology.device.capture(INTERFACE)?;
        let askers = Askers::start(&setup)?;
        for _ in 0..3 {
            setup.device.weft(&["mode", "dns-only"])?;
            wait_for_source(&setup, UPLINK)?;
            setup.device.wait_for_state("connected")?;
            assert_asks_the_gateway(&setup)?;
            setup.device.weft(&["mode", "traffic-and-dns"])?;
            wait_for_source(&setup, GATEWAY)?;
            setup.device.wait_for_state("connected")?;
            assert_asks_the_gateway(&setup)?;
        }
        askers.finish()?;
        wire.settle()?;
        let elsewhere = wire.matching(|seen| seen.outgoing && is_dns(seen));
        assert!(elsewhere.is_empty(), "{elsewhere:#?}");
        assert_eq!(setup.topology.lan_dns.count("who.example"), 0);
        Ok(())
    });
}

/// Once it is connected, no name reaches the former resolvers.
fn assert_asks_the_gateway(setup: &Setup) -> Result<()> {
    let before = (setup.topology.lan_dns.queries().len(), setup.topology.web_dns.count("who.example"));
    for _ in 0..20 {
        setup.device.host().run(["getent", "ahostsv4", "who.example"])?;
    }
    assert_eq!(setup.topology.lan_dns.queries().len(), before.0);
    assert!(setup.topology.web_dns.count("who.example") > before.1);
    Ok(())
}

#[test]
fn packets_stay_in_the_tunnel_while_the_administrator_switches_dns_off_and_on() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, &profile(WARP))?;
        let before = setup.device.traces()?.resolv_conf;
        let wire = setup.topology.device.capture(INTERFACE)?;
        let far = setup.topology.web.capture(INTERFACE)?;
        let mut flood = flood(&setup)?;
        for _ in 0..3 {
            for (mode, ours) in [(TRAFFIC_ONLY, false), (WARP, true)] {
                setup.gateway.set_profile(&profile(mode))?;
                setup.device.weft(&["settings", "--refresh"])?;
                netlab::eventually(PATIENCE, format!("the mode is {mode}"), || {
                    setup.device.traces().is_ok_and(|traces| (traces.resolv_conf == before) == ours)
                })?;
                wait_for_source(&setup, GATEWAY)?;
                wait_for_flood(&far).with_context(|| format!("the mode is {mode}"))?;
            }
        }
        flood.kill9()?;
        assert_no_stray(&wire)
    });
}

/// A neighbour that routes the proxy's address to the device gets through to it, and hears nothing from the proxy.
#[test]
fn no_neighbour_is_answered_by_the_proxy() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, &profile(DNS_ONLY))?;
        let (device, neighbour) = (setup.device.host(), &setup.topology.lan);
        neighbour.run([
            "ip",
            "-6",
            "route",
            "add",
            &format!("{PROXY_V6}/128"),
            "via",
            &DEVICE_V6.to_string(),
        ])?;
        let query = Query::new("web.example", kind::A).bytes(5);
        let (proxy, other) = (SocketAddr::new(PROXY_V6.into(), 53), SocketAddr::new(PROXY_V6.into(), 5300));

        // The way to the device is free: another program there is asked on the same address, and answers.
        let program = device.inside(|| UdpSocket::bind(other))??;
        program.set_read_timeout(Some(PATIENCE))?;
        let echo = std::thread::spawn(move || -> std::io::Result<()> {
            let mut room = [0; 512];
            let (length, client) = program.recv_from(&mut room)?;
            program.send_to(&room[..length], client).map(drop)
        });
        assert_eq!(ask_udp(neighbour, other, &query, PATIENCE)?, Some(query.clone()));
        echo.join().unwrap()?;
        let listener = device.inside(|| TcpListener::bind(other))??;
        neighbour.inside(|| TcpStream::connect_timeout(&other, PATIENCE))??;
        drop(listener);

        let wire = setup.topology.device.capture(INTERFACE)?;
        let heard = neighbour.inside(|| -> Result<bool> {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
            socket.connect(proxy)?;
            socket.send(&query)?;
            let connection = TcpStream::connect_timeout(&proxy, REFUSAL);
            Ok(connection.is_ok())
        })??;
        assert!(!heard, "a connection was taken");
        // Whoever asks on the device is answered, behind the neighbour's query in the proxy's queue.
        let own = ask_udp(device, proxy, &query, PATIENCE)?.context("the device itself has no answer")?;
        assert_eq!(Message::parse(&own)?.count(kind::A), 1);
        wire.settle()?;
        let asked = wire.count(|seen| !seen.outgoing && seen.is_to(PROXY_V6) && seen.has_port(UDP, 53));
        assert_eq!(asked, 1, "{wire}");
        let answers = wire.matching(|seen| seen.outgoing && seen.is_from(PROXY_V6) && is_dns(seen));
        assert!(answers.is_empty(), "{answers:#?}");
        Ok(())
    });
}
