//! `include/weft_packets.h` declares what the library has.

use std::any::type_name_of_val;

use weft_ffi::{
    WEFT_E_BAD_PACKET, WEFT_E_CLOSED, WEFT_E_INTERNAL, WEFT_E_INVALID, WEFT_E_NO_ROOM, weft_packets_receive,
    weft_packets_send,
};

const HEADER: &str = include_str!("../../include/weft_packets.h");

/// The declaration of `function`, as Rust names its type.
fn declared(function: &str) -> String {
    let start = HEADER.find(&format!("int32_t {function}(")).expect("it is declared");
    let rest = &HEADER[start..];
    let list = &rest[rest.find('(').unwrap() + 1..rest.find(')').unwrap()];
    let arguments: Vec<_> = list.split(',').map(|argument| rust_type(argument.trim())).collect();
    format!("unsafe extern \"C\" fn({}) -> i32", arguments.join(", "))
}

fn rust_type(argument: &str) -> String {
    let (kind, _name) = argument.rsplit_once([' ', '*']).expect("an argument has a name");
    let pointer = argument.contains('*');
    let constant = kind.starts_with("const ");
    let kind = kind.trim_start_matches("const ").trim_end_matches(['*', ' ']);
    let scalar = match kind {
        "uint8_t" => "u8",
        "uint32_t" => "u32",
        "uint64_t" => "u64",
        "size_t" => "usize",
        other => panic!("{other} is no type of the header's"),
    };
    match (pointer, constant) {
        (false, _) => scalar.to_owned(),
        (true, true) => format!("*const {scalar}"),
        (true, false) => format!("*mut {scalar}"),
    }
}

#[test]
fn the_functions_are_declared_as_they_are() {
    let send: unsafe extern "C" fn(_, _, _, _, _) -> _ = weft_packets_send;
    assert_eq!(declared("weft_packets_send"), type_name_of_val(&send));
    let receive: unsafe extern "C" fn(_, _, _, _, _, _) -> _ = weft_packets_receive;
    assert_eq!(declared("weft_packets_receive"), type_name_of_val(&receive));
}

#[test]
fn the_errors_have_their_numbers() {
    let errors = [
        ("WEFT_E_CLOSED", WEFT_E_CLOSED),
        ("WEFT_E_BAD_PACKET", WEFT_E_BAD_PACKET),
        ("WEFT_E_INVALID", WEFT_E_INVALID),
        ("WEFT_E_NO_ROOM", WEFT_E_NO_ROOM),
        ("WEFT_E_INTERNAL", WEFT_E_INTERNAL),
    ];
    for (name, number) in errors {
        assert!(HEADER.contains(&format!("#define {name} ({number})\n")), "{name}");
    }
    assert_eq!(HEADER.matches("#define WEFT_E_").count(), errors.len());
}
