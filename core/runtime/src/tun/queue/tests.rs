//! What a host sees of a queue.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use weft_packet::{Batch, Run};

use super::*;
use crate::data_plane::{is_ready, wait};
use crate::pool::{Pool, RUN_BUFFER};
use crate::tun::{TunInput, TunOutput};

const PATIENCE: Duration = Duration::from_secs(20);

/// Packets as a host hands them over.
fn batch(packets: &[Vec<u8>]) -> (Vec<u8>, Vec<u32>) {
    let mut offsets = vec![0];
    for packet in packets {
        offsets.push(offsets.last().unwrap() + u32::try_from(packet.len()).unwrap());
    }
    (packets.concat(), offsets)
}

fn send(queue: &PacketQueue, packets: &[Vec<u8>]) -> Result<usize, QueueError> {
    let (bytes, offsets) = batch(packets);
    queue.send(&bytes, &offsets)
}

/// Everything that the input has.
fn drain(input: &mut QueueInput) -> Vec<Vec<u8>> {
    let (mut pool, mut runs, mut all) = (Pool::new(RUN_BUFFER, 2), Batch::new(), Vec::new());
    while input.read(&mut pool, &mut runs).is_ok() {
        for run in runs.drain(..) {
            all.push(run.packet().to_vec());
            pool.give_back(run.into_buffer());
        }
    }
    all
}

fn readable(input: &QueueInput) -> bool {
    let mut fds = [rustix::event::PollFd::from_borrowed_fd(input.readiness(), rustix::event::PollFlags::IN)];
    wait(&mut fds, Some(Duration::ZERO)).unwrap() && is_ready(&fds[0])
}

fn write(output: &QueueOutput, packet: &[u8]) -> io::Result<()> {
    output.write(&mut Run::from_packet(packet).unwrap())
}

fn packet(number: usize, len: usize) -> Vec<u8> {
    vec![u8::try_from(number % 251).unwrap(); len]
}

#[test]
fn what_the_host_sends_is_read_in_order_and_wakes_a_sleeping_reader_once() {
    let queue = PacketQueue::new().unwrap();
    let (mut input, _output) = queue.ends();
    assert_eq!(drain(&mut input), Vec::<Vec<u8>>::new());
    assert!(!readable(&input));
    let packets: Vec<_> = (1..100).map(|number| packet(number, number)).collect();
    for part in packets.chunks(10) {
        assert_eq!(send(&queue, part), Ok(part.len()));
    }
    assert!(readable(&input));
    assert_eq!(drain(&mut input), packets);
    assert!(!readable(&input), "one wake-up, and it is forgotten");
    // A reader that has not looked since is not woken again.
    assert_eq!(send(&queue, &[packet(1, 40)]), Ok(1));
    assert_eq!(drain(&mut input).len(), 1);
}

#[test]
fn a_full_queue_takes_what_it_has_room_for() {
    let queue = PacketQueue::new().unwrap();
    let (mut input, _output) = queue.ends();
    let long: Vec<_> = (0..5).map(|number| packet(number, LONGEST_PACKET)).collect();
    assert_eq!(send(&queue, &long), Ok(QUEUE_BYTES / LONGEST_PACKET));
    assert_eq!(send(&queue, &long[..1]), Ok(0));
    assert_eq!(drain(&mut input), long[..4]);
    let short: Vec<_> = (0..QUEUE_PACKETS + 5).map(|number| packet(number, 1)).collect();
    assert_eq!(send(&queue, &short), Ok(QUEUE_PACKETS));
    assert_eq!(drain(&mut input), short[..QUEUE_PACKETS]);
}

#[test]
fn where_nobody_reads_packets_are_dropped_and_the_host_is_not_held_up() {
    let queue = PacketQueue::new().unwrap();
    let packets: Vec<_> = (0..QUEUE_PACKETS).map(|number| packet(number, 100)).collect();
    for _ in 0..5 {
        assert_eq!(send(&queue, &packets), Ok(packets.len()));
    }
    let (mut input, _output) = queue.ends();
    assert_eq!(drain(&mut input), Vec::<Vec<u8>>::new(), "of a time that is over");
    assert_eq!(send(&queue, &packets), Ok(packets.len()));
    // One reader takes another's place, and finds what waits.
    let (mut next, _output) = queue.ends();
    drop(input);
    assert_eq!(drain(&mut next), packets);
    assert_eq!(send(&queue, &packets[..1]), Ok(1));
    drop(next);
    let (mut input, _output) = queue.ends();
    assert_eq!(drain(&mut input), Vec::<Vec<u8>>::new(), "the last reader's end is the packets'");
    assert_eq!(send(&queue, &packets[..1]), Ok(1));
    queue.clear();
    assert_eq!(drain(&mut input), Vec::<Vec<u8>>::new());
}

#[test]
fn a_batch_that_cannot_be_is_refused_whole() {
    let queue = PacketQueue::new().unwrap();
    let (mut input, _output) = queue.ends();
    let cases: [(usize, &[u32], QueueError); 5] = [
        (40, &[], QueueError::BadOffsets),
        (40, &[0, 20], QueueError::BadOffsets),
        (40, &[0, 60, 40], QueueError::BadOffsets),
        (40, &[0, 20, 20, 40], QueueError::BadPacket { length: 0 }),
        (70_040, &[0, 40, 70_040], QueueError::BadPacket { length: 70_000 }),
    ];
    for (bytes, offsets, error) in cases {
        assert_eq!(queue.send(&vec![0; bytes], offsets), Err(error));
    }
    assert_eq!(queue.send(&[], &[0]), Ok(0));
    assert_eq!(drain(&mut input), Vec::<Vec<u8>>::new());
}

#[test]
fn the_three_ways_to_receive_give_the_same_packets() {
    let queue = PacketQueue::new().unwrap();
    let (_input, output) = queue.ends();
    let packets: Vec<_> = (1..=30).map(|number| packet(number, 10 * number)).collect();
    for sent in &packets {
        write(&output, sent).unwrap();
    }
    output.flush();
    // Into the caller's memory, as much as fits, and then the rest by the others.
    let (mut bytes, mut offsets) = ([0; 350], [9; 12]);
    let count = queue.receive_into(&mut bytes, &mut offsets, PATIENCE).unwrap();
    assert_eq!((count, &offsets[..8]), (7, &[0, 10, 30, 60, 100, 150, 210, 280][..]));
    assert_eq!(bytes[210..280], packets[6][..]);
    let count = queue.receive_into(&mut [0; 4096], &mut offsets[..3], PATIENCE).unwrap();
    assert_eq!((count, &offsets[..3]), (2, &[0, 80, 170][..]));
    let error = queue.receive_into(&mut [0; 99], &mut offsets, PATIENCE);
    assert_eq!(error, Err(QueueError::NoRoom { needed: 100 }));
    let rest = queue.receive_blocking(PATIENCE).unwrap();
    assert_eq!(rest.iter().map(<[u8]>::to_vec).collect::<Vec<_>>(), packets[9..]);
    assert!(queue.receive_blocking(Duration::ZERO).unwrap().is_empty());
    assert_eq!(queue.receive_into(&mut bytes, &mut offsets, Duration::ZERO), Ok(0));
}

#[test]
fn a_future_waits_for_the_next_batch_and_loses_none_when_it_is_dropped() {
    let queue = PacketQueue::new().unwrap();
    let (_input, output) = queue.ends();
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut dropped = pin!(queue.receive());
        assert!(dropped.as_mut().poll(&mut context).is_pending());
        write(&output, &[1; 40]).unwrap();
        assert!(dropped.as_mut().poll(&mut context).is_pending(), "a batch is whole when it is flushed");
        output.flush();
    }
    let Poll::Ready(Ok(batch)) = pin!(queue.receive()).poll(&mut context) else { panic!("lost") };
    assert_eq!((batch.packets, batch.offsets), (vec![1; 40], vec![0, 40]));
}

#[test]
fn threads_that_wait_are_woken_by_a_batch_and_by_the_end() {
    let queue = PacketQueue::new().unwrap();
    let (_input, output) = queue.ends();
    thread::scope(|scope| {
        let waits = scope.spawn(|| queue.receive_blocking(PATIENCE));
        let fills = scope.spawn(|| queue.receive_into(&mut [0; 100], &mut [0; 3], PATIENCE));
        while !(waits.is_finished() && fills.is_finished()) {
            let _full = write(&output, &[1; 40]);
            output.flush();
            thread::yield_now();
        }
        assert!(!waits.join().unwrap().unwrap().is_empty());
        fills.join().unwrap().unwrap();
    });
    queue.clear();
    thread::scope(|scope| {
        let ended = scope.spawn(|| queue.receive_blocking(Duration::MAX));
        queue.close();
        assert_eq!(ended.join().unwrap(), Err(QueueError::Closed));
    });
    assert_eq!(send(&queue, &[vec![1; 40]]), Err(QueueError::Closed));
    assert_eq!(write(&output, &[1; 40]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    let Poll::Ready(ended) = pin!(queue.receive()).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it waits for what never comes")
    };
    assert_eq!(ended, Err(QueueError::Closed));
}

#[test]
fn memory_is_freed_and_no_packet_with_it() {
    let queue = PacketQueue::new().unwrap();
    let (mut input, _output) = queue.ends();
    let packets: Vec<_> = (1..=20).map(|number| packet(number, 50)).collect();
    assert_eq!(send(&queue, &packets[..10]), Ok(10));
    let (mut pool, mut runs) = (Pool::new(RUN_BUFFER, 2), Batch::new());
    input.read(&mut pool, &mut runs).unwrap();
    assert_eq!(send(&queue, &packets[10..]), Ok(10));
    input.release();
    assert_eq!(runs[0].packet(), packets[0]);
    assert_eq!(drain(&mut input), packets[1..]);
    input.release();
    assert_eq!(send(&queue, &packets), Ok(20));
    assert_eq!(drain(&mut input), packets);
}

#[test]
fn a_reader_hears_of_the_end() {
    let queue = PacketQueue::new().unwrap();
    let (mut input, _output) = queue.ends();
    assert_eq!(drain(&mut input), Vec::<Vec<u8>>::new());
    queue.close();
    assert!(readable(&input));
    let error = input.read(&mut Pool::new(RUN_BUFFER, 2), &mut Batch::new()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_host_that_takes_nothing_costs_no_more_than_the_budget() {
    let queue = PacketQueue::new().unwrap();
    let (_input, output) = queue.ends();
    let (mut written, mut refused) = (0, 0);
    for number in 0..10_000 {
        match write(&output, &packet(number, 1280)) {
            Ok(()) => written += 1280,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                refused += 1;
            }
        }
    }
    assert!(written <= QUEUE_BYTES && refused > 0, "{written} {refused}");
}
