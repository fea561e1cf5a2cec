//! Views read what is there, and survive what is not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod build;

use build::{Ip, Tcp, bytes};
use proptest::prelude::*;
use weft_packet::virtio::{decode, encode};
use weft_packet::{
    Buffer, Coalescer, Fragment, GsoKind, IpView, Malformed, Merge, Offload, PartialChecksum, Run, RunSink,
    write_segment,
};

#[test]
fn headers_are_read() {
    for ip in [Ip::v4(), Ip::v6()] {
        let mut packet = ip.tcp(&Tcp::at(77), b"hello");
        packet.extend([0; 11]);
        let view = IpView::parse(&packet).unwrap();
        assert_eq!((view.source(), view.destination()), (ip.source.ip(), ip.destination.ip()));
        assert_eq!(view.packet().len(), packet.len() - 11, "padding is no part of it");
        let tuple = view.five_tuple().unwrap();
        assert_eq!((tuple.protocol, tuple.source, tuple.destination), (6, ip.source, ip.destination));
        assert_eq!(tuple.reversed().reversed(), tuple);
        let tcp = view.tcp().unwrap().unwrap();
        assert_eq!((tcp.sequence(), tcp.acknowledgement(), tcp.header_len()), (77, 7, 32));
        assert_eq!((tcp.payload(), tcp.options().len()), (&b"hello"[..], 12));
        assert!(view.udp().unwrap().is_none() && view.icmp().unwrap().is_none());
        let packet = ip.udp(b"hi");
        let udp = IpView::parse(&packet).unwrap().udp().unwrap().unwrap();
        assert_eq!((udp.source_port(), udp.destination_port(), udp.payload()), (5000, 443, &b"hi"[..]));
    }
}

#[test]
fn extension_headers_are_skipped_as_far_as_is_decent() {
    let udp = Ip::v6().udp(b"hi")[40..].to_vec();
    let chain = |headers: &[(u8, Vec<u8>)]| {
        let mut payload = Vec::new();
        for (at, (_, bytes)) in headers.iter().enumerate() {
            let mut bytes = bytes.clone();
            bytes[0] = headers.get(at + 1).map_or(17, |next| next.0);
            payload.extend(bytes);
        }
        payload.extend(&udp);
        Ip::v6().packet(headers.first().map_or(17, |first| first.0), &payload)
    };
    let hop = (0, vec![0; 8]);
    let options = (60, [&[0, 1], &[0; 14][..]].concat());
    let authentication = (51, [&[0, 1], &[0; 10][..]].concat());
    let atomic = (44, vec![0; 8]);
    let packet = chain(&[hop.clone(), options, authentication, atomic]);
    let view = IpView::parse(&packet).unwrap();
    assert_eq!((view.protocol(), view.payload_offset()), (17, 40 + 8 + 16 + 12 + 8));
    assert_eq!(view.udp().unwrap().unwrap().payload(), b"hi");
    assert_eq!(view.fragment(), Fragment::Whole);

    let packet = chain(&[(44, vec![0, 0, 0, 1, 0, 0, 0, 1])]);
    let view = IpView::parse(&packet).unwrap();
    assert_eq!((view.fragment(), view.udp().unwrap().is_some()), (Fragment::First, true));
    let packet = chain(&[(44, vec![0, 0, 0, 8, 0, 0, 0, 1])]);
    let view = IpView::parse(&packet).unwrap();
    assert_eq!((view.fragment(), view.udp().unwrap().is_none()), (Fragment::Later, true));
    assert_eq!(view.five_tuple().unwrap().source.port(), 0);

    assert_eq!(IpView::parse(&chain(&vec![hop; 9])).unwrap_err(), Malformed::Extensions);
    let long = chain(&[(0, [&[0, 200], &[0; 6][..]].concat())]);
    assert_eq!(IpView::parse(&long).unwrap_err(), Malformed::Truncated);
}

#[test]
fn lies_are_named() {
    let v4 = Ip::v4().udp(&bytes(30, 0));
    let v6 = Ip::v6().udp(&bytes(30, 0));
    let table: [(&str, &[u8], usize, u8, Malformed); 5] = [
        ("version", &v4, 0, 0x55, Malformed::Version),
        ("a header of 16 bytes", &v4, 0, 0x44, Malformed::Length),
        ("shorter than its header", &v4, 3, 19, Malformed::Length),
        ("longer than it is", &v4, 3, 200, Malformed::Truncated),
        ("longer than it is", &v6, 5, 200, Malformed::Truncated),
    ];
    for (what, packet, at, value, error) in table {
        let mut packet = packet.to_vec();
        packet[at] = value;
        assert_eq!(IpView::parse(&packet).unwrap_err(), error, "{what}");
    }
    assert_eq!(IpView::parse(&[]).unwrap_err(), Malformed::Version);
    let mut tcp = Ip::v4().tcp(&Tcp::at(1), &[]);
    tcp[32] = 0x40;
    assert_eq!(IpView::parse(&tcp).unwrap().five_tuple().unwrap_err(), Malformed::Length);
    tcp[32] = 0xf0;
    assert_eq!(IpView::parse(&tcp).unwrap().tcp().unwrap_err(), Malformed::Truncated);
}

#[test]
fn virtio_headers_that_lie_are_refused() {
    let packet = Ip::v4().tcp(&Tcp::at(1), &bytes(300, 0));
    let checksum = Some(PartialChecksum { start: 20, offset: 16 });
    let right = Offload { kind: GsoKind::TcpV4, gso_size: 100, header_len: 52, checksum };
    assert_eq!(decode(encode(right, &packet), &packet), Ok(right));
    let refused = |offload: Offload, packet: &[u8]| {
        assert_eq!(decode(encode(offload, packet), packet), Err(Malformed::Offload), "{offload:?}");
    };
    refused(Offload { gso_size: 0, ..right }, &packet);
    refused(Offload { kind: GsoKind::TcpV6, ..right }, &packet);
    refused(Offload { kind: GsoKind::Udp, ..right }, &packet);
    refused(Offload { checksum: None, ..right }, &packet);
    refused(Offload { checksum: Some(PartialChecksum { start: 400, offset: 16 }), ..right }, &packet);
    refused(right, &packet[..40]);
    let beyond = Some(PartialChecksum { start: 340, offset: 16 });
    refused(Offload { checksum: beyond, ..Offload::default() }, &packet);
    // UFO, which was never asked for.
    let mut header = encode(right, &packet);
    header[1] = 3;
    assert_eq!(decode(header, &packet), Err(Malformed::Offload));
}

#[test]
fn a_reduced_congestion_window_has_its_bit() {
    let packet = Ip::v4().tcp(&Tcp { flags: build::ACK | build::CWR, ..Tcp::at(1) }, &bytes(300, 0));
    let checksum = Some(PartialChecksum { start: 20, offset: 16 });
    let offload = Offload { kind: GsoKind::TcpV4, gso_size: 100, header_len: 52, checksum };
    let header = encode(offload, &packet);
    assert_eq!(header[1], 0x81);
    assert_eq!(decode(header, &packet), Ok(offload));
}

struct Heap;

impl RunSink for Heap {
    fn lend(&mut self) -> Buffer {
        vec![0; Run::buffer_len(2048)].into_boxed_slice()
    }

    fn run(&mut self, _: Run) {}
}

fn packetlike() -> impl Strategy<Value = Vec<u8>> {
    let protocols = prop::sample::select(vec![0u8, 1, 6, 17, 43, 44, 51, 58, 60]);
    (prop::collection::vec(any::<u8>(), 0..200), 0u8..3, protocols).prop_map(
        |(mut bytes, version, protocol)| {
            let len = bytes.len() as u16;
            if version == 0 && bytes.len() > 20 {
                bytes[0] = 0x45;
                bytes[2..4].copy_from_slice(&len.to_be_bytes());
                bytes[9] = protocol;
            } else if version == 1 && bytes.len() > 40 {
                bytes[0] = 0x60;
                bytes[4..6].copy_from_slice(&(len - 40).to_be_bytes());
                bytes[6] = protocol;
            }
            bytes
        },
    )
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in packetlike(), header in any::<[u8; 10]>(), index in 0usize..9) {
        if let Ok(view) = IpView::parse(&bytes) {
            let _ = (view.tcp(), view.udp(), view.icmp(), view.five_tuple(), view.payload().len());
            prop_assert!(view.payload_offset() <= view.packet().len());
        }
        let mut coalescer = Coalescer::new(Merge { tcp: true, udp: true });
        let _ = coalescer.push(&bytes, &mut Heap);
        let _ = coalescer.push(&bytes, &mut Heap);
        coalescer.flush(&mut Heap);
        if let Ok(offload) = decode(header, &bytes) {
            let mut buffer = vec![0; Run::buffer_len(bytes.len())].into_boxed_slice();
            buffer[64..64 + bytes.len()].copy_from_slice(&bytes);
            if let Ok(run) = Run::new(buffer, bytes.len(), offload) {
                prop_assert!(write_segment(&run, index, &mut [0; 300]) <= 300);
            }
        }
    }

    #[test]
    fn any_metadata_is_survived(
        bytes in packetlike(),
        kind in prop::sample::select(vec![GsoKind::None, GsoKind::TcpV4, GsoKind::TcpV6, GsoKind::Udp]),
        gso_size in 0u16..100,
        header_len in 0u16..250,
        checksum in prop::option::of((0u16..250, 0u16..40)),
        index in 0usize..9,
    ) {
        let checksum = checksum.map(|(start, offset)| PartialChecksum { start, offset });
        let mut buffer = vec![0; Run::buffer_len(bytes.len())].into_boxed_slice();
        buffer[64..64 + bytes.len()].copy_from_slice(&bytes);
        if let Ok(mut run) = Run::new(buffer, bytes.len(), Offload { kind, gso_size, header_len, checksum }) {
            let mut out = [0; 300];
            let first = write_segment(&run, 0, &mut out);
            let written = write_segment(&run, index, &mut out);
            prop_assert!(written == 0 || written == weft_packet::segment_len(&run, index));
            let _ = weft_packet::icmp::reply(&run, weft_packet::IcmpKind::NoRoute, None, &mut [0; 1280]);
            let segments = run.segments();
            let mut calls = 0;
            let done = weft_packet::cut_in_place(&mut run, |_| calls += 1);
            prop_assert_eq!((done, calls), if first > 0 { (true, segments) } else { (false, 0) });
        }
    }
}
