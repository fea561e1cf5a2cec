//! The link by which a device is enrolled, as a QR code or a message carries it.
//!
//! Two forms, of the same meaning: `weft://enrol?url=https%3A%2F%2FGATEWAY&token=TOKEN&ca=FINGERPRINT` opens the app;
//! `https://GATEWAY[:PORT]/enrol#token=TOKEN&ca=FINGERPRINT` can be opened by a browser too, and keeps the token in
//! the fragment, which no browser sends (RFC 9110, section 7.1). `ca` and `name` may be left out; parameters that
//! nobody knows are passed over, so that older apps read newer links.

use weft_runtime::orchestration::ApiUrl;
use weft_runtime::tls::Fingerprint;

use crate::errors::WeftError;
use crate::records::Enrolment;

/// The longest link, in bytes: what a QR code of version 40 with the least correction holds (ISO/IEC 18004).
pub const MAX_LINK: usize = 2953;
/// The longest enrolment token, in bytes.
pub const MAX_TOKEN: usize = 512;

/// Reads an enrolment link.
///
/// # Errors
/// [`WeftError::InvalidInput`], which never quotes the token.
#[uniffi::export]
pub fn parse_enrolment_link(text: String) -> Result<Enrolment, WeftError> {
    parse(text.trim())
}

fn parse(text: &str) -> Result<Enrolment, WeftError> {
    if text.len() > MAX_LINK {
        return Err(WeftError::invalid("the link is too long"));
    }
    let (base, parameters) = split(text)?;
    let parameters = Parameters::read(parameters)?;
    let url = match base {
        Some(url) => url.to_owned(),
        None => parameters.url.ok_or_else(|| WeftError::invalid("the link names no gateway"))?,
    };
    let token = parameters.token.ok_or_else(|| WeftError::invalid("the link holds no token"))?;
    let enrolment = Enrolment { url, token, ca_fingerprint: parameters.ca, device_name: parameters.name };
    check(&enrolment)?;
    Ok(enrolment)
}

/// What is wrong with an enrolment before the gateway is asked.
pub(crate) fn check(enrolment: &Enrolment) -> Result<(), WeftError> {
    enrolment.url.parse::<ApiUrl>().map_err(WeftError::invalid)?;
    let token = &enrolment.token;
    if token.is_empty() || token.len() > MAX_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(WeftError::invalid("the token is empty or holds characters that no token has"));
    }
    if let Some(fingerprint) = &enrolment.ca_fingerprint {
        fingerprint.parse::<Fingerprint>().map_err(WeftError::invalid)?;
    }
    Ok(())
}

/// The gateway's address, where the link itself is it, and the parameters.
fn split(text: &str) -> Result<(Option<&str>, &str), WeftError> {
    let unknown = || WeftError::invalid("this is no link to enrol a device by");
    if let Some(rest) = strip_prefix_ignoring_case(text, "weft://") {
        let (action, parameters) = rest.split_once('?').ok_or_else(unknown)?;
        return match action.trim_end_matches('/') {
            "enrol" => Ok((None, parameters)),
            _ => Err(unknown()),
        };
    }
    strip_prefix_ignoring_case(text, "https://").ok_or_else(unknown)?;
    let (page, parameters) = text.split_once('#').ok_or_else(unknown)?;
    let gateway = page.strip_suffix("/enrol").or_else(|| page.strip_suffix("/enrol/")).ok_or_else(unknown)?;
    Ok((Some(gateway), parameters))
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[derive(Default)]
struct Parameters {
    url: Option<String>,
    token: Option<String>,
    ca: Option<String>,
    name: Option<String>,
}

impl Parameters {
    fn read(text: &str) -> Result<Self, WeftError> {
        let mut parameters = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match key {
                "url" => &mut parameters.url,
                "token" => &mut parameters.token,
                "ca" => &mut parameters.ca,
                "name" => &mut parameters.name,
                _ => continue,
            };
            // Two of a kind could mean one thing to whoever made the link and another to whoever reads it.
            if place.replace(decode(value).ok_or_else(|| not_encoded(key))?).is_some() {
                return Err(WeftError::invalid(format_args!("the link says \"{key}\" twice")));
            }
        }
        parameters.ca = parameters.ca.filter(|ca| !ca.is_empty());
        parameters.name = parameters.name.filter(|name| !name.is_empty());
        Ok(parameters)
    }
}

fn not_encoded(key: &str) -> WeftError {
    WeftError::invalid(format_args!("the link's \"{key}\" is not percent-encoded text"))
}

/// Undoes percent-encoding (RFC 3986, section 2.1); a plus sign is a plus sign.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let (high, low) = (hex(rest.next()?)?, hex(rest.next()?)?);
                high << 4 | low
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = "abababababababababababababababababababababababababababababababab";

    #[test]
    fn both_forms_say_the_same() {
        let wanted = Enrolment {
            url: "https://gw.example:8443".into(),
            token: "t0k+en/=".into(),
            ca_fingerprint: Some(CA.into()),
            device_name: None,
        };
        for link in [
            format!("weft://enrol?url=https%3A%2F%2Fgw.example%3a8443&token=t0k+en%2F%3D&ca={CA}"),
            format!(" WEFT://enrol/?ca={CA}&token=t0k%2Ben%2f%3d&url=https://gw.example:8443&later=1\n"),
            format!("https://gw.example:8443/enrol#token=t0k+en/%3D&ca={CA}"),
            format!("https://gw.example:8443/enrol/#&ca={CA}&token=t0k+en/%3D&name="),
        ] {
            assert_eq!(parse_enrolment_link(link.clone()), Ok(wanted.clone()), "{link}");
        }
        let named = parse_enrolment_link("https://[2001:db8::1]/enrol#token=x&name=Ann%27s%20phone".into());
        let named = named.unwrap();
        assert_eq!(
            (named.url.as_str(), named.device_name.as_deref()),
            ("https://[2001:db8::1]", Some("Ann's phone"))
        );
    }

    #[test]
    fn what_is_no_link_is_refused_without_its_token() {
        let long = format!("weft://enrol?token={}", "x".repeat(MAX_LINK));
        for (link, named) in [
            ("", "no link"),
            ("weft://", "no link"),
            ("weft://leave?url=https://gw&token=hunter2", "no link"),
            ("http://gw/enrol#token=hunter2", "no link"),
            ("https://gw/enrol?token=hunter2", "no link"),
            ("https://gw/other#token=hunter2", "no link"),
            ("weft://enrol?token=hunter2", "no gateway"),
            ("weft://enrol?url=https://gw", "no token"),
            ("weft://enrol?url=http://gw&token=hunter2", "https://"),
            ("weft://enrol?url=https://gw/path&token=hunter2", "https://"),
            ("weft://enrol?url=https://gw&token=hunter2&token=hunter2", "twice"),
            ("weft://enrol?url=https://gw&token=hunter2%", "percent"),
            ("weft://enrol?url=https://gw&token=hunter2%ff", "percent"),
            ("weft://enrol?url=https://gw&token=hunter2%0a", "characters"),
            ("weft://enrol?url=https://gw&token=hunter2&ca=5f1c", "64 hexadecimal"),
            ("wéft://enrol", "no link"),
            (long.as_str(), "too long"),
        ] {
            let Err(WeftError::InvalidInput { detail }) = parse_enrolment_link(link.to_owned()) else {
                panic!("taken: {link}")
            };
            assert!(detail.contains(named) && !detail.contains("hunter2"), "{link}: {detail}");
        }
    }
}
