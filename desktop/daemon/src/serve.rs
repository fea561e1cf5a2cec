//! The IPC server: a bounded number of connections, each answered request by request.

use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use weft_ipc::{Access, Connection, Failure, Listener, Permission, Request, Response, ServerError};

use crate::daemon::{self, Daemon};
use crate::{diagnose, dns, enrol};

/// The most connections at a time.
const MAX_CONNECTIONS: usize = 64;

/// Takes connections until it is dropped.
pub(crate) async fn serve(daemon: Arc<Daemon>, listener: Listener, access: Access) {
    let access = Arc::new(access);
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                // Out of descriptors, usually: others must end first.
                tracing::warn!("no connection could be taken: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        match Arc::clone(&room).try_acquire_owned() {
            Ok(permit) => {
                let (daemon, access) = (Arc::clone(&daemon), Arc::clone(&access));
                tokio::spawn(async move {
                    let _permit = permit;
                    if let Err(error) = converse(&daemon, stream, &access).await {
                        tracing::info!("a client's connection ended: {error}");
                    }
                });
            }
            Err(_) => {
                tracing::info!("a client was turned away: {MAX_CONNECTIONS} are connected");
                Connection::turn_away(stream, "too many clients are connected").await;
            }
        }
    }
}

async fn converse(daemon: &Daemon, stream: UnixStream, access: &Access) -> Result<(), ServerError> {
    let mut connection = Connection::open(stream, access).await?;
    while let Some(request) = connection.next_request().await? {
        let peer = connection.peer();
        if !access.allows(peer, request.permission()) {
            let denied = Failure::Denied { group: access.group_name.clone() };
            let (uid, pid) = (peer.uid, peer.pid);
            connection.send(&Response::Failure(denied)).await?;
            return Err(ServerError::Denied { uid, pid });
        }
        if request.permission() == Permission::Write {
            tracing::info!("{}: asked for by user {} (process {})", request.name(), peer.uid, peer.pid);
        }
        match request {
            Request::Subscribe => return stream_status(daemon, connection).await,
            Request::Log { lines, follow: true } => return stream_log(daemon, connection, lines).await,
            Request::DnsLogFollow { entries } => return stream_dns_log(daemon, connection, entries).await,
            request => {
                let answer = answer(daemon, request).await.unwrap_or_else(Response::Failure);
                connection.send(&answer).await?;
            }
        }
    }
    Ok(())
}

async fn answer(daemon: &Daemon, request: Request) -> Result<Response, Failure> {
    Ok(match request {
        Request::Status | Request::Subscribe => Response::Status(Box::new(daemon.publish_status().await)),
        Request::Settings => Response::Settings(Box::new(daemon.settings().await?)),
        Request::Stats => Response::Stats(Box::new(daemon.stats().await?)),
        Request::Log { lines, .. } => Response::Log(daemon.log.newest(lines as usize).0),
        Request::Registration => Response::Registration(Box::new(enrol::show(daemon)?)),
        Request::Diagnostics => Response::Diagnostics(Box::new(diagnose::collect(daemon).await?)),
        Request::Connect => {
            let _operation = daemon.begin().await?;
            daemon.connect().await?;
            Response::Done
        }
        Request::Disconnect => {
            let _operation = daemon.begin().await?;
            daemon.disconnect().await?;
            Response::Done
        }
        Request::SetMode { mode } => {
            let _operation = daemon.begin().await?;
            daemon.set_mode(mode).await?;
            Response::Done
        }
        Request::RefreshProfile => {
            daemon.refresh_profile().await?;
            Response::Done
        }
        Request::Register { url, token, ca_fingerprint, name } => {
            enrol::register(daemon, enrol::Enrolment { url, token, ca_fingerprint, name }).await?
        }
        Request::ImportRegistration { name, text } => enrol::import(daemon, &name, &text).await?,
        Request::DeleteRegistration => enrol::delete(daemon).await?,
        Request::DnsStatus => Response::DnsStatus(Box::new(dns::status(daemon).await?)),
        Request::DnsFallback => Response::DnsFallback(Box::new(dns::fallback(daemon).await?)),
        Request::DnsLookup { name, kind } => {
            Response::DnsLookup(Box::new(dns::lookup(daemon, name, kind).await?))
        }
        Request::DnsLogFollow { .. } => Response::DnsLog(Box::new(dns::log(daemon, None).await?)),
        Request::DnsLog { enable } => Response::DnsLog(Box::new(dns::log(daemon, enable).await?)),
        Request::DnsFlush => {
            daemon.session.dns_flush().await;
            Response::Done
        }
    })
}

async fn stream_status(daemon: &Daemon, mut connection: Connection) -> Result<(), ServerError> {
    let first = daemon.publish_status().await;
    let mut states = daemon.watch_status();
    connection.send(&Response::Status(Box::new(first))).await?;
    loop {
        tokio::select! {
            changed = states.changed() => if changed.is_err() { return Ok(()) },
            () = connection.gone() => return Ok(()),
        }
        let status = states.borrow_and_update().clone();
        connection.send(&Response::Status(Box::new(status))).await?;
    }
}

async fn stream_log(daemon: &Daemon, mut connection: Connection, lines: u32) -> Result<(), ServerError> {
    let mut news = daemon.log.watch();
    let (first, mut next) = daemon.log.newest(lines as usize);
    connection.send(&Response::Log(first)).await?;
    loop {
        tokio::select! {
            changed = news.changed() => if changed.is_err() { return Ok(()) },
            () = connection.gone() => return Ok(()),
        }
        let (lines, after) = daemon.log.since(next);
        next = after;
        if !lines.is_empty() {
            connection.send(&Response::Log(lines)).await?;
        }
    }
}

async fn stream_dns_log(
    daemon: &Daemon,
    mut connection: Connection,
    entries: u32,
) -> Result<(), ServerError> {
    let Some(mut log) = daemon.session.follow_dns_log(entries as usize).await else {
        let ended = daemon::session_ended();
        return connection.send(&Response::Failure(ended.into())).await;
    };
    loop {
        let news = tokio::select! {
            news = log.next() => news,
            () = connection.gone() => return Ok(()),
        };
        for piece in dns::pieces(news) {
            connection.send_patiently(&Response::DnsLogNews(Box::new(piece))).await?;
        }
    }
}
