//! A phone's session in a process of its own, without another language: what a boundary costs is the difference.

use std::fs;
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::IntoRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ipnet::IpNet;
use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use weft_ffi::{
    Event, Host, HostError, NetworkInfo, PacketFlow, Plan, Session, SessionConfig, State,
    parse_enrolment_link,
};
use weft_model::InterfacePlan;
use weft_platform::{Platform, TunOptions};

/// Echoes of one call; two such batches are under way at a time.
const BATCH: usize = 128;
/// The same where a socket keeps what comes back: what the system's own bound on a socket's memory (208 KiB, doubled) holds
/// of full packets, three such batches.
const SOCKET_BATCH: usize = 32;
const SOCKET_MEMORY: usize = 208 << 10;
/// How long an echo is waited for before it counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);

/// What to do is the only argument; the rest is told by the environment, as programs of other languages are told.
#[derive(Debug)]
struct Wanted {
    act: Act,
    /// The file that keeps who the device is.
    state: PathBuf,
    /// Who answers echoes.
    echo: Ipv4Addr,
    /// The length of each packet, in bytes.
    size: usize,
    time: Duration,
}

impl Wanted {
    fn read() -> Result<Self> {
        Ok(Self {
            act: Act::parse(&std::env::args().nth(1).unwrap_or_default())?,
            state: told("WEFT_STATE")?.into(),
            echo: told("WEFT_ECHO")?.parse()?,
            size: told("WEFT_SIZE")?.parse()?,
            time: Duration::from_secs(told("WEFT_SECONDS")?.parse()?),
        })
    }
}

fn told(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| name.to_owned())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Registers the device with the link of `WEFT_LINKS`.
    Enrol,
    /// Carries echoes by the packet flow, and prints how many came back, the seconds, those of the processor, and KiB of
    /// memory.
    Queue,
    /// The same by the descriptor of a TUN device, from a socket.
    Descriptor,
}

impl Act {
    fn parse(word: &str) -> Result<Self> {
        Ok(match word {
            "enrol" => Self::Enrol,
            "queue" => Self::Queue,
            "descriptor" => Self::Descriptor,
            _ => bail!("usage: weft-boundary enrol|queue|descriptor"),
        })
    }
}

struct AppHost(PathBuf);

impl Host for AppHost {
    fn protect(&self, _fd: i32) -> Result<(), HostError> {
        Ok(())
    }

    fn load_secret(&self, _name: String) -> Result<Option<Vec<u8>>, HostError> {
        Ok(fs::read(&self.0).ok())
    }

    fn store_secret(&self, _name: String, value: Option<Vec<u8>>) -> Result<(), HostError> {
        let stored = match value {
            Some(value) => fs::write(&self.0, value),
            None => fs::remove_file(&self.0),
        };
        stored.map_err(|error| HostError::Failed { detail: error.to_string() })
    }

    fn network(&self) -> Result<NetworkInfo, HostError> {
        Ok(NetworkInfo { interface: Some("eth0".to_owned()), has_v4: true, ..NetworkInfo::default() })
    }
}

fn main() -> Result<()> {
    let wanted = Wanted::read()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let config = SessionConfig {
        device_name: "phone".to_owned(),
        os: "linux".to_owned(),
        os_version: String::new(),
        managed: None,
        dns_cache_bytes: None,
    };
    let session = Session::new(config, Arc::new(AppHost(wanted.state.clone())))?;
    if wanted.act == Act::Enrol {
        let session = Arc::new(session);
        runtime.block_on(session.enrol(parse_enrolment_link(told("WEFT_LINKS")?)?))?;
        runtime.block_on(session.close());
        return Ok(());
    }
    let flow = (wanted.act == Act::Queue).then(|| session.packet_flow()).transpose()?;
    let (plan, _platform) = runtime.block_on(connect(&session, flow.is_none(), wanted.echo))?;
    let begun = (Instant::now(), processor());
    let end = begun.0 + wanted.time;
    let back = match flow {
        Some(flow) => by_queue(&flow, &echoes(own_address(&plan)?, &wanted)?, end)?,
        None => by_descriptor(&wanted, end)?,
    };
    let spent = processor().saturating_sub(begun.1);
    println!("{back} {} {} {}", begun.0.elapsed().as_secs_f64(), spent.as_secs_f64(), peak_memory()?);
    runtime.block_on(session.close());
    Ok(())
}

/// Brings the tunnel up; where the core shall have a descriptor, on an interface with a route to who answers.
async fn connect(session: &Session, wants_tun: bool, echo: Ipv4Addr) -> Result<(Plan, Option<Platform>)> {
    session.connect().await?;
    let (mut last, mut platform) = (None, None);
    loop {
        let event = tokio::time::timeout(PATIENCE, session.next_event()).await.context("no event")?;
        match event.context("the session has ended")? {
            Event::Plan { plan } => {
                if wants_tun && platform.is_none() && plan.interface.is_some() {
                    platform = Some(attach(session, &plan, echo)?);
                }
                session.acknowledge_plan(plan.number, None).await;
                last = Some(plan);
            }
            Event::Status { status } if status.state == State::Connected => {
                return Ok((last.context("connected without a plan")?, platform));
            }
            Event::Panicked { detail } => bail!(detail),
            _ => {}
        }
    }
}

fn attach(session: &Session, plan: &Plan, echo: Ipv4Addr) -> Result<Platform> {
    let interface = plan.interface.as_ref().context("no interface")?;
    let addresses = interface.addresses.iter().map(|one| {
        let address = one.address.parse()?;
        Ok(IpNet::new(address, one.prefix)?)
    });
    let like =
        InterfacePlan { addresses: addresses.collect::<Result<_>>()?, mtu: interface.mtu, metered: false };
    let mut platform = Platform::native_with(TunOptions::default())?;
    let device = platform.tun.ensure(&like)?.context("the interface is there already")?;
    let route = ["route", "add", &echo.to_string(), "dev", "weft0"];
    ensure!(std::process::Command::new("ip").args(route).status()?.success(), "ip {route:?}");
    session.attach_tun(device.into_raw_fd())?;
    Ok(platform)
}

fn own_address(plan: &Plan) -> Result<Ipv4Addr> {
    let addresses = plan.interface.iter().flat_map(|interface| &interface.addresses);
    addresses.into_iter().find_map(|one| one.address.parse().ok()).context("no IPv4 address")
}

/// The processor time of this process.
fn processor() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The most that was resident, in KiB.
fn peak_memory() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|pair| pair.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (!((folded & 0xffff) + (folded >> 16)) as u16).to_be_bytes()
}

/// An ICMP echo request (RFC 792) of `length` bytes.
fn echo(number: u16, length: usize) -> Vec<u8> {
    let mut message = [&[8, 0, 0, 0, 0, 7], &number.to_be_bytes()[..]].concat();
    message.resize(length & !1, 0);
    let sum = checksum(&message);
    message.splice(2..4, sum);
    message
}

/// A batch of echo requests as IPv4 packets (RFC 791), and where each begins.
fn echoes(own: Ipv4Addr, wanted: &Wanted) -> Result<(Vec<u8>, Vec<u32>)> {
    let (mut packets, mut offsets) = (Vec::new(), vec![0]);
    for number in 0..BATCH {
        let message = echo(u16::try_from(number)?, wanted.size.saturating_sub(20));
        let total = u16::try_from(20 + message.len())?.to_be_bytes();
        let mut head = [&[0x45, 0], &total[..], &[0, 0, 0, 0, 64, 1, 0, 0]].concat();
        head.extend(own.octets().into_iter().chain(wanted.echo.octets()));
        let sum = checksum(&head);
        head.splice(10..12, sum);
        packets.extend(head.into_iter().chain(message));
        offsets.push(u32::try_from(packets.len())?);
    }
    Ok((packets, offsets))
}

fn by_queue(flow: &PacketFlow, batch: &(Vec<u8>, Vec<u32>), end: Instant) -> Result<usize> {
    let (mut back, mut under_way) = (0, 0);
    while Instant::now() < end {
        while under_way <= BATCH {
            under_way += usize::try_from(flow.send(&batch.0, batch.1.clone())?)?;
        }
        let came = flow.receive_blocking(1000)?.offsets.len().saturating_sub(1);
        back += came;
        under_way = if came == 0 { 0 } else { under_way.saturating_sub(came) };
    }
    Ok(back)
}

fn by_descriptor(wanted: &Wanted, end: Instant) -> Result<usize> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    socket.set_read_timeout(Some(LOST_AFTER))?;
    socket.set_recv_buffer_size(SOCKET_MEMORY)?;
    let to = SockAddr::from(SocketAddr::from((wanted.echo, 0)));
    let message = echo(1, wanted.size.saturating_sub(20));
    let mut room = [MaybeUninit::uninit(); 2048];
    let (mut back, mut under_way) = (0, 0);
    while Instant::now() < end {
        if under_way <= 2 * SOCKET_BATCH {
            for _ in 0..SOCKET_BATCH {
                socket.send_to(&message, &to)?;
            }
            under_way += SOCKET_BATCH;
        }
        match socket.recv(&mut room) {
            Ok(_) => {
                back += 1;
                under_way = under_way.saturating_sub(1);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                under_way = 0
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(back)
}
