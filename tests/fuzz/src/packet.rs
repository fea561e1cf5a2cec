//! Packets: from the TUN device, with its segmentation metadata, and from a far side that may be hostile.

use std::net::Ipv4Addr;

use weft_packet::{
    Buffer, Coalescer, HEAD_ROOM, IcmpKind, IpView, Malformed, Merge, Offload, Run, RunSink, icmp,
    segment_len, translate, virtio, write_segment,
};

use crate::{Outcome, assert_one_line};

/// A run of `packet`; none where the metadata does not fit it.
pub(crate) fn run_of(packet: &[u8], offload: Offload) -> Option<Run> {
    let mut buffer = vec![0; Run::buffer_len(packet.len())].into_boxed_slice();
    buffer.get_mut(HEAD_ROOM..HEAD_ROOM + packet.len())?.copy_from_slice(packet);
    Run::new(buffer, packet.len(), offload).ok()
}

/// What the packet's own header says, asked for in full.
fn read_all(view: &IpView<'_>, len: usize) -> Result<(), Malformed> {
    assert!(view.packet().len() <= len && view.payload_offset() <= view.packet().len());
    assert_eq!(view.is_v6(), view.destination().is_ipv6());
    if let Some(tcp) = view.tcp()? {
        assert!(tcp.header_len() + tcp.payload().len() <= view.payload().len());
    }
    if let Some(udp) = view.udp()? {
        assert!(udp.payload().len() <= view.payload().len());
    }
    view.icmp()?;
    let tuple = view.five_tuple()?;
    assert_eq!(tuple.reversed().reversed(), tuple);
    Ok(())
}

/// An IP packet with whatever it holds.
pub fn packet_view(data: &[u8]) -> Outcome {
    let result = IpView::parse(data).and_then(|view| read_all(&view, data.len()));
    if let Err(error) = &result {
        assert_one_line(error);
    }
    result.is_ok().into()
}

/// What a TUN device hands out: a virtio header of ten bytes, and a packet that it may stand for several.
pub fn packet_split(data: &[u8]) -> Outcome {
    let Some((header, packet)) = data.split_first_chunk::<{ virtio::HEADER }>() else {
        return Outcome::Refused;
    };
    let offload = match virtio::decode(*header, packet) {
        Ok(offload) => offload,
        Err(error) => {
            assert_one_line(&error);
            return Outcome::Refused;
        }
    };
    assert_eq!(virtio::decode(virtio::encode(offload, packet), packet), Ok(offload));
    let Some(run) = run_of(packet, offload) else { return Outcome::Refused };
    let mut out = vec![0; run.longest_packet()];
    let mut written_all = true;
    for index in 0..run.segments() {
        let expected = segment_len(&run, index);
        assert!(expected <= run.longest_packet(), "no segment beyond the longest");
        let written = write_segment(&run, index, &mut out);
        assert!(written == 0 || written == expected, "{written} bytes for {expected}");
        written_all &= written == expected;
    }
    assert_eq!(segment_len(&run, run.segments()), 0, "nothing behind the last segment");
    written_all.into()
}

/// Collects runs.
#[derive(Default)]
struct Runs(Vec<Run>);

impl RunSink for Runs {
    fn lend(&mut self) -> Buffer {
        vec![0xa5; Run::buffer_len(usize::from(u16::MAX))].into_boxed_slice()
    }

    fn run(&mut self, run: Run) {
        self.0.push(run);
    }
}

/// Packets from the far side, each behind its length of two bytes. What is merged comes apart into the very packets
/// that went in.
pub fn packet_coalesce(data: &[u8]) -> Outcome {
    let mut coalescer = Coalescer::new(Merge { tcp: true, udp: true });
    let (mut runs, mut packets) = (Runs::default(), Vec::new());
    let (mut rest, mut refused) = (data, false);
    while let Some((len, after)) = rest.split_first_chunk::<2>() {
        let (packet, after) = after.split_at(after.len().min(usize::from(u16::from_be_bytes(*len))));
        rest = after;
        match coalescer.push(packet, &mut runs) {
            Ok(()) => packets.extend(IpView::parse(packet).map(|view| view.packet().to_vec())),
            Err(_) => refused = true,
        }
    }
    coalescer.flush(&mut runs);
    let mut split: Vec<Vec<u8>> = Vec::new();
    for run in &runs.0 {
        for index in 0..run.segments() {
            let mut out = vec![0; segment_len(run, index)];
            assert_eq!(write_segment(run, index, &mut out), out.len(), "a run that was made can be split");
            split.push(out);
        }
    }
    split.sort();
    packets.sort();
    assert_eq!(split, packets, "merged packets come apart as they were");
    (!refused && !packets.is_empty()).into()
}

/// A byte that picks the error, then the packet that is answered.
pub fn packet_icmp(data: &[u8]) -> Outcome {
    let Some((pick, packet)) = data.split_first() else { return Outcome::Refused };
    let kind = match pick % 4 {
        0 => IcmpKind::TooBig { mtu: 1280 },
        1 => IcmpKind::Prohibited,
        2 => IcmpKind::NoRoute,
        _ => IcmpKind::Port,
    };
    let Some(run) = run_of(packet, Offload::default()) else { return Outcome::Refused };
    let mut out = [0; icmp::LONGEST_REPLY];
    let Some(len) = icmp::reply(&run, kind, None, &mut out) else { return Outcome::Refused };
    let reply = out.get(..len).unwrap_or_default();
    let view = IpView::parse(reply).unwrap_or_else(|error| panic!("the reply is no packet: {error}"));
    assert_eq!(view.packet().len(), len);
    assert!(matches!(view.icmp(), Ok(Some(_))), "the reply is ICMP");
    let again = run_of(reply, Offload::default());
    let answered = again.is_some_and(|run| icmp::reply(&run, kind, None, &mut [0; 1280]).is_some());
    assert!(!answered, "an error is never answered");
    Outcome::Taken
}

/// An IPv4 packet whose addresses a gateway rewrites.
pub fn packet_translate(data: &[u8]) -> Outcome {
    let (source, destination) = (Ipv4Addr::new(100, 96, 0, 7), Ipv4Addr::new(172, 16, 0, 2));
    let mut packet = data.to_vec();
    let taken = translate::rewrite_source(&mut packet, Offload::default(), source).is_ok();
    if !taken {
        assert_eq!(packet, data, "what is refused is unchanged");
        assert!(translate::rewrite_destination(&mut packet, Offload::default(), destination).is_err());
        return Outcome::Refused;
    }
    assert!(translate::rewrite_destination(&mut packet, Offload::default(), destination).is_ok());
    let view = IpView::parse(&packet).unwrap_or_else(|error| panic!("no packet any more: {error}"));
    assert_eq!((view.source(), view.destination()), (source.into(), destination.into()));
    Outcome::Taken
}
