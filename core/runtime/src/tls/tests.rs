use std::str::FromStr;

use tokio::net::{TcpListener, TcpStream};

use super::{Fingerprint, TlsClient, TlsError, Trust};
use crate::testing::Pki;

/// Shakes hands with a server of `pki` that is asked for as `name`.
async fn shake(
    pki: &Pki,
    with_authority: bool,
    trust: &Trust,
    name: &str,
) -> Result<Option<String>, TlsError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = pki.server(b"h2", with_authority);
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let _ = tls.accept(stream).await;
    });
    let client = TlsClient::new(trust, &[b"h2"])?;
    let result = client.connect(name, TcpStream::connect(address).await.unwrap()).await;
    server.await.unwrap();
    result.map(|_| client.authority_pem())
}

#[tokio::test]
async fn who_is_trusted_and_who_is_not() {
    let pki = Pki::new(&["gateway.example", "127.0.0.1"]);
    let other = Pki::new(&["gateway.example"]);
    let pinned = Trust::CaPem(pki.authority_pem.clone());
    let by_fingerprint = Trust::CaFingerprint(pki.fingerprint);
    let cases = [
        (&pki, true, &pinned, "gateway.example", true),
        (&pki, false, &pinned, "gateway.example", true),
        (&pki, true, &pinned, "127.0.0.1", true),
        (&pki, true, &pinned, "other.example", false),
        (&other, true, &pinned, "gateway.example", false),
        (&pki, true, &Trust::System, "gateway.example", false),
        (&pki, true, &by_fingerprint, "gateway.example", true),
        (&pki, true, &by_fingerprint, "other.example", false),
        (&pki, false, &by_fingerprint, "gateway.example", false),
        (&other, true, &by_fingerprint, "gateway.example", false),
    ];
    for (server, with_authority, trust, name, trusted) in cases {
        let result = shake(server, with_authority, trust, name).await;
        match result {
            Ok(_) => assert!(trusted, "{trust:?} {name}"),
            Err(TlsError::Untrusted(_) | TlsError::NoRoots) => assert!(!trusted, "{trust:?} {name}"),
            Err(error) => panic!("{trust:?} {name}: {error}"),
        }
    }
}

#[tokio::test]
async fn the_authority_of_a_fingerprint_is_pinned_from_then_on() {
    let pki = Pki::new(&["gateway.example"]);
    let pem =
        shake(&pki, true, &Trust::CaFingerprint(pki.fingerprint), "gateway.example").await.unwrap().unwrap();
    assert_eq!(pem.replace("\r\n", "\n"), pki.authority_pem.replace("\r\n", "\n"));
    assert!(shake(&pki, false, &Trust::CaPem(pem), "gateway.example").await.is_ok());
}

#[tokio::test]
async fn a_wrong_fingerprint_is_told_with_the_right_one() {
    let (pki, other) = (Pki::new(&["gateway.example"]), Pki::new(&["gateway.example"]));
    let trust = Trust::CaFingerprint(other.fingerprint);
    let error = shake(&pki, true, &trust, "gateway.example").await.unwrap_err().to_string();
    assert!(error.contains(&pki.fingerprint.to_string()), "{error}");
    assert!(error.contains(&other.fingerprint.to_string()), "{error}");
    assert!(!error.contains('\n'));
}

#[test]
fn fingerprints_are_read_with_and_without_colons() {
    let digits = "00ff".repeat(16);
    let colons: Vec<_> = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect();
    let plain = Fingerprint::from_str(&digits).unwrap();
    assert_eq!(Fingerprint::from_str(&colons.join(":").to_uppercase()).unwrap(), plain);
    assert_eq!(plain.to_string(), digits);
    for bad in ["", "00", &"00f".repeat(21), &"zz".repeat(32), &format!("{digits}00")] {
        assert!(Fingerprint::from_str(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_pinned_text_without_a_certificate_is_refused() {
    for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let error = TlsClient::new(&Trust::CaPem(pem.to_owned()), &[]).unwrap_err();
        assert!(matches!(error, TlsError::Authority(_)), "{pem}");
    }
}
