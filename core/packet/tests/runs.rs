//! Segments become runs and runs become segments.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod build;

use build::{ACK, CWR, FIN, Ip, PSH, SYN, Tcp, bytes, checksums_are_right};
use proptest::prelude::*;
use weft_packet::{
    Buffer, Coalescer, GsoKind, HEAD_ROOM, Merge, Offload, PartialChecksum, Run, RunSink, cut_in_place,
    segment_len, virtio, write_segment,
};

const ALL: Merge = Merge { tcp: true, udp: true };

/// Lends from a heap and keeps the runs.
#[derive(Default)]
struct Sink {
    runs: Vec<Run>,
    lent: usize,
}

impl RunSink for Sink {
    fn lend(&mut self) -> Buffer {
        self.lent += 1;
        vec![0xa5; Run::buffer_len(65_535)].into_boxed_slice()
    }

    fn run(&mut self, run: Run) {
        self.runs.push(run);
    }
}

fn coalesce(merge: Merge, packets: &[Vec<u8>]) -> Vec<Run> {
    let mut sink = Sink::default();
    let mut coalescer = Coalescer::new(merge);
    for packet in packets {
        coalescer.push(packet, &mut sink).unwrap();
    }
    coalescer.flush(&mut sink);
    assert_eq!(sink.lent, sink.runs.len(), "every buffer comes back as a run");
    sink.runs
}

fn split(run: &Run) -> Vec<Vec<u8>> {
    let packets = (0..run.segments()).map(|index| {
        let mut out = vec![0x5a; segment_len(run, index)];
        assert_eq!(write_segment(run, index, &mut out), out.len());
        out
    });
    let packets: Vec<_> = packets.collect();
    assert_eq!(cut(run).as_ref(), Some(&packets), "cut in place");
    packets
}

/// The segments that a copy of the run is cut into in place; nothing where it cannot be.
fn cut(run: &Run) -> Option<Vec<Vec<u8>>> {
    let len = run.packet().len();
    let mut buffer = vec![0; Run::buffer_len(len)].into_boxed_slice();
    buffer[HEAD_ROOM..HEAD_ROOM + len].copy_from_slice(run.packet());
    let mut copy = Run::new(buffer, len, run.offload()).unwrap();
    let mut packets = Vec::new();
    let done = cut_in_place(&mut copy, |packet| packets.push(packet.to_vec()));
    assert!(done || packets.is_empty(), "all or nothing");
    done.then_some(packets)
}

fn shapes(runs: &[Run]) -> Vec<usize> {
    runs.iter().map(Run::segments).collect()
}

/// Segments of one flow, `sizes` bytes of payload each.
fn tcp_flow(ip: &Ip, sizes: &[usize]) -> Vec<Vec<u8>> {
    let mut sequence = 0xffff_fff0;
    let mut ip = ip.clone();
    sizes
        .iter()
        .enumerate()
        .map(|(index, size)| {
            let packet = ip.tcp(&Tcp::at(sequence), &bytes(*size, index as u8));
            sequence = sequence.wrapping_add(*size as u32);
            ip.id = ip.id.wrapping_add(1);
            packet
        })
        .collect()
}

fn udp_flow(ip: &Ip, sizes: &[usize]) -> Vec<Vec<u8>> {
    let mut ip = ip.clone();
    sizes
        .iter()
        .enumerate()
        .map(|(index, size)| {
            ip.id = ip.id.wrapping_add(1);
            ip.udp(&bytes(*size, index as u8))
        })
        .collect()
}

#[test]
fn consecutive_segments_are_one_run_and_come_apart_as_they_were() {
    for ip in [Ip::v4(), Ip::v6()] {
        for packets in [tcp_flow(&ip, &[1228, 1228, 1228, 77]), udp_flow(&ip, &[1228, 1228, 1228, 77])] {
            let runs = coalesce(ALL, &packets);
            assert_eq!(shapes(&runs), [4]);
            assert_eq!(split(&runs[0]), packets);
            assert_eq!(runs[0].longest_packet(), packets[0].len());
        }
    }
}

#[test]
fn a_runs_partial_checksum_is_its_pseudo_headers_sum() {
    for ip in [Ip::v4(), Ip::v6()] {
        for packets in [tcp_flow(&ip, &[500, 500, 9]), udp_flow(&ip, &[500, 500, 9])] {
            let mut runs = coalesce(ALL, &packets);
            let partial = runs[0].offload().checksum.unwrap();
            let packet = runs[0].packet_mut();
            assert!(weft_packet::checksum::complete(packet, partial));
            assert!(checksums_are_right(packet));
        }
    }
}

#[test]
fn nothing_is_merged_that_the_device_does_not_take() {
    let packets = tcp_flow(&Ip::v4(), &[100, 100]);
    assert_eq!(shapes(&coalesce(Merge { tcp: false, udp: true }, &packets)), [1, 1]);
    let packets = udp_flow(&Ip::v4(), &[100, 100]);
    assert_eq!(shapes(&coalesce(Merge { tcp: true, udp: false }, &packets)), [1, 1]);
}

/// What a change of the second of three segments does to the run.
#[test]
fn what_ends_a_run() {
    let change = |change: &dyn Fn(&mut Ip, &mut Tcp)| {
        let mut ip = Ip::v4();
        let mut tcp = Tcp::at(1000);
        let first = ip.tcp(&tcp, &bytes(100, 1));
        tcp.sequence += 100;
        ip.id += 1;
        change(&mut ip, &mut tcp);
        let second = ip.tcp(&tcp, &bytes(100, 2));
        tcp.sequence += 100;
        ip.id += 1;
        let third = ip.tcp(&tcp, &bytes(100, 3));
        let packets = vec![first, second, third];
        let runs = coalesce(ALL, &packets);
        assert_eq!(runs.iter().flat_map(split).collect::<Vec<_>>(), packets);
        shapes(&runs)
    };
    assert_eq!(change(&|_, _| ()), [3]);
    assert_eq!(change(&|_, tcp| tcp.sequence += 1), [1, 2], "a hole");
    assert_eq!(change(&|_, tcp| tcp.acknowledgement += 1), [1, 2], "another acknowledgement");
    assert_eq!(change(&|_, tcp| tcp.window += 1), [1, 2], "another window");
    assert_eq!(change(&|_, tcp| tcp.options[7] += 1), [1, 2], "another timestamp");
    assert_eq!(change(&|_, tcp| tcp.options.truncate(0)), [1, 2], "no options");
    assert_eq!(change(&|_, tcp| tcp.flags |= FIN), [1, 1, 1], "the end of the stream");
    assert_eq!(change(&|_, tcp| tcp.flags |= CWR), [1, 1, 1], "a smaller window");
    assert_eq!(change(&|_, tcp| tcp.flags = SYN | ACK), [1, 1, 1], "a handshake");
    assert_eq!(change(&|ip, _| ip.ttl -= 1), [1, 2], "another hop limit");
    assert_eq!(change(&|ip, _| ip.tos = 3), [1, 2], "congestion seen");
    assert_eq!(change(&|ip, _| ip.dont_fragment = false), [1, 2], "fragmentation");
    assert_eq!(change(&|ip, _| ip.source.set_port(1)), [1, 2], "another flow");
}

#[test]
fn a_push_ends_a_run_and_stays_on_its_last_segment() {
    let mut packets = tcp_flow(&Ip::v6(), &[100, 100]);
    packets.push(
        Ip::v6().tcp(&Tcp { flags: ACK | PSH, ..Tcp::at(0xffff_fff0u32.wrapping_add(200)) }, &bytes(100, 9)),
    );
    let next = Ip::v6().tcp(&Tcp::at(0xffff_fff0u32.wrapping_add(300)), &bytes(100, 9));
    packets.push(next);
    let runs = coalesce(ALL, &packets);
    assert_eq!(shapes(&runs), [3, 1]);
    assert_eq!(runs.iter().flat_map(split).collect::<Vec<_>>(), packets);
}

#[test]
fn identifications_must_count_up_where_they_mean_something() {
    let mut ip = Ip { dont_fragment: false, ..Ip::v4() };
    let counting = tcp_flow(&ip, &[100, 100]);
    assert_eq!(shapes(&coalesce(ALL, &counting)), [2]);
    let first = ip.tcp(&Tcp::at(0), &bytes(100, 1));
    ip.id += 7;
    let packets = [first, ip.tcp(&Tcp::at(100), &bytes(100, 1))];
    assert_eq!(shapes(&coalesce(ALL, &packets)), [1, 1]);
}

#[test]
fn damage_is_handed_on_and_not_hidden() {
    for ip in [Ip::v4(), Ip::v6()] {
        for at in [0, 1, 2] {
            for flow in [tcp_flow(&ip, &[100, 100, 100]), udp_flow(&ip, &[100, 100, 100])] {
                let mut packets = flow;
                *packets[at].last_mut().unwrap() ^= 0x10;
                let runs = coalesce(ALL, &packets);
                assert!(runs.iter().flat_map(split).eq(packets.iter().cloned()));
                let alone = runs.iter().find(|run| run.packet() == packets[at]);
                assert_eq!(alone.unwrap().offload(), Offload::default());
            }
        }
    }
    let mut packets = tcp_flow(&Ip::v4(), &[100, 100]);
    packets[1][10] ^= 1;
    assert_eq!(shapes(&coalesce(ALL, &packets)), [1, 1], "the IP header's checksum");
}

#[test]
fn datagrams_without_a_checksum_stay_alone() {
    let mut packets = udp_flow(&Ip::v4(), &[100, 100]);
    for packet in &mut packets {
        packet[26..28].fill(0);
    }
    assert_eq!(shapes(&coalesce(ALL, &packets)), [1, 1]);
}

#[test]
fn flows_keep_their_order_though_they_mix() {
    let ips = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.1:2"].map(|source| Ip::between(source, "192.0.2.7:443"));
    let flows = ips.each_ref().map(|ip| tcp_flow(ip, &[100, 100, 100, 100]));
    let mixed: Vec<_> = (0..4).flat_map(|at| flows.iter().map(move |flow| flow[at].clone())).collect();
    let runs = coalesce(ALL, &mixed);
    assert_eq!(shapes(&runs), [4, 4, 4]);
    for (run, flow) in runs.iter().zip(&flows) {
        assert_eq!(&split(run), flow);
    }
}

#[test]
fn many_flows_take_few_buffers() {
    let mut sink = Sink::default();
    let mut coalescer = Coalescer::new(ALL);
    for port in 1..100 {
        let ip = Ip { source: format!("10.0.0.1:{port}").parse().unwrap(), ..Ip::v4() };
        coalescer.push(&tcp_flow(&ip, &[100])[0], &mut sink).unwrap();
        assert!(sink.lent - sink.runs.len() <= weft_packet::coalesce::MAX_FLOWS);
    }
}

#[test]
fn a_run_stays_within_65535_bytes() {
    for ip in [Ip::v4(), Ip::v6()] {
        let packets = tcp_flow(&ip, &[1228; 120]);
        let runs = coalesce(ALL, &packets);
        assert!(runs.iter().all(|run| run.packet().len() <= 65_535));
        assert_eq!(shapes(&runs), [53, 53, 14]);
        assert!(runs.iter().flat_map(split).eq(packets.iter().cloned()));
    }
}

#[test]
fn fragments_go_on_alone() {
    let mut packets = udp_flow(&Ip { dont_fragment: false, ..Ip::v4() }, &[104, 104]);
    packets[0][6] = 0x20;
    packets[1][7] = 13;
    assert_eq!(shapes(&coalesce(ALL, &packets)), [1, 1]);
}

/// A run as the kernel hands it out: one header whose checksum field has the pseudo header's sum.
fn kernel_run(ip: &Ip, tcp: Option<&Tcp>, payload: &[u8], gso_size: u16) -> Run {
    let mut packet = match tcp {
        Some(tcp) => ip.tcp(tcp, payload),
        None => ip.udp(payload),
    };
    let start = ip.header_len();
    let (protocol, offset, header) = match tcp {
        Some(tcp) => (6, 16, 20 + tcp.options.len()),
        None => (17, 6, 8),
    };
    let pseudo = build::pseudo(ip.source.ip(), ip.destination.ip(), protocol, packet.len() - start);
    let sum = !build::checksum(&[&pseudo]);
    packet[start + offset..start + offset + 2].copy_from_slice(&sum.to_be_bytes());
    let kind = match (tcp.is_some(), ip.source.is_ipv4()) {
        (true, true) => GsoKind::TcpV4,
        (true, false) => GsoKind::TcpV6,
        (false, _) => GsoKind::Udp,
    };
    let offload = Offload {
        kind,
        gso_size,
        header_len: (start + header) as u16,
        checksum: Some(PartialChecksum { start: start as u16, offset: offset as u16 }),
    };
    // The header's own length is but a hint: it says the whole packet's here.
    let header = virtio::encode(Offload { header_len: packet.len() as u16, ..offload }, &packet);
    assert_eq!(virtio::decode(header, &packet), Ok(offload));
    let mut buffer = vec![0; Run::buffer_len(packet.len())].into_boxed_slice();
    buffer[HEAD_ROOM..HEAD_ROOM + packet.len()].copy_from_slice(&packet);
    Run::new(buffer, packet.len(), offload).unwrap()
}

#[test]
fn flags_stand_where_they_belong() {
    for ip in [Ip::v4(), Ip::v6()] {
        let tcp = Tcp { flags: ACK | PSH | FIN | CWR, ..Tcp::at(u32::MAX) };
        let segments = split(&kernel_run(&ip, Some(&tcp), &bytes(250, 0), 100));
        let flags: Vec<_> = segments.iter().map(|packet| packet[ip.header_len() + 13]).collect();
        assert_eq!(flags, [ACK | CWR, ACK, ACK | PSH | FIN]);
        assert!(segments.iter().all(|packet| checksums_are_right(packet)));
        assert_eq!(segments.concat().len(), 250 + 3 * (ip.header_len() + 32));
    }
}

#[test]
fn a_run_of_one_has_its_checksum_completed() {
    for ip in [Ip::v4(), Ip::v6()] {
        let run = kernel_run(&ip, None, &bytes(333, 5), 1000);
        let single = Offload { kind: GsoKind::None, gso_size: 0, header_len: 0, ..run.offload() };
        let len = run.packet().len();
        let run = Run::new(run.into_buffer(), len, single).unwrap();
        assert_eq!(split(&run), [ip.udp(&bytes(333, 5))]);
    }
}

#[test]
fn there_is_no_segment_behind_the_last_and_no_half_of_one() {
    let run = kernel_run(&Ip::v4(), None, &bytes(300, 5), 100);
    let mut out = [0; 2000];
    assert_eq!(run.segments(), 3);
    assert_eq!((segment_len(&run, 3), write_segment(&run, 3, &mut out)), (0, 0));
    assert_eq!((segment_len(&run, usize::MAX), write_segment(&run, usize::MAX, &mut out)), (0, 0));
    assert_eq!(write_segment(&run, 0, &mut out[..127]), 0);
    assert_eq!(write_segment(&run, 0, &mut out[..128]), 128);
}

#[test]
fn a_run_of_a_kind_that_its_header_is_not_makes_no_segment() {
    let run = kernel_run(&Ip::v4(), Some(&Tcp::at(0)), &bytes(300, 5), 100);
    let (offload, len) = (run.offload(), run.packet().len());
    let run = Run::new(run.into_buffer(), len, Offload { kind: GsoKind::TcpV6, ..offload }).unwrap();
    assert_eq!(write_segment(&run, 0, &mut [0; 2000]), 0);
    assert_eq!(cut(&run), None);
}

#[test]
fn segments_shorter_than_their_header_are_cut_in_place_too() {
    for (size, segments) in [(1, 300), (7, 43), (299, 2), (300, 1)] {
        let run = kernel_run(&Ip::v6(), Some(&Tcp::at(0)), &bytes(300, 5), size);
        assert_eq!(split(&run).len(), segments);
    }
}

fn step() -> impl Strategy<Value = (usize, usize, u8, bool)> {
    // Flow, payload, what is special, damaged.
    (0usize..4, prop_oneof![4 => Just(200usize), 1 => 0usize..260], 0u8..24, prop::bool::weighted(0.05))
}

proptest! {
    #[test]
    fn what_goes_in_comes_out_in_order(steps in prop::collection::vec(step(), 0..120), flushes in any::<u64>()) {
        let ips = [Ip::v4(), Ip::v6(), Ip::between("10.0.0.9:1", "10.0.0.8:2"), Ip::between("[::7]:1", "[::8]:2")];
        let mut sequences = [0u32; 4];
        let mut ids = [0u16; 4];
        let mut sent: [Vec<Vec<u8>>; 4] = Default::default();
        let mut sink = Sink::default();
        let mut coalescer = Coalescer::new(ALL);
        for (count, (flow, size, special, damaged)) in steps.into_iter().enumerate() {
            let ip = Ip { id: ids[flow], ..ips[flow].clone() };
            let payload = bytes(size, count as u8);
            let mut packet = if flow % 2 == 0 {
                let mut tcp = Tcp::at(sequences[flow]);
                match special {
                    0 => tcp.flags |= PSH,
                    1 => tcp.flags |= FIN,
                    2 => tcp.window = 9,
                    3 => tcp.sequence = tcp.sequence.wrapping_add(5),
                    4 => tcp.options[7] = 77,
                    5 => tcp.flags = SYN,
                    _ => (),
                }
                ip.tcp(&tcp, &payload)
            } else {
                ip.udp(&payload)
            };
            if damaged {
                *packet.last_mut().unwrap() ^= 0xff;
            }
            sequences[flow] = sequences[flow].wrapping_add(size as u32);
            ids[flow] = ids[flow].wrapping_add(1);
            coalescer.push(&packet, &mut sink).unwrap();
            sent[flow].push(packet);
            if flushes >> (count % 64) & 1 == 1 && count % 7 == 0 {
                coalescer.flush(&mut sink);
            }
        }
        coalescer.flush(&mut sink);
        let mut got: [Vec<Vec<u8>>; 4] = Default::default();
        for packet in sink.runs.iter().flat_map(split) {
            let source = weft_packet::IpView::parse(&packet).unwrap().source();
            let flow = ips.iter().position(|ip| ip.source.ip() == source).unwrap();
            got[flow].push(packet);
        }
        prop_assert_eq!(got, sent);
    }

    #[test]
    fn kernel_runs_split_into_right_packets(
        v6 in any::<bool>(),
        udp in any::<bool>(),
        size in 1u16..1500,
        len in 1usize..60_000,
    ) {
        let ip = if v6 { Ip::v6() } else { Ip::v4() };
        let payload = bytes(len, 3);
        let tcp = Tcp::at(12345);
        let run = kernel_run(&ip, (!udp).then_some(&tcp), &payload, size);
        let header = usize::from(run.offload().header_len);
        let segments = split(&run);
        prop_assert!(segments.iter().all(|packet| checksums_are_right(packet)));
        let joined: Vec<u8> = segments.iter().flat_map(|packet| packet[header..].to_vec()).collect();
        prop_assert_eq!(joined, payload);
    }
}
