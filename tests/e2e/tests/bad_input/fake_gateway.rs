//! A gateway's API that answers whatever it is told to.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use netlab::Host;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::PrivateKeyDer;

/// An HTTPS server with a certificate authority of its own. It serves until the lab ends.
pub(crate) struct FakeGateway {
    url: String,
    fingerprint: String,
    answer: Arc<Mutex<Vec<u8>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FakeGateway {
    /// Starts it on a host of the lab.
    pub(crate) fn start(host: &Host, address: IpAddr) -> Result<Self> {
        let (config, fingerprint) = identity(address)?;
        let listener = host.inside(|| TcpListener::bind(SocketAddr::new(address, 443)))??;
        let (answer, requests) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let url = format!("https://{address}");
        let server = Self { url, fingerprint, answer: Arc::clone(&answer), requests: Arc::clone(&requests) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = answer.lock().unwrap().clone();
                if let Ok(request) = serve(stream, Arc::clone(&config), &answer) {
                    requests.lock().unwrap().push(request);
                }
            }
        });
        Ok(server)
    }

    /// What it answers from now on, byte for byte; then it closes the connection.
    pub(crate) fn answer_with(&self, answer: &[u8]) {
        answer.clone_into(&mut self.answer.lock().unwrap());
    }

    /// The heads of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The SHA-256 of its certificate authority.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

fn identity(address: IpAddr) -> Result<(Arc<ServerConfig>, String)> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate()?;
    let authority = params.self_signed(&authority_key)?;
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new([address.to_string()])?.signed_by(&key, &issuer)?;
    let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, authority.der());
    let fingerprint = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let chain = vec![certificate.der().clone(), authority.der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok((Arc::new(config), fingerprint))
}

/// Reads one request, answers, and gives the request's head.
fn serve(stream: TcpStream, config: Arc<ServerConfig>, answer: &[u8]) -> Result<String> {
    stream.set_read_timeout(Some(weft_e2e::PATIENCE))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let mut tls = StreamOwned::new(ServerConnection::new(config)?, stream);
    let (mut request, mut room) = (Vec::new(), [0; 4096]);
    let (head, wanted) = loop {
        let read = tls.read(&mut room)?;
        anyhow::ensure!(read > 0, "the request ends early");
        request.extend_from_slice(&room[..read]);
        let text = String::from_utf8_lossy(&request);
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            break (head.to_owned(), head.len() + 4 + content_length(head)?);
        }
    };
    while request.len() < wanted {
        let read = tls.read(&mut room)?;
        anyhow::ensure!(read > 0, "the request's body ends early");
        request.extend_from_slice(&room[..read]);
    }
    // A client that has read enough hangs up.
    let _refused = tls.write_all(answer).and_then(|()| tls.flush());
    tls.conn.send_close_notify();
    let _refused = tls.flush();
    Ok(head)
}

fn content_length(head: &str) -> Result<usize> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let length = lines.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    Ok(length.context("no content-length")?.1.trim().parse()?)
}
