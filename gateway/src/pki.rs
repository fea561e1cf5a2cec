//! The gateway's certificate authority, the server's certificate and its fingerprint.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::addresses::{INNER_V4, INNER_V6};
use crate::config::{Config, TlsConfig};
use crate::dir::{self, DirError, StateDir};

/// Why a certificate cannot be made or used. One line.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be used.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The certificate cannot be made.
    #[error("the certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// A PEM file is damaged.
    #[error("{path}: {problem}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Certificate and key do not fit together.
    #[error("the server's certificate and key do not fit together: {0}")]
    Mismatch(#[from] rustls::Error),
}

/// A certificate with its key, both PEM.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The key (PKCS #8).
    pub key: Zeroizing<String>,
}

/// Makes a certificate authority.
///
/// # Errors
/// [`PkiError::Make`].
pub fn new_authority() -> Result<Pair, PkiError> {
    let key = KeyPair::generate()?;
    let certificate = authority_params().self_signed(&key)?;
    Ok(Pair { certificate: certificate.pem(), key: Zeroizing::new(key.serialize_pem()) })
}

/// Makes a server certificate for `name`, `addresses` and the inner addresses, signed by the authority's key.
///
/// # Errors
/// [`PkiError::Make`], also where the authority's key cannot be read.
pub fn new_server(authority_key: &str, name: &str, addresses: &[IpAddr]) -> Result<Pair, PkiError> {
    let issuer = Issuer::new(authority_params(), KeyPair::from_pem(authority_key)?);
    let mut names = vec![name.to_owned()];
    names.extend(addresses.iter().map(ToString::to_string));
    names.extend([INNER_V4.to_string(), INNER_V6.to_string()]);
    let mut unique = Vec::new();
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    let mut params = CertificateParams::new(unique)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    set_validity(&mut params);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Pair { certificate: certificate.pem(), key: Zeroizing::new(key.serialize_pem()) })
}

/// The authority's subject is fixed, so that its key alone signs later server certificates.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Weft gateway CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params);
    params
}

/// Devices pin the authority, so nothing is won by an early end; RFC 5280, 4.1.2.5 has this date for "no end".
fn set_validity(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
}

/// What the server shows and what devices are told to trust.
pub struct ServerIdentity {
    /// The chain that goes out in the handshake, the authority's certificate last.
    pub chain: Vec<CertificateDer<'static>>,
    /// The server's key.
    pub key: PrivateKeyDer<'static>,
    /// The authority in PEM that devices trust; none = those of their system.
    pub ca_pem: Option<String>,
}

/// Reads what the server shows: the files of `init`, or those of the configuration's `[tls]`.
///
/// # Errors
/// [`PkiError`] where a file is missing or damaged, or a key may be read by others.
pub fn load(dir: &StateDir, config: &Config) -> Result<ServerIdentity, PkiError> {
    let made = TlsConfig {
        certificate: dir.server_certificate(),
        key: dir.server_key(),
        ca: Some(dir.ca_certificate()),
    };
    let files = config.tls.as_ref().unwrap_or(&made);
    let mut chain = certificates(&files.certificate)?;
    let key_text = dir::read_secret(&files.key)?;
    let key = PrivateKeyDer::from_pem_slice(key_text.as_bytes())
        .map_err(|error| PkiError::Pem { path: files.key.clone(), problem: error.to_string() })?;
    let mut ca_pem = None;
    if let Some(path) = &files.ca {
        for authority in certificates(path)? {
            if !chain.contains(&authority) {
                chain.push(authority);
            }
        }
        ca_pem = Some(dir::read(path)?);
    }
    Ok(ServerIdentity { chain, key, ca_pem })
}

/// The server side of TLS 1.2 and 1.3, HTTP/2 preferred.
///
/// # Errors
/// [`PkiError::Mismatch`].
pub fn server_config(identity: &ServerIdentity) -> Result<rustls::ServerConfig, PkiError> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let text = dir::read(path)?;
    let bad = |problem: String| PkiError::Pem { path: path.to_owned(), problem };
    let found = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad(error.to_string()))?;
    if found.is_empty() {
        return Err(bad("no certificate in it".to_owned()));
    }
    Ok(found)
}

/// The SHA-256 of the first certificate in a PEM text (its DER), in hex with colons.
///
/// # Errors
/// A line where there is no certificate in it.
pub fn fingerprint(pem: &str) -> Result<String, String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
    Ok(digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls_pki_types::{ServerName, UnixTime};

    use super::*;

    #[test]
    fn the_server_is_trusted_by_its_authority_for_every_name_it_has() {
        let authority = new_authority().unwrap();
        let addresses = ["203.0.113.10".parse().unwrap(), "2001:db8::10".parse().unwrap()];
        let server = new_server(&authority.key, "gw.example", &addresses).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let leaf = CertificateDer::from_pem_slice(server.certificate.as_bytes()).unwrap();
        let verify = |name: &str| {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            verifier.verify_server_cert(&leaf, &[], &name, &[], UnixTime::now())
        };
        for name in ["gw.example", "203.0.113.10", "2001:db8::10", "172.64.128.1", "2606:4700:cf1::1"] {
            verify(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        assert!(verify("other.example").is_err());
    }

    #[test]
    fn an_authority_of_somebody_else_is_not_trusted() {
        let (one, other) = (new_authority().unwrap(), new_authority().unwrap());
        let server = new_server(&one.key, "gw.example", &[]).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(other.certificate.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let leaf = CertificateDer::from_pem_slice(server.certificate.as_bytes()).unwrap();
        let name = ServerName::try_from("gw.example").unwrap();
        assert!(verifier.verify_server_cert(&leaf, &[], &name, &[], UnixTime::now()).is_err());
    }

    #[test]
    fn a_fingerprint_is_32_bytes_in_hex() {
        let authority = new_authority().unwrap();
        let text = fingerprint(&authority.certificate).unwrap();
        assert_eq!(text.split(':').filter(|byte| byte.len() == 2).count(), 32);
        assert!(fingerprint("nothing").is_err());
    }
}
