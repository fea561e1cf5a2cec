//! What a host hands over as packets, through a foreign language's memory.

use std::time::Duration;

use weft_runtime::pool::{Pool, RUN_BUFFER};
use weft_runtime::tun::{PacketQueue, QueueError, TunInput, TunOutput};

use crate::Outcome;

/// The number of offsets (a byte), the offsets (little endian, 4 bytes each), and then the packets. What is taken comes
/// out as it went in, through the core and back into the caller's memory.
pub fn packet_queue(data: &[u8]) -> Outcome {
    let Some((count, rest)) = data.split_first() else { return Outcome::Refused };
    let Some((offsets, packets)) = rest.split_at_checked(usize::from(*count) * 4) else {
        return Outcome::Refused;
    };
    let offsets: Vec<u32> = offsets
        .chunks_exact(4)
        .map(|four| four.iter().rev().fold(0, |all, one| all << 8 | u32::from(*one)))
        .collect();
    let Ok(queue) = PacketQueue::new() else { panic!("the system gives a descriptor") };
    let (mut input, output) = queue.ends();
    let taken = match queue.send(packets, &offsets) {
        Ok(taken) => taken,
        Err(QueueError::BadOffsets | QueueError::BadPacket { .. }) => return Outcome::Refused,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(taken, offsets.len() - 1, "a queue has room for 255 packets and a few bytes");
    let (mut pool, mut runs) = (Pool::new(RUN_BUFFER, 2), Vec::new());
    while input.read(&mut pool, &mut runs).is_ok() {}
    assert_eq!(runs.iter().flat_map(|run| run.packet().to_vec()).collect::<Vec<_>>(), packets);
    for run in &mut runs {
        assert!(output.write(run).is_ok(), "what came in fits the way back");
    }
    let (mut bytes, mut places) = (vec![0; packets.len()], vec![0; offsets.len()]);
    assert_eq!(queue.receive_into(&mut bytes, &mut places, Duration::ZERO), Ok(taken));
    assert!(bytes == packets && places == offsets, "it comes out as it went in");
    Outcome::Taken
}
