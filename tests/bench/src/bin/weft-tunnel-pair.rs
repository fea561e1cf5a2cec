//! One end of a tunnel that is Weft's data plane and nothing else: no daemon, no gateway, no policy. With itself at
//! the other end it shows what the data plane can do by itself.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use ipnet::IpNet;
use weft_model::{InterfacePlan, PrivateKey, PublicKey};
use weft_packet::Run;
use weft_platform::{Platform, TunOptions};
use weft_runtime::data_plane::{Config, DataPlane, FlowClaims, Verdict, Verdicts, VerdictsInForce};
use weft_runtime::sockets::SocketFactory;
use weft_runtime::tun;
use weft_tunnel::wireguard::{Client, ClientConfig, Dates};
use weft_tunnel::{Anchor, Control, Entropy, Outbox, SocketRequest, TransportEvent};

/// One end of a tunnel over Weft's data plane alone, on interface weft0. It prints `ready` once it listens.
#[derive(Debug, Parser)]
#[command(name = "weft-tunnel-pair", version)]
struct Args {
    /// The file with this end's private key, in base64.
    #[arg(long, value_name = "FILE")]
    private_key_file: PathBuf,
    /// The other end's public key, in base64.
    #[arg(long, value_name = "KEY")]
    peer: PublicKey,
    /// Where the other end listens.
    #[arg(long, value_name = "ADDRESS:PORT")]
    endpoint: SocketAddr,
    /// The UDP port to listen on.
    #[arg(long, default_value_t = 2408)]
    port: u16,
    /// This end's address in the tunnel, with its prefix length.
    #[arg(long, value_name = "CIDR")]
    address: Vec<IpNet>,
    /// The longest IP packet in the tunnel, in bytes.
    #[arg(long, default_value_t = 1280)]
    mtu: u16,
    /// The longest run of segments that the kernel hands over at once, in bytes; its own limit otherwise.
    #[arg(long, value_name = "BYTES")]
    gso_max_size: Option<u32>,
    /// Prints the counters every so many seconds, to the standard error.
    #[arg(long, value_name = "SECONDS")]
    counters: Option<u64>,
}

/// Everything goes into the tunnel.
struct All;

impl Verdicts for All {
    fn judge(&self, _: &Run) -> Verdict {
        Verdict::Tunnel
    }
}

struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        #[expect(clippy::expect_used, reason = "a key made without random numbers must never be used")]
        getrandom::fill(bytes).expect("the system gives random numbers");
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut platform = Platform::native_with(TunOptions { gso_max_size: args.gso_max_size })?;
    let plan = InterfacePlan { addresses: args.address.clone(), mtu: args.mtu, metered: false };
    let device = platform.tun.ensure(&plan)?.context("the interface is there already")?;
    let (input, output) = tun::open(device).context("the TUN device")?;
    let transport = Client::transport(client(&args)?, anchor()?, Box::new(SystemEntropy));
    let (own_packets, _nobody_claims_them) = tokio::sync::mpsc::channel(1);
    let (nudge, nudges) = channel();
    let plane = DataPlane::start(Config {
        input: Box::new(input),
        output: Arc::new(output),
        outbound: transport.outbound,
        inbound: transport.inbound,
        verdicts: Arc::new(VerdictsInForce::new(Arc::new(Arc::new(All)))),
        claims: Arc::new(FlowClaims::new()),
        own_packets,
        served_packets: Arc::new(|_| false),
        nudge: nudger(nudge),
    })
    .context("the data plane")?;
    let mut end = End { plane, control: transport.control, outbox: Outbox::new(), port: args.port };
    end.control.start(Instant::now());
    end.settle()?;
    println!("ready");
    std::io::stdout().flush()?;
    end.run(&nudges, args.counters.map(Duration::from_secs))
}

fn client(args: &Args) -> Result<ClientConfig> {
    let path = &args.private_key_file;
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let private_key = text.trim().parse::<PrivateKey>();
    Ok(ClientConfig {
        private_key: private_key.map_err(|error| anyhow!("{}: {error}", path.display()))?,
        public_key: args.peer,
        preshared_key: None,
        candidates: vec![args.endpoint],
        keepalive: None,
        allowed_ips: Vec::new(),
        own_addresses: args.address.clone(),
        mtu: usize::from(args.mtu),
        dates: Dates::default(),
    })
}

fn anchor() -> Result<Anchor> {
    Ok(Anchor { instant: Instant::now(), unix: SystemTime::now().duration_since(UNIX_EPOCH)? })
}

fn nudger(nudge: Sender<()>) -> Arc<dyn Fn() + Send + Sync> {
    Arc::new(move || {
        // The loop is gone only when the program ends.
        let _gone = nudge.send(());
    })
}

struct End {
    plane: DataPlane,
    control: Box<dyn Control>,
    outbox: Outbox,
    port: u16,
}

impl End {
    fn run(&mut self, nudges: &Receiver<()>, every: Option<Duration>) -> Result<()> {
        let mut next = every.map(|every| Instant::now() + every);
        loop {
            let due = self.control.poll_timeout().map(|deadline| deadline.at);
            let until = due.into_iter().chain(next).min();
            match wait(nudges, until) {
                Ok(()) => self.control.handle_nudge(Instant::now()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("the data plane is gone"),
            }
            let now = Instant::now();
            if due.is_some_and(|due| due <= now) {
                self.control.handle_timeout(now);
            }
            if let (Some(moment), Some(every)) = (next, every)
                && moment <= now
            {
                eprintln!("{:?}", self.plane.counters());
                next = Some(now + every);
            }
            self.settle()?;
        }
    }

    /// Does what control asks for.
    fn settle(&mut self) -> Result<()> {
        if let Some(failure) = self.plane.failure() {
            bail!(failure);
        }
        while let Some(event) = self.control.poll_event() {
            self.take(event)?;
        }
        self.control.poll_transmit(Instant::now(), &mut self.outbox);
        self.plane.transmit(&mut self.outbox);
        Ok(())
    }

    fn take(&mut self, event: TransportEvent) -> Result<()> {
        match event {
            TransportEvent::Open(id, SocketRequest::Udp { .. }) => {
                let local = SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port));
                let socket = SocketFactory::new().tunnel_at(local)?;
                self.plane.add_socket(id, socket)?;
                self.control.handle_socket(id, Ok(local), Instant::now());
            }
            TransportEvent::Open(_, other) => bail!("WireGuard asks for {other:?}"),
            TransportEvent::Close(id) => self.plane.remove_socket(id),
            other => eprintln!("{other:?}"),
        }
        Ok(())
    }
}

fn wait(nudges: &Receiver<()>, until: Option<Instant>) -> Result<(), RecvTimeoutError> {
    match until {
        Some(until) => nudges.recv_timeout(until.saturating_duration_since(Instant::now())),
        None => nudges.recv().map_err(|_| RecvTimeoutError::Disconnected),
    }
}
