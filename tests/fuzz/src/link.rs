//! The link by which a device is enrolled, which anybody may print.

use weft_ffi::{MAX_LINK, WeftError, parse_enrolment_link};

use crate::{Outcome, assert_one_line};

/// A link, and what is read out of it written again.
pub fn enrolment_link(data: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(data) else { return Outcome::Refused };
    let enrolment = match parse_enrolment_link(text.to_owned()) {
        Ok(enrolment) => enrolment,
        Err(error) => {
            assert!(matches!(error, WeftError::InvalidInput { .. }), "{error:?}");
            assert_one_line(&error);
            return Outcome::Refused;
        }
    };
    let mut again = format!("weft://enrol?url={}&token={}", encode(&enrolment.url), encode(&enrolment.token));
    for (key, value) in [("ca", &enrolment.ca_fingerprint), ("name", &enrolment.device_name)] {
        if let Some(value) = value {
            again.push_str(&format!("&{key}={}", encode(value)));
        }
    }
    if again.len() <= MAX_LINK {
        assert_eq!(parse_enrolment_link(again), Ok(enrolment));
    }
    Outcome::Taken
}

/// Percent-encodes every byte that is neither a letter nor a digit (RFC 3986, section 2.1).
fn encode(text: &str) -> String {
    let encode = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
