use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::tls::Fingerprint;

/// A certificate authority and a server certificate of it.
pub(crate) struct Pki {
    pub(crate) authority_pem: String,
    pub(crate) fingerprint: Fingerprint,
    authority: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Pki {
    /// For a server of these names or addresses.
    pub(crate) fn new(names: &[&str]) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let authority_key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(params, authority_key);
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let digest = aws_lc_rs_digest(authority.der());
        Self {
            authority_pem: authority.pem(),
            fingerprint: Fingerprint::from(digest),
            authority: authority.der().clone(),
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
        }
    }

    /// A server's side of TLS that shows its certificate, with or without its authority's.
    pub(crate) fn server(&self, alpn: &[u8], with_authority: bool) -> TlsAcceptor {
        let mut chain = vec![self.certificate.clone()];
        chain.extend(with_authority.then(|| self.authority.clone()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::try_from(self.key.clone()).unwrap())
            .unwrap();
        config.alpn_protocols = vec![alpn.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

fn aws_lc_rs_digest(bytes: &[u8]) -> [u8; 32] {
    ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, bytes).as_ref().try_into().unwrap()
}

/// The next connection that gets through its handshake.
pub(crate) async fn accept(listener: &TcpListener, tls: &TlsAcceptor) -> TlsStream<tokio::net::TcpStream> {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        if let Ok(stream) = tls.accept(stream).await {
            return stream;
        }
    }
}
