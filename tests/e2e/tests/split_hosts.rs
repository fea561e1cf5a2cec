//! Host names in split-tunnel lists: from the first packet on, their addresses lead the way that the list says.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netlab::topology::{GATEWAY, INTERFACE, UPLINK, WEB};
use netlab::{Capture, Lab, Record, Seen};
use weft_e2e::dns::{Message, Query, ask_udp, kind, wire_name};
use weft_e2e::{PATIENCE, Setup};

const PROXY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 2, 2)), 53);
/// All of it is the web host.
const RANGE: &str = "11.1.0.0/16";
/// Names of each of the four kinds; every fourth has two addresses.
const EACH: u16 = 250;
const THREADS: u16 = 4;
/// How long one step of a program may take: an answer to come, or a connection to be opened.
const CONNECT: Duration = Duration::from_secs(10);

/// Whether entries keep names out of the tunnel or take them in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Exclude,
    Include,
}

impl Mode {
    fn profile(self) -> String {
        let exact = (0..EACH).map(|number| format!(r#"{{"host": "e{number}.exact.example"}}"#));
        let below = ["*.wild.example", "*.chain.example"].map(|host| format!(r#"{{"host": "{host}"}}"#));
        let entries = exact.chain(below).collect::<Vec<_>>().join(", ");
        let list = if self == Self::Exclude { "exclude" } else { "include" };
        format!(r#"{{"{list}": [{entries}], "fallback_domains": []}}"#)
    }

    /// The source that packets to these names have at the far side.
    fn source(self) -> Ipv4Addr {
        match self {
            Self::Exclude => UPLINK,
            Self::Include => GATEWAY,
        }
    }
}

fn address(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(11, 1, high, low)
}

/// A name to look up, the type to ask for, and the numbers of its addresses.
struct Name {
    name: String,
    kind: u16,
    addresses: Vec<Ipv4Addr>,
}

/// Name `number` of each kind: an entry of its own, below an entry, an alias of a name below an entry that is an alias itself,
/// and an HTTPS record with the address as a hint.
fn names(number: u16) -> [Name; 4] {
    let of = |of: u16, name: String, kind: u16| {
        let first = (of * EACH + number) * 2 + 1;
        let last = if number.is_multiple_of(4) { first + 1 } else { first };
        Name { name, kind, addresses: (first..=last).map(address).collect() }
    };
    [
        of(0, format!("e{number}.exact.example"), kind::A),
        of(1, format!("w{number}.deep.wild.example"), kind::A),
        of(2, format!("alias{number}.example"), kind::A),
        of(3, format!("h{number}.wild.example"), kind::HTTPS),
    ]
}

/// `1 . ipv4hint=...` (RFC 9460).
fn https_with_hints(addresses: &[Ipv4Addr]) -> Vec<u8> {
    let length = u16::try_from(4 * addresses.len()).unwrap();
    let mut data = vec![0, 1, 0, 0, 4];
    data.extend_from_slice(&length.to_be_bytes());
    addresses.iter().for_each(|address| data.extend_from_slice(&address.octets()));
    data
}

fn raise(lab: &Lab, mode: Mode) -> Result<Setup> {
    let setup = Setup::new(lab, &mode.profile())?;
    let topology = &setup.topology;
    topology.web.run(["ip", "route", "add", "local", RANGE, "dev", "lo"])?;
    topology.router.run(["ip", "route", "add", RANGE, "via", &WEB.to_string()])?;
    topology.gateway.run(["ip", "route", "add", RANGE, "via", &WEB.to_string()])?;
    for name in (0..EACH).flat_map(names) {
        let owner = match name.name.strip_prefix("alias") {
            Some(rest) => {
                let (middle, target) =
                    (format!("t{}", rest.replace(".example", ".chain.example")), format!("f{rest}"));
                topology.web_dns.add(&name.name, Record::Cname(middle.clone()));
                topology.web_dns.add(&middle, Record::Cname(target.clone()));
                target
            }
            None => name.name.clone(),
        };
        if name.kind == kind::HTTPS {
            topology.web_dns.add(&owner, Record::Other(kind::HTTPS, https_with_hints(&name.addresses)));
        } else {
            name.addresses.iter().for_each(|address| {
                topology.web_dns.add(&owner, Record::A(*address));
            });
        }
    }
    setup.device.register(&setup.gateway)?;
    setup.device.connect()?;
    Ok(setup)
}

/// The addresses that an answer tells.
fn told(answer: &Message) -> Vec<Ipv4Addr> {
    let hints = |record: &weft_e2e::dns::Record| match record.kind {
        kind::A => record.data.clone(),
        // Behind the priority, the root as the target, and the head of the only parameter.
        kind::HTTPS => record.data[7..].to_vec(),
        _ => Vec::new(),
    };
    let octets = answer.answers().iter().flat_map(hints).collect::<Vec<_>>();
    octets.chunks_exact(4).map(|octets| Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3])).collect()
}

/// A program's connection: a datagram, and a page of which the first line is asked for.
fn reach(address: Ipv4Addr) -> Result<()> {
    let datagram = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    datagram.send_to(b"first", (address, 9))?;
    let mut stream =
        TcpStream::connect_timeout(&(address, 80).into(), CONNECT).with_context(|| address.to_string())?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    Ok(())
}

/// Looks a name up and uses what it is told at once.
fn look_up_and_reach(name: &Name) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(PROXY)?;
    socket.set_read_timeout(Some(CONNECT))?;
    socket.send(&Query::new(&name.name, name.kind).bytes(7))?;
    let mut room = [0; 4096];
    let length = socket.recv(&mut room).with_context(|| name.name.clone())?;
    let answer = Message::parse(&room[..length])?;
    let addresses = told(&answer);
    addresses.iter().try_for_each(|address| reach(*address))?;
    ensure!(addresses == name.addresses, "{}: {addresses:?}, {answer:?}", name.name);
    Ok(())
}

fn race(setup: &Setup) -> Result<()> {
    let host = setup.device.host();
    let worker = |worker: u16| {
        host.inside(|| {
            let mine = (0..EACH).filter(|number| number % THREADS == worker);
            mine.flat_map(names).try_for_each(|name| look_up_and_reach(&name))
        })?
    };
    std::thread::scope(|scope| {
        let workers = (0..THREADS).map(|number| scope.spawn(move || worker(number))).collect::<Vec<_>>();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap())
    })
}

fn is_in_range(seen: &Seen) -> bool {
    matches!(seen.destination, Some(IpAddr::V4(to)) if to.octets()[..2] == [11, 1])
}

/// Every packet to the range went the way of `mode`, and there was at least one to each address.
fn assert_all_went_right(mode: Mode, physical: &Capture, far: &Capture, wanted: usize) -> Result<()> {
    physical.settle()?;
    far.settle()?;
    let direct = physical.matching(|seen| seen.outgoing && is_in_range(seen));
    let arrived = far.matching(|seen| !seen.outgoing && is_in_range(seen));
    let wrong = arrived.iter().filter(|seen| seen.source != Some(mode.source().into())).collect::<Vec<_>>();
    assert!(wrong.is_empty(), "{} of {}: {:#?}", wrong.len(), arrived.len(), wrong.first());
    if mode == Mode::Include {
        assert!(direct.is_empty(), "{} went past the tunnel: {:#?}", direct.len(), direct.first());
    }
    let reached = arrived.iter().filter_map(|seen| seen.destination).collect::<BTreeSet<_>>();
    assert_eq!(reached.len(), wanted);
    Ok(())
}

fn a_thousand_names(mode: Mode) {
    netlab::run(move |lab| {
        let setup = raise(lab, mode)?;
        let physical = setup.topology.device.capture(INTERFACE)?;
        let far = setup.topology.web.capture(INTERFACE)?;
        race(&setup)?;
        let stats: serde_json::Value =
            serde_json::from_str(&setup.device.weft(&["dns", "stats", "--json"])?)?;
        assert!(stats["held"].as_u64().unwrap() >= u64::from(4 * EACH), "{stats}");
        assert_eq!(stats["hold_failures"], 0, "{stats}");
        let all = (0..EACH).flat_map(names).map(|name| name.addresses.len()).sum::<usize>();
        assert_all_went_right(mode, &physical, &far, all)
    });
}

#[test]
fn a_thousand_names_in_exclude_mode_each_used_at_once() {
    a_thousand_names(Mode::Exclude);
}

#[test]
fn a_thousand_names_in_include_mode_each_used_at_once() {
    a_thousand_names(Mode::Include);
}

fn kept_over_a_reconnect(mode: Mode) {
    netlab::run(move |lab| {
        let setup = raise(lab, mode)?;
        let host = setup.device.host();
        let some = (0..4).flat_map(names).collect::<Vec<_>>();
        host.inside(|| some.iter().try_for_each(look_up_and_reach))??;
        host.run(["ip", "link", "del", "weft0"])?;
        netlab::eventually(PATIENCE, "the tunnel is back", || {
            host.run(["ip", "link", "show", "weft0"])?;
            let page = setup.curl(&["--max-time", "1", &format!("http://{WEB}/")])?;
            ensure!(page.contains("you are"), "{page}");
            Ok(())
        })?;
        setup.device.wait_for_state("connected")?;
        let physical = setup.topology.device.capture(INTERFACE)?;
        let far = setup.topology.web.capture(INTERFACE)?;
        let addresses = some.iter().flat_map(|name| &name.addresses).collect::<Vec<_>>();
        host.inside(|| addresses.iter().try_for_each(|address| reach(**address)))??;
        assert_all_went_right(mode, &physical, &far, addresses.len())
    });
}

#[test]
fn what_was_learnt_stays_learnt_over_a_reconnect_in_exclude_mode() {
    kept_over_a_reconnect(Mode::Exclude);
}

#[test]
fn what_was_learnt_stays_learnt_over_a_reconnect_in_include_mode() {
    kept_over_a_reconnect(Mode::Include);
}

/// Names that no entry matches are answered as ever, and the entry's own name is not below itself.
#[test]
fn a_name_beside_the_entries_goes_the_way_of_everything_else() {
    netlab::run(|lab| {
        let setup = raise(lab, Mode::Exclude)?;
        for name in ["wild.example", "exact.example", "x.e1.exact.example"] {
            setup.topology.web_dns.add(name, Record::A(address(60000)));
        }
        let physical = setup.topology.device.capture(INTERFACE)?;
        let far = setup.topology.web.capture(INTERFACE)?;
        for name in ["wild.example", "exact.example", "x.e1.exact.example"] {
            let name = Name { name: name.to_owned(), kind: kind::A, addresses: vec![address(60000)] };
            setup.device.host().inside(|| look_up_and_reach(&name))??;
        }
        assert_all_went_right(Mode::Include, &physical, &far, 1)
    });
}

/// Another program owns Weft's table, so that no plan can be applied: the answer is withheld, and says why.
#[test]
fn an_answer_is_withheld_while_its_addresses_cannot_be_steered() {
    netlab::run(|lab| {
        let setup = raise(lab, Mode::Exclude)?;
        let host = setup.device.host();
        // In one transaction, so that the daemon has no time to put its own back.
        let line = "(echo 'delete table inet weft; add table inet weft { flags owner; }'; exec sleep 600) | \
                    exec nft --interactive";
        let mut thief = host.spawn(host.command_of(["sh", "-c", line])?)?;
        netlab::eventually(PATIENCE, "another program owns the table", || {
            host.sh("nft list table inet weft").is_ok_and(|said| said.stdout.contains("flags owner"))
        })?;
        let [name, ..] = names(1);
        let far = setup.topology.web.capture(INTERFACE)?;
        let answer = ask_udp(host, PROXY, &Query::new(&name.name, name.kind).bytes(7), PATIENCE)?;
        let answer = Message::parse(&answer.context("no answer at all")?)?;
        assert_eq!((answer.code(), told(&answer)), (2, Vec::new()), "{answer:?}");
        assert_eq!(answer.errors().len(), 1, "{answer:?}");
        far.settle()?;
        assert_eq!(far.count(is_in_range), 0);
        thief.kill9()?;
        Ok(())
    });
}

/// The decoder of these tests reads what their servers say.
#[test]
fn the_hints_of_an_https_record_are_read_back() {
    let hints = [Ipv4Addr::new(11, 1, 0, 1), Ipv4Addr::new(11, 1, 0, 2)];
    let data = https_with_hints(&hints);
    let length = u16::try_from(data.len()).unwrap();
    let mut bytes = vec![0, 7, 0x81, 0x80, 0, 0, 0, 1, 0, 0, 0, 0];
    bytes.extend(wire_name("h.example"));
    bytes.extend([0, 65, 0, 1, 0, 0, 0, 60]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(data);
    assert_eq!(told(&Message::parse(&bytes).unwrap()), hints);
}
