//! `weft-gateway run`: puts the parts together, serves until it is told to stop, and takes everything back.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::fs::FlockOperation;
use sd_notify::NotifyState;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use weft_model::PrivateKey;

use crate::addresses::{INNER_V4, INNER_V6, is_inner};
use crate::api::answer::{INNER_CHECK_PORT, INNER_DOH_PORT};
use crate::api::auth::Access;
use crate::api::limit::{ConnectionLimiter, CredentialLimiter};
use crate::api::registration::Api;
use crate::api::serve::{Choice, Site, serve};
use crate::api::{self, Answers};
use crate::config::Config;
use crate::control::{self, Answer, Request, Status};
use crate::dir::{self, StateDir};
use crate::dns::plain::PlainFront;
use crate::dns::upstream::{Upstreams, of_resolv_conf};
use crate::dns::{Policies, Resolver};
use crate::host::Host;
use crate::pki;
use crate::plane::Plane;
use crate::registry::{Registry, now};
use crate::store::Store;

/// The port of plain DNS on the inner address.
const DNS_PORT: u16 = 53;
/// The time after which a connection outside the tunnel without a request is closed.
const OUTSIDE_IDLE: Duration = Duration::from_secs(60);
/// The same inside, where devices keep their connection to the resolver.
const INSIDE_IDLE: Duration = Duration::from_secs(300);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// How often it is written down when devices were last heard of, and looked whether the store has changed.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// One line: what is missing, or what broke.
pub fn run(dir: &StateDir, log: &str) -> anyhow::Result<()> {
    start_log(log)?;
    dir.require()?;
    let _lock = take_lock(dir)?;
    let parts = Parts::load(dir)?;
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .enable_all()
        .build()?;
    runtime.block_on(parts.run())
}

fn start_log(filter: &str) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).context("--log")?;
    // systemd's journal has its own clock.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    let builder = builder.with_ansi(io::stderr().is_terminal());
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().init();
    } else {
        builder.init();
    }
    Ok(())
}

/// One server a directory: it owns the control socket.
fn take_lock(dir: &StateDir) -> anyhow::Result<File> {
    let path = dir.lock();
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            bail!("a gateway is running from {} already", dir.root().display())
        }
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Every connection and every query to an upstream takes a descriptor.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// What is made of files before anything of the machine is touched.
struct Parts {
    dir: StateDir,
    config: Config,
    key: PrivateKey,
    registry: Arc<Registry>,
    resolver: Arc<Resolver>,
    answers: Arc<Answers>,
    tls: TlsAcceptor,
    started: Instant,
}

impl Parts {
    fn load(dir: &StateDir) -> anyhow::Result<Self> {
        let config = Config::load(dir)?;
        let key = dir.read_wireguard_key()?;
        let identity = pki::load(dir, &config)?;
        let tls = TlsAcceptor::from(Arc::new(pki::server_config(&identity)?));
        let registry = Arc::new(Registry::new(Store::open(&dir.database())?)?);
        let upstreams = upstreams(&config)?;
        let timeout = Duration::from_millis(config.dns.timeout_ms);
        let resolver = Resolver::new(
            Policies::new(&config.dns),
            Upstreams::new(upstreams, timeout, config.dns.in_flight),
        );
        let answers = Arc::new(Answers::new(&config, key.public(), identity.ca_pem));
        Ok(Self {
            dir: dir.clone(),
            config,
            key,
            registry,
            resolver: Arc::new(resolver),
            answers,
            tls,
            started: Instant::now(),
        })
    }

    async fn run(self) -> anyhow::Result<()> {
        // From here on a signal ends the gateway in order.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (host, device) = Host::set_up(&self.dir, &self.config.tunnel).await?;
        let outcome = async {
            let locals = locals(&self.config.tunnel.listen, &self.config.tunnel.ports);
            let tunnel = &self.config.tunnel;
            let plane = Arc::new(Plane::start(device, &self.key, tunnel.mtu, &locals)?);
            self.registry.follow(plane.follower());
            let (stop, stopped) = watch::channel(false);
            let mut servers = self.serve(&plane, &stopped).await?;
            tracing::info!("the gateway serves");
            notify(&[NotifyState::Ready]);
            let reason = tokio::select! {
                _ = terminate.recv() => Ok("SIGTERM"),
                _ = interrupt.recv() => Ok("SIGINT"),
                broken = plane.broken() => Err(broken),
                never = keep_house(&self.registry, &plane) => match never {},
            };
            notify(&[NotifyState::Stopping]);
            stop.send_replace(true);
            while servers.connections.join_next().await.is_some() {}
            servers.endless.shutdown().await;
            note_connected(&self.registry, &plane);
            tracing::info!("stopped by {}", reason?);
            anyhow::Ok(())
        };
        let outcome = outcome.await;
        host.take_back().await;
        if let Err(error) = self.registry.flush_seen() {
            tracing::warn!(%error, "the devices' last dates were not written");
        }
        let _ = std::fs::remove_file(self.dir.control_socket());
        outcome
    }

    async fn serve(&self, plane: &Arc<Plane>, stop: &watch::Receiver<bool>) -> anyhow::Result<Servers> {
        let limits = &self.config.limits;
        let limiter = ConnectionLimiter::new(limits.connections, limits.connections_per_source);
        let mut servers = Servers::default();

        let mut outside = locals(&self.config.api.listen, &[self.config.api.port]);
        for inner in inner_addresses(&self.config) {
            let https = SocketAddr::new(inner, INNER_DOH_PORT);
            // Who listens on every address hears the inner one too.
            let heard = |local: &SocketAddr| {
                local.port() == https.port()
                    && local.ip().is_unspecified()
                    && local.is_ipv4() == https.is_ipv4()
            };
            if !outside.iter().any(heard) {
                outside.push(https);
            }
            let check = listen(SocketAddr::new(inner, INNER_CHECK_PORT))?;
            let site =
                Site { router: api::plain_inside(Arc::clone(&self.registry)), tls: None, idle: OUTSIDE_IDLE };
            let choice: Choice = Arc::new(move |_| Some(site.clone()));
            servers.connections.spawn(serve(check, choice, Arc::clone(&limiter), stop.clone()));
            self.serve_plain_dns(inner, &limiter, &mut servers).await?;
        }
        let choice = self.choice();
        for local in outside {
            let listener = listen(local)?;
            servers.connections.spawn(serve(
                listener,
                Arc::clone(&choice),
                Arc::clone(&limiter),
                stop.clone(),
            ));
        }
        let control = control::serve(&self.dir, self.handler(plane)).context("the control socket")?;
        servers.endless.spawn(control);
        Ok(servers)
    }

    async fn serve_plain_dns(
        &self,
        inner: IpAddr,
        limiter: &Arc<ConnectionLimiter>,
        servers: &mut Servers,
    ) -> anyhow::Result<()> {
        let local = SocketAddr::new(inner, DNS_PORT);
        let front = PlainFront { resolver: Arc::clone(&self.resolver), registry: Arc::clone(&self.registry) };
        let socket =
            UdpSocket::bind(local).await.with_context(|| format!("cannot listen on {local} (UDP)"))?;
        let listener = listen(local)?;
        let limiter = Arc::clone(limiter);
        let tcp = front.clone();
        servers.endless.spawn(front.serve_udp(socket));
        servers.endless.spawn(tcp.serve_tcp(listener, limiter));
        Ok(())
    }

    /// A connection to the inner address is served what is for devices inside, any other what is for the outside.
    fn choice(&self) -> Choice {
        let limiter = Arc::new(CredentialLimiter::new(self.config.limits.bad_credentials));
        let access = Access { registry: Arc::clone(&self.registry), limiter };
        let api = Api { access, answers: Arc::clone(&self.answers) };
        let outside = Site {
            router: api::outside(api, Arc::clone(&self.resolver)),
            tls: Some(self.tls.clone()),
            idle: OUTSIDE_IDLE,
        };
        let inside = Site {
            router: api::inside(Arc::clone(&self.registry), Arc::clone(&self.resolver)),
            tls: Some(self.tls.clone()),
            idle: INSIDE_IDLE,
        };
        Arc::new(move |local: SocketAddr| {
            let site = if is_inner(local.ip().to_canonical()) { &inside } else { &outside };
            Some(site.clone())
        })
    }

    fn handler(&self, plane: &Arc<Plane>) -> control::Handler {
        let (registry, resolver, plane) =
            (Arc::clone(&self.registry), Arc::clone(&self.resolver), Arc::clone(plane));
        let started = self.started;
        Arc::new(move |request| match request {
            Request::Reload => match registry.reload() {
                Ok(()) => Answer::Done,
                Err(error) => Answer::Failed { message: error.to_string() },
            },
            Request::Status => {
                let directory = registry.directory();
                let devices = directory.active().count();
                Answer::Status(Box::new(Status {
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    uptime: started.elapsed().as_secs(),
                    devices,
                    connected: plane.connected().len(),
                    revoked: directory.devices().len() - devices,
                    tunnel: plane.counters(),
                    dns: resolver.stats(),
                }))
            }
        })
    }
}

/// What runs until the gateway stops.
#[derive(Default)]
struct Servers {
    /// End when they are told to, after their connections.
    connections: JoinSet<()>,
    /// Are ended.
    endless: JoinSet<()>,
}

/// The listener of one family: a wildcard of IPv6 would take IPv4's place too.
fn listen(local: SocketAddr) -> anyhow::Result<TcpListener> {
    let bind = || {
        let socket = Socket::new(Domain::for_address(local), Type::STREAM, Some(Protocol::TCP))?;
        if local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&local.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    bind().with_context(|| format!("cannot listen on {local} (TCP)"))
}

fn upstreams(config: &Config) -> anyhow::Result<Vec<SocketAddr>> {
    if !config.dns.upstreams.is_empty() {
        return Ok(config.dns.upstreams.iter().map(|upstream| upstream.0).collect());
    }
    let path = Path::new("/etc/resolv.conf");
    let found = of_resolv_conf(&dir::read(path)?);
    if found.is_empty() {
        bail!("{} names no resolver: set dns.upstreams in config.toml", path.display());
    }
    Ok(found)
}

fn has_v6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

/// Every address with every port; those of IPv6 only where this machine has it.
fn locals(addresses: &[IpAddr], ports: &[u16]) -> Vec<SocketAddr> {
    let usable = addresses.iter().filter(|address| address.is_ipv4() || has_v6());
    usable.flat_map(|address| ports.iter().map(|port| SocketAddr::new(*address, *port))).collect()
}

/// The inner addresses that the tunnel interface has.
fn inner_addresses(config: &Config) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = vec![INNER_V4.into()];
    if Path::new("/proc/sys/net/ipv6/conf").join(&config.tunnel.interface).exists() {
        found.push(INNER_V6.into());
    }
    found
}

/// Notes which devices are connected and writes it down; sees to a store that was changed by a command which died
/// before it could say so.
async fn keep_house(registry: &Arc<Registry>, plane: &Arc<Plane>) -> Infallible {
    let mut known = registry.foreign_changes().ok();
    loop {
        tokio::time::sleep(HOUSEKEEPING).await;
        let (registry, plane) = (Arc::clone(registry), Arc::clone(plane));
        let work = tokio::task::spawn_blocking(move || {
            note_connected(&registry, &plane);
            if let Err(error) = registry.flush_seen() {
                tracing::warn!(%error, "the devices' last dates were not written");
            }
            let changes = registry.foreign_changes().ok();
            if changes != known
                && let Err(error) = registry.reload()
            {
                tracing::warn!(%error, "the store was changed and cannot be read");
            }
            changes
        });
        known = work.await.unwrap_or(known);
    }
}

fn note_connected(registry: &Registry, plane: &Plane) {
    let now = now();
    for (device, since) in plane.connected() {
        registry.note_seen(&device, now.saturating_sub_unsigned(since.as_secs()));
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn one_directory_has_one_server() {
        let home = tempfile::tempdir().unwrap();
        let dir = StateDir::new(home.path());
        let lock = take_lock(&dir).unwrap();
        assert!(take_lock(&dir).unwrap_err().to_string().contains("already"));
        drop(lock);
        take_lock(&dir).unwrap();
    }

    #[test]
    fn every_address_has_every_port() {
        let found = locals(&[Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into()], &[1, 2]);
        let texts: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["0.0.0.0:1", "0.0.0.0:2", "127.0.0.1:1", "127.0.0.1:2"]);
        assert!(locals(&[Ipv6Addr::LOCALHOST.into()], &[1]).len() == usize::from(has_v6()));
    }
}
