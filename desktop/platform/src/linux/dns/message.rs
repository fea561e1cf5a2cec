//! D-Bus messages (D-Bus specification, "Message Protocol"): what stands around a body, written and read. Pure.

use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Serialize, Serializer};
use zbus::wire::serialized::{Context, Data};
use zbus::wire::{Endian, to_bytes};
use zbus::{ObjectPath, OwnedObjectPath, OwnedVariant, Signature, Type, Variant, as_variant};

/// The fixed part of a header, in bytes: byte order, kind, flags, version, body's length, serial, fields' length.
pub(super) const FIXED: usize = 16;
/// A longer message is not what Weft asked for.
const MAX_MESSAGE: usize = 1 << 20;

/// The kinds of messages that matter here.
const CALL: u8 = 1;
const REPLY: u8 = 2;
const ERROR: u8 = 3;
/// The receiver shall not be started for it.
const NO_AUTO_START: u8 = 2;
const VERSION: u8 = 1;

/// The codes of header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Why bytes are no message, or not the one that was expected.
#[derive(Debug, thiserror::Error)]
#[error("the message bus sends what is no answer: {0}")]
pub(super) struct Malformed(String);

fn malformed(why: impl std::fmt::Display) -> Malformed {
    Malformed(why.to_string())
}

/// Whom a method is called of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Object<'a> {
    pub(super) service: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
}

/// What a message from the bus is to its receiver.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// The answer to the call of this serial.
    Reply {
        /// The call's serial.
        to: u32,
        /// What it returns.
        body: Body,
    },
    /// The call of this serial failed.
    Failure {
        /// The call's serial.
        to: u32,
        /// The error's name.
        name: String,
        /// What it says for people.
        text: String,
    },
    /// Anything else.
    Other,
}

/// The header fields of a method call.
struct CallFields<'a> {
    object: Object<'a>,
    path: ObjectPath<'a>,
    member: &'a str,
    signature: BodySignature<'a>,
}

impl Type for CallFields<'_> {
    const SIGNATURE: &'static Signature = <Vec<(u8, Variant<'static>)> as Type>::SIGNATURE;
}

impl Serialize for CallFields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_seq(None)?;
        fields.serialize_element(&(PATH, as_variant::Serialize(&self.path)))?;
        fields.serialize_element(&(INTERFACE, as_variant::Serialize(&self.object.interface)))?;
        fields.serialize_element(&(MEMBER, as_variant::Serialize(&self.member)))?;
        fields.serialize_element(&(DESTINATION, as_variant::Serialize(&self.object.service)))?;
        if !self.signature.0.is_empty() {
            fields.serialize_element(&(SIGNATURE, as_variant::Serialize(&self.signature)))?;
        }
        fields.end()
    }
}

/// The signature of a body, of which each argument stands for itself: without the parentheses of a structure.
struct BodySignature<'a>(&'a str);

impl Type for BodySignature<'_> {
    const SIGNATURE: &'static Signature = &Signature::Signature;
}

impl Serialize for BodySignature<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

/// A method call.
pub(super) fn call<B: Serialize + Type>(
    serial: u32,
    object: Object<'_>,
    member: &str,
    body: &B,
) -> Result<Vec<u8>, Malformed> {
    let context = Context::new(Endian::Little, 0);
    let body = to_bytes(context, body).map_err(malformed)?;
    let path = ObjectPath::try_from(object.path).map_err(malformed)?;
    let signature = B::SIGNATURE.to_string_no_parens();
    let fields = CallFields { object, path, member, signature: BodySignature(&signature) };
    let length = u32::try_from(body.len()).map_err(malformed)?;
    let header = (b'l', CALL, NO_AUTO_START, VERSION, length, serial, fields);
    let mut bytes = to_bytes(context, &header).map_err(malformed)?.to_vec();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// The length of the whole message that begins so, in bytes.
pub(super) fn length(start: &[u8; FIXED]) -> Result<usize, Malformed> {
    let little = byte_order(start[0])?;
    let number = |bytes: [u8; 4]| if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
    let [_, _, _, _, b0, b1, b2, b3, _, _, _, _, f0, f1, f2, f3] = *start;
    let (body, fields) = (number([b0, b1, b2, b3]) as usize, number([f0, f1, f2, f3]) as usize);
    let whole = FIXED.saturating_add(fields).next_multiple_of(8).saturating_add(body);
    match fields <= MAX_MESSAGE && whole <= MAX_MESSAGE {
        true => Ok(whole),
        false => Err(malformed(format_args!("a message of {whole} bytes"))),
    }
}

fn byte_order(mark: u8) -> Result<bool, Malformed> {
    match mark {
        b'l' => Ok(true),
        b'B' => Ok(false),
        _ => Err(malformed("a message without a byte order")),
    }
}

/// A whole message.
///
/// # Errors
/// The bytes are none.
pub(super) fn read(bytes: &[u8]) -> Result<Incoming, Malformed> {
    let start: &[u8; FIXED] = bytes.first_chunk().ok_or_else(|| malformed("a message cut short"))?;
    if length(start)? != bytes.len() {
        return Err(malformed("a message of another length than it says"));
    }
    let little = byte_order(start[0])?;
    let endian = if little { Endian::Little } else { Endian::Big };
    let data = Data::new(bytes, Context::new(endian, 0));
    type Header<'a> = (u8, u8, u8, u8, u32, u32, Vec<(u8, Variant<'a>)>);
    let ((_, kind, _, version, body_length, _, fields), _): (Header<'_>, usize) =
        data.deserialize().map_err(malformed)?;
    if version != VERSION {
        return Err(malformed(format_args!("a message of version {version}")));
    }
    let (mut to, mut name, mut signature) = (None, String::new(), String::new());
    for (code, value) in &fields {
        match (*code, value) {
            (REPLY_SERIAL, Variant::U32(serial)) => to = Some(*serial),
            (ERROR_NAME, Variant::Str(text)) => name = text.as_str().to_owned(),
            (SIGNATURE, Variant::Signature(found)) => signature = found.to_string_no_parens(),
            _ => {}
        }
    }
    let at = bytes.len().saturating_sub(body_length as usize);
    let body = bytes.get(at..).unwrap_or_default();
    Ok(match (kind, to) {
        (REPLY, Some(to)) => Incoming::Reply { to, body: Body { signature, bytes: body.to_vec(), little } },
        (ERROR, Some(to)) => {
            let text = if signature.starts_with('s') { read_text(body, endian) } else { String::new() };
            Incoming::Failure { to, name, text }
        }
        _ => Incoming::Other,
    })
}

/// Whether bytes are a whole message of D-Bus's, and its body, if it has one, is what it says. The reader of whatever
/// the message bus sends, for those who test it.
#[must_use]
pub fn is_bus_message(bytes: &[u8]) -> bool {
    match read(bytes) {
        Ok(Incoming::Reply { body, .. }) => match body.signature.as_str() {
            "" => true,
            "o" => body.read::<(OwnedObjectPath,)>().is_ok(),
            "v" => body.read::<(OwnedVariant,)>().is_ok(),
            _ => body.read::<(String,)>().is_ok(),
        },
        Ok(_) => true,
        Err(_) => false,
    }
}

/// The first string of a body.
fn read_text(body: &[u8], endian: Endian) -> String {
    let data = Data::new(body, Context::new(endian, 0));
    data.deserialize::<(&str,)>().map(|((text,), _)| text.to_owned()).unwrap_or_default()
}

/// The body of a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Body {
    /// The signature, without parentheses.
    signature: String,
    bytes: Vec<u8>,
    /// Whether the byte order is the little-endian one.
    little: bool,
}

impl Body {
    fn data(&self, wanted: &str) -> Result<Data<'_, 'static>, Malformed> {
        if self.signature != wanted {
            let found = &self.signature;
            return Err(malformed(format_args!("a reply of \"{found}\" instead of \"{wanted}\"")));
        }
        let endian = if self.little { Endian::Little } else { Endian::Big };
        Ok(Data::new(self.bytes.as_slice(), Context::new(endian, 0)))
    }

    /// All of it.
    pub(super) fn read<R: for<'d> Deserialize<'d> + Type>(&self) -> Result<R, Malformed> {
        let data = self.data(&R::SIGNATURE.to_string_no_parens())?;
        data.deserialize::<R>().map(|(value, _)| value).map_err(malformed)
    }

    /// The value in a variant, which is all of it.
    pub(super) fn read_variant<T: for<'d> Deserialize<'d> + Type>(&self) -> Result<T, Malformed> {
        let data = self.data("v")?;
        let read = data.deserialize::<(as_variant::Deserialize<'_, T>,)>();
        read.map(|((value,), _)| value.0).map_err(malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OBJECT: Object<'_> =
        Object { service: "org.example.Service", path: "/org/example", interface: "org.example.Interface" };

    /// A message as another program writes it, in either byte order.
    fn message<B: Serialize + Type>(
        kind: u8,
        little: bool,
        fields: Vec<(u8, Variant<'_>)>,
        body: &B,
    ) -> Vec<u8> {
        let endian = if little { Endian::Little } else { Endian::Big };
        let context = Context::new(endian, 0);
        let body = to_bytes(context, body).unwrap();
        let mark = if little { b'l' } else { b'B' };
        let header = (mark, kind, 0u8, VERSION, body.len() as u32, 9u32, fields);
        let mut bytes = to_bytes(context, &header).unwrap().to_vec();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend_from_slice(&body);
        bytes
    }

    #[test]
    fn replies_are_read_in_both_byte_orders() {
        for little in [true, false] {
            let signature = Variant::Signature(Signature::try_from("iay").unwrap());
            let fields = vec![(REPLY_SERIAL, Variant::U32(7)), (SIGNATURE, signature)];
            let bytes = message(REPLY, little, fields, &(5i32, vec![1u8, 2]));
            let Incoming::Reply { to: 7, body } = read(&bytes).unwrap() else { panic!("no reply") };
            assert_eq!(body.read::<(i32, Vec<u8>)>().unwrap(), (5, vec![1, 2]));
            let error = body.read::<(String,)>().unwrap_err();
            assert!(error.to_string().contains("\"iay\" instead of \"s\""), "{error}");
        }
    }

    #[test]
    fn a_property_is_read_out_of_its_variant() {
        let signature = Variant::Signature(Signature::try_from("v").unwrap());
        let fields = vec![(REPLY_SERIAL, Variant::U32(1)), (SIGNATURE, signature)];
        let value = vec![(2i32, vec![127u8, 0, 2, 2])];
        let bytes = message(REPLY, true, fields, &(as_variant::Serialize(&value),));
        assert!(is_bus_message(&bytes) && !is_bus_message(&bytes[1..]));
        let Incoming::Reply { body, .. } = read(&bytes).unwrap() else { panic!("no reply") };
        assert_eq!(body.read_variant::<Vec<(i32, Vec<u8>)>>().unwrap(), value);
        assert!(body.read_variant::<String>().is_err());
    }

    #[test]
    fn failures_carry_their_name_and_words() {
        let signature = Variant::Signature(Signature::try_from("s").unwrap());
        let fields = vec![
            (ERROR_NAME, Variant::from("org.freedesktop.DBus.Error.NameHasNoOwner")),
            (REPLY_SERIAL, Variant::U32(3)),
            (SIGNATURE, signature),
        ];
        let bytes = message(ERROR, true, fields, &("nobody",));
        let name = "org.freedesktop.DBus.Error.NameHasNoOwner".to_owned();
        assert_eq!(read(&bytes).unwrap(), Incoming::Failure { to: 3, name, text: "nobody".to_owned() });
    }

    #[test]
    fn a_call_is_a_message_that_asks_for_no_start() {
        let bytes = call(4, OBJECT, "Do", &("x", 1u32)).unwrap();
        assert_eq!(&bytes[..4], [b'l', CALL, NO_AUTO_START, VERSION]);
        assert_eq!(length(bytes.first_chunk().unwrap()).unwrap(), bytes.len());
        assert_eq!(read(&bytes).unwrap(), Incoming::Other);
        // Each argument stands for itself.
        assert!(bytes.windows(6).any(|part| part == [1, b'g', 0, 2, b's', b'u']));
        assert!(call(4, Object { path: "no path", ..OBJECT }, "Do", &()).is_err());
    }

    #[test]
    fn too_long_a_message_is_refused_before_it_is_read() {
        let mut start = *call(1, OBJECT, "Do", &()).unwrap().first_chunk::<FIXED>().unwrap();
        start[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(length(&start).is_err());
        start[0] = b'x';
        assert!(length(&start).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_upset_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200), little: bool) {
            let _ = is_bus_message(&bytes);
            let fields = vec![(REPLY_SERIAL, Variant::U32(7))];
            let mut whole = message(REPLY, little, fields, &(bytes.clone(),));
            for (at, byte) in bytes.iter().enumerate().take(whole.len()) {
                let length = whole.len();
                whole[(at * 31) % length] ^= byte & 1;
            }
            if let Ok(Incoming::Reply { body, .. }) = read(&whole) {
                let _ = body.read::<(Vec<u8>,)>();
                let _ = body.read_variant::<String>();
            }
        }
    }
}
