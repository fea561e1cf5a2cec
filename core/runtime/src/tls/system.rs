//! Whom the system trusts: each keeps its authorities elsewhere, and iOS keeps them to itself.

#[cfg(any(target_os = "android", test))]
use std::path::Path;

use rustls::client::WantsClientCert;
use rustls::{ClientConfig, ConfigBuilder, WantsVerifier};

use super::TlsError;

type Untrusting = ConfigBuilder<ClientConfig, WantsVerifier>;
type Trusting = ConfigBuilder<ClientConfig, WantsClientCert>;

/// Where Android keeps its authorities, the newest place first: the module that is updated with Google Play (Android 14),
/// and the system's image. Those that the user added are not among them: apps do not trust them unless they say so.
#[cfg(target_os = "android")]
const DIRECTORIES: [&str; 2] = ["/apex/com.android.conscrypt/cacerts", "/system/etc/security/cacerts"];

/// Trusts whom the system trusts.
///
/// # Errors
/// [`TlsError::NoRoots`] where that is nobody.
#[cfg(not(target_os = "ios"))]
pub(super) fn trust(config: Untrusting) -> Result<Trusting, TlsError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(authorities());
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(config.with_root_certificates(roots)) }
}

/// Has the system judge each chain: it lists its authorities to no app.
///
/// # Errors
/// [`TlsError::NoRoots`] where the system does not judge.
#[cfg(target_os = "ios")]
pub(super) fn trust(config: Untrusting) -> Result<Trusting, TlsError> {
    use rustls_platform_verifier::BuilderVerifierExt;

    config.with_platform_verifier().map_err(|_| TlsError::NoRoots)
}

#[cfg(not(any(target_os = "android", target_os = "ios")))]
fn authorities() -> Vec<rustls_pki_types::CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

#[cfg(target_os = "android")]
fn authorities() -> Vec<rustls_pki_types::CertificateDer<'static>> {
    kept_in(&DIRECTORIES.map(Path::new))
}

/// The authorities of the first directory that holds any, a file each in PEM, called by the hash of its subject.
#[cfg(any(target_os = "android", test))]
fn kept_in(directories: &[&Path]) -> Vec<rustls_pki_types::CertificateDer<'static>> {
    let kept = |directory: &&Path| rustls_native_certs::load_certs_from_paths(None, Some(directory)).certs;
    directories.iter().map(kept).find(|certificates| !certificates.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::kept_in;
    use crate::testing::Pki;

    /// What Android writes behind the certificate: its text, which is no part of it.
    const TEXT: &str = "Certificate:\n    Data:\n        Version: 3 (0x2)\nSHA1 Fingerprint=00:11\n";

    #[test]
    fn the_first_directory_that_holds_authorities_is_read() {
        let folder = std::env::temp_dir().join(format!("weft-authorities-{}", std::process::id()));
        let (newer, older, none) = (folder.join("newer"), folder.join("older"), folder.join("none"));
        let (first, second) = (Pki::new(&["gateway.example"]), Pki::new(&["gateway.example"]));
        for (directory, pki) in [(&newer, &first), (&older, &second)] {
            std::fs::create_dir_all(directory).unwrap();
            std::fs::write(directory.join("5ed36f99.0"), format!("{}{TEXT}", pki.authority_pem)).unwrap();
            std::fs::write(directory.join("notes"), "no certificate").unwrap();
        }
        let shown = |directories: &[&Path]| -> Vec<String> {
            kept_in(directories).iter().map(super::super::pem).collect()
        };
        let of = |pki: &Pki| vec![pki.authority_pem.replace("\r\n", "\n")];
        assert_eq!(shown(&[&newer, &older]), of(&first));
        assert_eq!(shown(&[&none, &older]), of(&second));
        assert_eq!(shown(&[&none]), Vec::<String>::new());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
