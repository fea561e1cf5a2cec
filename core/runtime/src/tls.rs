//! Whom a TLS connection trusts (rustls with aws-lc-rs).

mod system;

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::lock::lock;

/// Sessions that a client may go on from: some each for a server under its names.
const SESSIONS: usize = 16;

/// The SHA-256 of a certificate's DER form.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// Why a text is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is the SHA-256 of the certificate: 64 hexadecimal digits, colons allowed")]
pub struct FingerprintError;

impl Fingerprint {
    fn of(certificate: &CertificateDer<'_>) -> Self {
        let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, certificate);
        Self(digest.as_ref().try_into().unwrap_or_default())
    }
}

impl From<[u8; 32]> for Fingerprint {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let digits: Vec<u8> = text.trim().bytes().filter(|byte| *byte != b':').collect();
        let mut bytes = [0; 32];
        if digits.len() != 64 {
            return Err(FingerprintError);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| pair.get(at).and_then(|digit| char::from(*digit).to_digit(16));
            let (Some(high), Some(low)) = (digit(0), digit(1)) else { return Err(FingerprintError) };
            *byte = u8::try_from(high << 4 | low).map_err(|_| FingerprintError)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// Which certificate authorities are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The system's.
    System,
    /// Those of this PEM text, and no other.
    CaPem(String),
    /// The one with this fingerprint, which the far side has to show in its chain. For the first time only: pin
    /// [`TlsClient::authority_pem`] from then on.
    CaFingerprint(Fingerprint),
}

impl Trust {
    /// Trusts a pinned authority where there is one, else the system's.
    #[must_use]
    pub fn pinned(ca_pem: Option<&str>) -> Self {
        ca_pem.map_or(Self::System, |pem| Self::CaPem(pem.to_owned()))
    }
}

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The name is neither a host name nor an address.
    #[error("\"{0}\" is no name of a TLS server")]
    Name(String),
    /// The pinned PEM text holds no usable certificate.
    #[error("the pinned certificate authority cannot be read: {0}")]
    Authority(String),
    /// The system trusts nobody.
    #[error("the system has no trusted certificate authorities; install ca-certificates or pin one")]
    NoRoots,
    /// The far side is not who it should be.
    #[error("{0}")]
    Untrusted(String),
    /// The handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Handshake(String),
}

/// Makes TLS connections under one trust.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    by_fingerprint: Option<Arc<ByFingerprint>>,
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").finish_non_exhaustive()
    }
}

impl TlsClient {
    /// A client that offers the protocols of `alpn`, the most wanted first.
    ///
    /// # Errors
    /// [`TlsError::Authority`] or [`TlsError::NoRoots`].
    pub fn new(trust: &Trust, alpn: &[&[u8]]) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Handshake(error.to_string()))?;
        let (mut config, by_fingerprint) = match trust {
            Trust::System => (system::trust(builder)?.with_no_client_auth(), None),
            Trust::CaPem(pem) => {
                (builder.with_root_certificates(pinned_roots(pem)?).with_no_client_auth(), None)
            }
            Trust::CaFingerprint(fingerprint) => {
                let verifier = Arc::new(ByFingerprint::new(*fingerprint, provider));
                let config = builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
                    .with_no_client_auth();
                (config, Some(verifier))
            }
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Self { config: Arc::new(config), by_fingerprint })
    }

    /// Shakes hands over `stream` with who is to be `name`, a host name or an address.
    ///
    /// # Errors
    /// [`TlsError::Untrusted`] where it is not, [`TlsError::Handshake`] for everything else that goes wrong.
    pub async fn connect<S>(&self, name: &str, stream: S) -> Result<TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let server = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(server, stream).await.map_err(|error| self.explain(name, &error))
    }

    /// The authority that [`Trust::CaFingerprint`] named, as the far side showed it, in PEM. None before a successful
    /// handshake and under any other trust.
    #[must_use]
    pub fn authority_pem(&self) -> Option<String> {
        let shown = self.by_fingerprint.as_ref()?.lock();
        shown.authority.as_ref().map(pem)
    }

    fn explain(&self, name: &str, error: &io::Error) -> TlsError {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let Some(rustls::Error::InvalidCertificate(problem)) = inner else {
            return TlsError::Handshake(error.to_string());
        };
        if let Some(verifier) = &self.by_fingerprint
            && let Some(shown) = verifier.lock().mismatch
        {
            let expected = verifier.fingerprint;
            return TlsError::Untrusted(format!(
                "{name} shows a certificate authority with fingerprint {shown}, not {expected}"
            ));
        }
        TlsError::Untrusted(format!("the certificate of {name} is not trusted: {problem}"))
    }
}

fn pinned_roots(pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| TlsError::Authority(error.to_string()))?;
        roots.add(certificate).map_err(|error| TlsError::Authority(error.to_string()))?;
    }
    if roots.is_empty() {
        Err(TlsError::Authority("there is no certificate in it".to_owned()))
    } else {
        Ok(roots)
    }
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        // RFC 7468, section 2: 64 characters a line.
        let (line, behind) = rest.split_at_checked(64).unwrap_or((rest, ""));
        pem.push_str(line);
        pem.push('\n');
        rest = behind;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// Trusts the one authority of the shown chain that has a fingerprint, and verifies everything else as usual.
#[derive(Debug)]
struct ByFingerprint {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
    shown: Mutex<Shown>,
}

/// What the last chain held.
#[derive(Debug, Default)]
struct Shown {
    authority: Option<CertificateDer<'static>>,
    /// Where the authority was not in it: the fingerprint of its last certificate.
    mismatch: Option<Fingerprint>,
}

impl ByFingerprint {
    fn new(fingerprint: Fingerprint, provider: Arc<CryptoProvider>) -> Self {
        Self { fingerprint, provider, shown: Mutex::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shown> {
        lock(&self.shown)
    }
}

impl ServerCertVerifier for ByFingerprint {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.lock() = Shown::default();
        let mut others = intermediates.iter();
        let Some(authority) = others.find(|other| Fingerprint::of(other) == self.fingerprint) else {
            let last = intermediates.last().unwrap_or(end_entity);
            self.lock().mismatch = Some(Fingerprint::of(last));
            return Err(rustls::CertificateError::UnknownIssuer.into());
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?;
        let verified =
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        self.lock().authority = Some(authority.clone().into_owned());
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
