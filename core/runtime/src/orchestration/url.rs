//! The address of an API as a user types it.

use std::net::Ipv6Addr;

use http::Uri;

/// Why a text is no address of an API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no address of a gateway: write https://NAME or https://NAME:PORT")]
pub struct UrlError(String);

/// Where an API is: `https://NAME[:PORT]`, without a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiUrl {
    host: String,
    port: u16,
}

impl ApiUrl {
    /// The host name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port; 443 where none is written.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl std::str::FromStr for ApiUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let refused = || UrlError(text.chars().filter(|letter| !letter.is_control()).take(80).collect());
        let uri: Uri = text.trim().parse().map_err(|_| refused())?;
        let authority = uri.authority().ok_or_else(refused)?;
        let is_https = uri.scheme_str() == Some("https");
        let has_path = !matches!(uri.path(), "" | "/") || uri.query().is_some();
        let has_user = authority.as_str().contains('@');
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => Some(443),
            Some(rest) => rest.strip_prefix(':').and_then(|digits| digits.parse().ok()),
            None => None,
        };
        let port = port.filter(|port| *port != 0).ok_or_else(refused)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let is_name = rustls_pki_types::ServerName::try_from(host).is_ok();
        if !is_https || has_path || has_user || !is_name {
            return Err(refused());
        }
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }
}

/// A name and port as HTTP writes them (RFC 9110, section 7.2).
pub(crate) fn authority(name: &str, port: u16) -> String {
    let host = if name.parse::<Ipv6Addr>().is_ok() { format!("[{name}]") } else { name.to_owned() };
    if port == 443 { host } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_address_and_what_is_not() {
        let cases = [
            ("https://gateway.example", "gateway.example", 443, "gateway.example"),
            ("https://Gateway.example/", "gateway.example", 443, "gateway.example"),
            ("https://gateway.example:8443", "gateway.example", 8443, "gateway.example:8443"),
            (" https://192.0.2.1 ", "192.0.2.1", 443, "192.0.2.1"),
            ("https://[2001:db8::1]:444", "2001:db8::1", 444, "[2001:db8::1]:444"),
        ];
        for (text, host, port, header) in cases {
            let url: ApiUrl = text.parse().unwrap();
            assert_eq!((url.host(), url.port()), (host, port));
            assert_eq!(authority(host, port), header);
        }
        let bad = [
            "",
            "gateway.example",
            "http://gateway.example",
            "https://",
            "https://gateway.example/path",
            "https://gateway.example?x=1",
            "https://user@gateway.example",
            "https://gateway.example:0",
            "https://gateway.example:99999",
            "https://gateway.example:",
            "https://a b",
            "https://-",
        ];
        for text in bad {
            assert!(text.parse::<ApiUrl>().is_err(), "{text}");
        }
    }
}
