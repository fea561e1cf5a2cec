//! The whole gateway in the lab, with wireguard-go on the devices.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use netlab::peers::{Implementation, Keys, Remote, RunningPeer, WireGuardPeer};
use netlab::topology::{GATEWAY, GATEWAY_V6, WEB, WEB_V6};
use netlab::{End, Host, Lab, Link, Output, Process, Signal, Topology, eventually};

const SOON: Duration = Duration::from_secs(10);
const DIR: &str = "/var/lib/weft-gateway";
const INNER: &str = "172.64.128.1";
/// An address of each private range.
const CLOSED: [&str; 4] = ["10.9.0.1", "172.20.0.1", "192.168.77.1", "fd99::1"];
/// Where clouds hand servers their credentials.
const METADATA: [&str; 1] = ["169.254.169.254"];
const PROGRAM: &str = env!("CARGO_BIN_EXE_weft-gateway");

/// A gateway that serves.
struct Gateway<'a> {
    host: &'a Host,
    process: Process,
}

/// A gateway that `init` has made, with further lines in its configuration.
fn init(host: &Host, lines: &str) -> Result<()> {
    host.run([PROGRAM, "init", "--public-address", &format!("{GATEWAY},{GATEWAY_V6}"), "--uplink", "eth0"])?;
    let path = format!("{DIR}/config.toml");
    let text = host.read_file(&path)?;
    host.write_file(&path, format!("{text}\n{lines}\n"))
}

fn start(host: &Host) -> Result<Gateway<'_>> {
    let process = host.spawn(host.command_of([PROGRAM, "run", "--log", "debug"])?)?;
    process.wait_for_line("the gateway serves", SOON)?;
    Ok(Gateway { host, process })
}

impl Gateway<'_> {
    fn command(&self, words: &[&str]) -> Result<Output> {
        self.host.run([PROGRAM].iter().chain(words))
    }

    /// Adds a device by its key and runs its client.
    fn device(&self, host: &Host, shared: bool) -> Result<Device> {
        let keys = Keys::generate(host)?;
        let file = self.command(&["device", "add", "--name", host.name(), "--key", &keys.public])?.stdout;
        let value = |name: &str| {
            let line = file.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
            line.map(str::to_owned).with_context(|| format!("{name} in {file}"))
        };
        let addresses: Vec<String> = value("Address")?.split(", ").map(str::to_owned).collect();
        let remote = Remote::new(&value("PublicKey")?)
            .endpoint(SocketAddr::from((GATEWAY, 2408)))
            .allow(&format!("{WEB}/32"))
            .allow(&format!("{WEB_V6}/128"))
            .allow("172.64.128.0/20")
            .allow("100.96.0.0/12")
            .allow("2606:4700:cf1::/48");
        let remote = CLOSED.iter().chain(&METADATA).fold(remote, |remote, address| {
            let length = if address.contains(':') { 128 } else { 32 };
            remote.allow(&format!("{address}/{length}"))
        });
        let own = addresses[0].trim_end_matches("/32").parse()?;
        let v4 = if shared { "172.16.0.2/32" } else { addresses[0].as_str() };
        let peer = WireGuardPeer::new(Implementation::WireGuardGo, &keys)
            .address(v4)
            .address(&addresses[1])
            .mtu(value("MTU")?.parse()?)
            .remote(remote)
            .start(host)?;
        Ok(Device { host: host.clone(), own, _peer: peer })
    }
}

/// A device with a tunnel.
struct Device {
    host: Host,
    /// The address of its own, whatever its interface has.
    own: Ipv4Addr,
    _peer: RunningPeer,
}

impl Device {
    fn fetch(&self, url: &str) -> Result<String> {
        Ok(self.host.run(["curl", "--silent", "--show-error", "--fail", "--max-time", "5", url])?.stdout)
    }

    /// The check, as whom the gateway sees the device.
    fn trace(&self) -> Result<String> {
        self.fetch(&format!("http://{INNER}/cdn-cgi/trace"))
    }

    fn expect_trace(&self) -> Result<()> {
        ensure!(self.trace()? == format!("fl=weft\nip={}\nweft=on\n", self.own));
        Ok(())
    }
}

fn lab(lab: &Lab) -> Result<Topology> {
    lab.require_tun()?;
    Topology::standard(lab)
}

/// Everything of the machine that a gateway touches.
fn state(host: &Host) -> Result<String> {
    let settings = ["ipv4/conf/eth0/forwarding", "ipv6/conf/all/forwarding", "ipv6/conf/eth0/forwarding"];
    let settings: String = settings.map(|name| format!("/proc/sys/net/{name} ")).concat();
    let shown =
        host.sh(&format!("nft list ruleset; ip -o link; ip rule; ip route; ip -6 route; cat {settings}"))?;
    Ok(shown.stdout)
}

#[test]
fn two_devices_with_the_same_address_each_get_their_own_replies() {
    netlab::run(|lab_| {
        let net = lab(lab_)?;
        init(&net.gateway, "")?;
        let gateway = start(&net.gateway)?;
        let other = net.add_device("other", 11)?;
        let devices = [gateway.device(&net.device, true)?, gateway.device(&other, true)?];
        for device in devices.iter().chain(&devices) {
            device.expect_trace()?;
            device.fetch(&format!("http://{WEB}/"))?;
            device.fetch(&format!("http://[{WEB_V6}]/"))?;
        }
        let seen: Vec<IpAddr> = net.web_server.requests().iter().map(|request| request.client).collect();
        assert_eq!(seen.len(), 8);
        let ours = [IpAddr::from(GATEWAY), IpAddr::from(GATEWAY_V6)];
        assert!(seen.iter().all(|address| ours.contains(address)), "{seen:?}");
        let status = gateway.command(&["status"])?.stdout;
        assert!(status.contains("2 registered, 2 connected"), "{status}");
        Ok(())
    });
}

#[test]
fn a_device_with_an_address_of_its_own_needs_no_translation() {
    netlab::run(|lab_| {
        let net = lab(lab_)?;
        init(&net.gateway, "")?;
        let gateway = start(&net.gateway)?;
        gateway.device(&net.device, false)?.expect_trace()
    });
}

#[test]
fn much_data_passes_unharmed_both_ways() {
    netlab::run(|lab_| {
        let net = lab(lab_)?;
        init(&net.gateway, "")?;
        let gateway = start(&net.gateway)?;
        for (shared, address) in [(true, IpAddr::from(WEB)), (false, WEB_V6.into())] {
            let device = gateway.device(&net.device, shared)?;
            let listener = net.web.inside(|| TcpListener::bind(SocketAddr::new(address, 0)))??;
            let remote = listener.local_addr()?;
            let echo = std::thread::spawn(move || -> std::io::Result<()> {
                let (mut stream, _) = listener.accept()?;
                let mut back = stream.try_clone()?;
                std::io::copy(&mut stream, &mut back).map(drop)
            });
            let sent: Vec<u8> =
                (0..4_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            let stream = device.host.inside(|| TcpStream::connect_timeout(&remote, SOON))??;
            let (mut write, mut read, copy) = (stream.try_clone()?, stream, sent.clone());
            let sender = std::thread::spawn(move || write.write_all(&copy));
            let mut received = vec![0; sent.len()];
            read.set_read_timeout(Some(SOON))?;
            read.read_exact(&mut received)?;
            sender.join().unwrap()?;
            drop(read);
            echo.join().unwrap()?;
            assert!(received == sent, "the bytes came back changed");
        }
        Ok(())
    });
}

#[test]
fn devices_do_not_reach_each_other_or_the_gateway_unless_the_configuration_says_so() {
    netlab::run(|lab_| {
        let net = lab(lab_)?;
        let other = net.add_device("other", 11)?;
        for (open, lines) in [(false, ""), (true, "[tunnel]\ndevice_to_device = true\nhost_access = true\n")]
        {
            net.gateway.sh(&format!("rm -rf {DIR}"))?;
            init(&net.gateway, "")?;
            let path = format!("{DIR}/config.toml");
            let text = net.gateway.read_file(&path)?;
            net.gateway
                .write_file(&path, text.replace("[tunnel]\n", if open { lines } else { "[tunnel]\n" }))?;
            let gateway = start(&net.gateway)?;
            let devices = [gateway.device(&net.device, true)?, gateway.device(&other, false)?];
            for device in &devices {
                device.expect_trace()?;
            }
            let reaches = |from: &Device, to: IpAddr| {
                let ping = ["ping", "-c1", "-W2", &to.to_string()].map(str::to_owned);
                from.host.attempt(ping).map(|output| output.status.success())
            };
            assert_eq!(reaches(&devices[0], devices[1].own.into())?, open);
            assert_eq!(reaches(&devices[1], devices[0].own.into())?, open);

            let listener = net.gateway.inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 2222)))??;
            let inner = SocketAddr::new(INNER.parse()?, 2222);
            let connected =
                devices[0].host.inside(|| TcpStream::connect_timeout(&inner, Duration::from_secs(3)))?;
            assert_eq!(connected.is_ok(), open);
            drop(listener);
        }
        Ok(())
    });
}

#[test]
fn private_networks_are_closed_unless_the_configuration_opens_them_and_metadata_always() {
    netlab::run(|lab_| {
        let net = lab(lab_)?;
        init(&net.gateway, "")?;
        for address in CLOSED.iter().chain(&METADATA) {
            let (length, web) =
                if address.contains(':') { (128, WEB_V6.to_string()) } else { (32, WEB.to_string()) };
            net.web.add_address("eth0", &format!("{address}/{length}"))?;
            net.gateway.add_route(&format!("{address}/{length} via {web}"))?;
        }
        let _listeners = net.web.inside(|| {
            let all = CLOSED.iter().chain(&METADATA);
            all.map(|address| TcpListener::bind((*address, 8443))).collect::<std::io::Result<Vec<_>>>()
        })??;
        let path = format!("{DIR}/config.toml");
        let text = net.gateway.read_file(&path)?;
        for open in [false, true] {
            let line = format!("[tunnel]\nprivate_networks = {open}\n");
            net.gateway
                .write_file(&path, if open { text.replace("[tunnel]\n", &line) } else { text.clone() })?;
            let gateway = start(&net.gateway)?;
            let device = gateway.device(&net.device, true)?;
            device.expect_trace()?;
            device.fetch(&format!("http://{WEB}/"))?;
            for (address, reached) in
                CLOSED.map(|address| (address, open)).into_iter().chain([(METADATA[0], false)])
            {
                let to = SocketAddr::new(address.parse()?, 8443);
                match device.host.inside(|| TcpStream::connect_timeout(&to, SOON))? {
                    Ok(_) => assert!(reached, "{address} is reached"),
                    // Refused aloud, not left to wait.
                    Err(error) => {
                        assert!(
                            !reached && error.kind() != std::io::ErrorKind::TimedOut,
                            "{address}: {error}"
                        );
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_revoked_device_is_cut_off_when_the_command_returns() {
    netlab::run(|lab_| {
        let net = lab(lab_)?;
        init(&net.gateway, "")?;
        let gateway = start(&net.gateway)?;
        let other = net.add_device("other", 11)?;
        let devices = [gateway.device(&net.device, true)?, gateway.device(&other, true)?];
        devices.iter().try_for_each(Device::expect_trace)?;
        let list = gateway.command(&["device", "list"])?.stdout;
        let line = list.lines().find(|line| line.contains(" device ")).context("the device in the list")?;
        let id = line.split_whitespace().next().context("an id")?;
        gateway.command(&["device", "revoke", id])?;
        assert!(devices[0].trace().is_err());
        devices[1].expect_trace()
    });
}

#[test]
fn a_source_that_is_not_the_devices_goes_nowhere() {
    netlab::run(|lab_| {
        let net = lab(lab_)?;
        init(&net.gateway, "")?;
        let gateway = start(&net.gateway)?;
        let other = net.add_device("other", 11)?;
        let devices = [gateway.device(&net.device, false)?, gateway.device(&other, false)?];
        devices.iter().try_for_each(Device::expect_trace)?;
        devices[0].host.add_address("wg0", &format!("{}/32", devices[1].own))?;
        let wire = net.gateway.capture("weftgw0")?;
        let forged = devices[1].own.to_string();
        let ping = devices[0].host.attempt(["ping", "-c1", "-W1", "-I", &forged, INNER])?;
        assert!(!ping.status.success());
        devices[0].expect_trace()?;
        wire.settle()?;
        assert_eq!(wire.count(|seen| seen.protocol == Some(netlab::ICMP)), 0, "{wire}");
        let status = gateway.command(&["status"])?.stdout;
        assert!(status.contains("spoofed source"), "{status}");
        Ok(())
    });
}

#[test]
fn the_inner_address_is_for_devices_alone() {
    netlab::run(|lab_| {
        let net = lab(lab_)?;
        init(&net.gateway, "")?;
        let gateway = start(&net.gateway)?;
        gateway.device(&net.device, true)?.expect_trace()?;
        net.web.add_route(&format!("{INNER}/32 via {GATEWAY}"))?;
        net.web.add_route(&format!("100.96.0.0/12 via {GATEWAY}"))?;
        for port in [53, 80, 443] {
            let inner = SocketAddr::new(INNER.parse()?, port);
            let reached = net.web.inside(|| TcpStream::connect_timeout(&inner, Duration::from_secs(1)))?;
            assert!(reached.is_err(), "port {port}");
        }
        let ping = net.web.attempt(["ping", "-c1", "-W1", "100.96.0.1"])?;
        assert!(!ping.status.success());
        Ok(())
    });
}

#[test]
fn the_resolver_inside_answers_devices_plainly_and_by_https() {
    netlab::run(|lab_| {
        let net = lab(lab_)?;
        init(&net.gateway, "")?;
        let path = format!("{DIR}/config.toml");
        let text = net.gateway.read_file(&path)?;
        net.gateway.write_file(&path, text.replace("[dns]\n", "[dns]\nblock = [\"blocked.example\"]\n"))?;
        let gateway = start(&net.gateway)?;
        let device = gateway.device(&net.device, true)?;
        let ask = |name: &str| -> Result<Message> {
            let mut query = Message::new(5, MessageType::Query, OpCode::Query);
            query.metadata.recursion_desired = true;
            query.add_query(Query::query(Name::from_str(name)?, RecordType::A));
            let socket = device.host.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
            socket.set_read_timeout(Some(SOON))?;
            socket.send_to(&query.to_vec()?, (INNER, 53))?;
            let mut answer = [0; 1232];
            let (length, from) = socket.recv_from(&mut answer)?;
            ensure!(from.ip().to_string() == INNER);
            Ok(Message::from_vec(&answer[..length])?)
        };
        assert_eq!(ask("web.example.")?.answers.len(), 1);
        assert!(ask("blocked.example.")?.answers.is_empty());

        let authority = net.gateway.read_file(format!("{DIR}/ca.pem"))?;
        net.device.write_file("/run/ca.pem", authority)?;
        let fetch = |name: &str| {
            let doh = format!("https://{INNER}/dns-query");
            let url = format!("http://{name}/");
            let mut command = net.device.command("curl");
            command.args(["--cacert", "/run/ca.pem"]);
            command.args([
                "--silent",
                "--show-error",
                "--fail",
                "--max-time",
                "5",
                "--ipv4",
                "--doh-url",
                &doh,
                &url,
            ]);
            net.device.finish(command, SOON)
        };
        fetch("web.example")?.success()?;
        let fetched = net.web_server.requests().len();
        assert!(!fetch("blocked.example")?.status.success());
        assert_eq!(net.web_server.requests().len(), fetched);
        assert_eq!(net.web_dns.count("blocked.example"), 0);
        Ok(())
    });
}

#[test]
fn everything_is_taken_back_at_the_end_and_after_a_crash() {
    netlab::run(|lab_| {
        let net = lab(lab_)?;
        init(&net.gateway, "")?;
        let before = state(&net.gateway)?;
        let mut gateway = start(&net.gateway)?;
        assert_ne!(state(&net.gateway)?, before);
        gateway.process.signal(Signal::TERM)?;
        assert!(gateway.process.wait(SOON)?.success());
        assert_eq!(state(&net.gateway)?, before);

        let mut gateway = start(&net.gateway)?;
        gateway.process.signal(Signal::KILL)?;
        gateway.process.wait(SOON)?;
        assert_ne!(state(&net.gateway)?, before);
        let mut gateway = start(&net.gateway)?;
        gateway.device(&net.device, true)?.expect_trace()?;
        gateway.process.signal(Signal::TERM)?;
        gateway.process.wait(SOON)?;
        assert_eq!(state(&net.gateway)?, before);
        Ok(())
    });
}

#[test]
fn no_router_comes_of_it_and_networks_of_guests_that_come_later_work() {
    netlab::run(|lab_| {
        let net = lab(lab_)?;
        init(&net.gateway, "")?;
        let attach = |name: &str, number: u8| -> Result<Host> {
            let host = lab_.host(name).build()?;
            let (v4, v6) = (format!("198.51.{number}"), format!("2001:db8:{number}:"));
            let at_gateway = End::new(&net.gateway, name).address(&format!("{v4}.1/24"));
            let at_host =
                End::new(&host, "eth0").address(&format!("{v4}.2/24")).address(&format!("{v6}:2/64"));
            Link::new(at_gateway.address(&format!("{v6}:1/64")), at_host)?;
            host.default_route(format!("{v4}.1").parse()?)?;
            host.default_route(format!("{v6}:1").parse()?)?;
            net.web.add_route(&format!("{v4}.0/24 via {GATEWAY}"))?;
            net.web.add_route(&format!("{v6}:/64 via {GATEWAY_V6}"))?;
            Ok(host)
        };
        let reaches = |from: &Host, to: &str| {
            from.attempt(["ping", "-c1", "-W1", to]).map(|output| output.status.success())
        };
        let _behind = attach("behind", 100)?;
        let mut gateway = start(&net.gateway)?;
        let guest = attach("guest", 101)?;
        // As container engines do; it opens the way between all interfaces, as far as the kernel is concerned.
        net.gateway.sysctl("net.ipv4.ip_forward", "1")?;
        for (to_web, to_guest, to_behind) in [
            (WEB.to_string(), "198.51.101.2", "198.51.100.2"),
            (WEB_V6.to_string(), "2001:db8:101::2", "2001:db8:100::2"),
        ] {
            eventually(SOON, "the guest's way out", || reaches(&guest, &to_web).unwrap_or(false))?;
            ensure!(reaches(&net.web, to_guest)?, "{to_guest} is not reached");
            ensure!(!reaches(&net.web, to_behind)?, "{to_behind} is reached");
        }
        gateway.device(&net.device, true)?.expect_trace()?;
        gateway.process.signal(Signal::TERM)?;
        ensure!(gateway.process.wait(SOON)?.success());
        ensure!(reaches(&guest, &WEB.to_string())? && reaches(&net.web, "198.51.101.2")?);
        Ok(())
    });
}

#[test]
fn a_second_gateway_is_refused_and_leaves_the_first_alone() {
    netlab::run(|lab_| {
        let net = lab(lab_)?;
        init(&net.gateway, "")?;
        let gateway = start(&net.gateway)?;
        let device = gateway.device(&net.device, true)?;
        device.expect_trace()?;
        let before = state(&net.gateway)?;
        net.gateway.run([PROGRAM, "--dir", "/var/lib/second", "init", "--public-address", "203.0.113.10"])?;
        for (words, named) in
            [(vec!["run"], "running"), (vec!["run", "--dir", "/var/lib/second"], "another gateway")]
        {
            let output = net.gateway.attempt([PROGRAM].iter().chain(&words))?;
            ensure!(output.status.code() == Some(1) && output.stderr.contains(named), "{}", output.stderr);
        }
        ensure!(state(&net.gateway)? == before);
        device.expect_trace()
    });
}

#[test]
fn what_is_missing_is_named_in_one_line() {
    netlab::run(|lab_| {
        let net = lab(lab_)?;
        let refused = |words: &[&str], named: &str| -> Result<()> {
            let output = net.gateway.attempt([PROGRAM].iter().chain(words))?;
            ensure!(output.status.code() == Some(1), "{:?}", output.status);
            ensure!(output.stderr.contains(named) && output.stderr.lines().count() == 1, "{}", output.stderr);
            Ok(())
        };
        refused(&["run"], "init")?;
        init(&net.gateway, "")?;
        refused(&["init", "--public-address", "203.0.113.10"], "exists")?;
        let before = state(&net.gateway)?;

        let path = format!("{DIR}/config.toml");
        let text = net.gateway.read_file(&path)?;
        net.gateway.write_file(&path, text.replace("eth0", "eth7"))?;
        refused(&["run"], "eth7")?;
        net.gateway.write_file(&path, format!("{text}\n[nonsense]\n"))?;
        refused(&["run"], "nonsense")?;
        net.gateway.write_file(&path, &text)?;

        let taken = net.gateway.inside(|| UdpSocket::bind((GATEWAY, 4500)))??;
        refused(&["run"], "4500")?;
        drop(taken);
        net.gateway.run(["ip", "tuntap", "add", "weftgw0", "mode", "tun"])?;
        refused(&["run"], "weftgw0")?;
        net.gateway.run(["ip", "tuntap", "del", "weftgw0", "mode", "tun"])?;
        ensure!(state(&net.gateway)? == before, "a refused start left something");
        eventually(SOON, "a start", || start(&net.gateway).map(drop))
    });
}
