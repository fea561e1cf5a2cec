//! The packet flow, by objects and by C.

use std::sync::Arc;

use anyhow::ensure;
use weft_ffi::{
    PacketFlow, Session, WEFT_E_BAD_PACKET, WEFT_E_CLOSED, WEFT_E_INVALID, WeftError, weft_packets_receive,
    weft_packets_send,
};

use crate::support::{TestHost, held, nothing_is_left_of, session, wait, within};

fn flow(session: &Session) -> Arc<PacketFlow> {
    session.packet_flow().unwrap()
}

fn send(handle: u64, packets: &[u8], offsets: &[u32]) -> i32 {
    // SAFETY: both point to what they say, with an offset more than there are packets.
    unsafe {
        weft_packets_send(
            handle,
            packets.as_ptr(),
            packets.len(),
            offsets.as_ptr(),
            offsets.len().saturating_sub(1),
        )
    }
}

#[test]
fn a_bad_batch_is_refused_whole() {
    netlab::run(|_| {
        let session = session(&TestHost::registered());
        let flow = flow(&session);
        let long = vec![0x45; 70_000];
        let cases: [(&[u8], &[u32]); 9] = [
            (&[], &[]),
            (&[0x45; 3], &[]),
            (&[0x45; 3], &[0]),
            (&[0x45; 3], &[1, 3]),
            (&[0x45; 3], &[0, 2]),
            (&[0x45; 3], &[0, 4]),
            (&[0x45; 3], &[0, 3, 2, 3]),
            (&[0x45; 3], &[0, 2, 2, 3]),
            (&long, &[0, 70_000]),
        ];
        for (packets, offsets) in cases {
            let refused = flow.send(packets, offsets.to_vec());
            ensure!(matches!(refused, Err(WeftError::BadPacket { .. })), "{offsets:?}: {refused:?}");
            if !offsets.is_empty() {
                ensure!(send(flow.handle(), packets, offsets) == WEFT_E_BAD_PACKET, "{offsets:?}");
            }
        }
        ensure!(flow.send(&[], vec![0]) == Ok(0), "no packets are a batch too");
        ensure!(flow.send(&[0x45; 40], vec![0, 20, 40]) == Ok(2));
        Ok(())
    });
}

#[test]
fn c_callers_hear_of_null_pointers_and_of_handles_that_are_gone() {
    netlab::run(|_| {
        let session = session(&TestHost::registered());
        let flow = flow(&session);
        let handle = flow.handle();
        let (mut bytes, mut offsets) = ([0_u8; 100], [0_u32; 5]);
        // SAFETY: null pointers are looked for; what is not null points to what it says.
        let results = unsafe {
            [
                weft_packets_send(handle, std::ptr::null(), 3, offsets.as_ptr(), 1),
                weft_packets_send(handle, bytes.as_ptr(), 3, std::ptr::null(), 1),
                weft_packets_send(handle, bytes.as_ptr(), 3, offsets.as_ptr(), usize::MAX),
                weft_packets_receive(handle, std::ptr::null_mut(), 100, offsets.as_mut_ptr(), 4, 0),
                weft_packets_receive(handle, bytes.as_mut_ptr(), 100, std::ptr::null_mut(), 4, 0),
                weft_packets_receive(handle, bytes.as_mut_ptr(), 100, offsets.as_mut_ptr(), 0, 0),
            ]
        };
        ensure!(results == [WEFT_E_INVALID; 6], "{results:?}");
        let mut receive = |handle| {
            // SAFETY: both point to what they say.
            unsafe { weft_packets_receive(handle, bytes.as_mut_ptr(), 100, offsets.as_mut_ptr(), 4, 10) }
        };
        ensure!(receive(handle) == 0);
        ensure!(receive(handle + 1000) == WEFT_E_CLOSED);
        drop(flow);
        ensure!(receive(handle) == WEFT_E_CLOSED);
        ensure!(send(handle, &[0x45], &[0, 1]) == WEFT_E_CLOSED);
        Ok(())
    });
}

#[test]
fn whoever_waits_for_packets_hears_of_the_end() {
    netlab::run(|_| {
        let before = held();
        let session = session(&TestHost::registered());
        let flow = flow(&session);
        let by_future = Arc::clone(&flow);
        let future = std::thread::spawn(move || wait(by_future.receive()));
        let by_thread = Arc::clone(&flow);
        let thread = std::thread::spawn(move || by_thread.receive_blocking(u32::MAX));
        wait(session.close());
        for heard in [future.join().unwrap(), thread.join().unwrap()] {
            ensure!(matches!(heard, Err(WeftError::Closed { .. })), "{heard:?}");
        }
        let late = [flow.send(&[0x45], vec![0, 1]).map(|_| ()), flow.receive_blocking(0).map(|_| ())];
        ensure!(late.iter().all(|late| matches!(late, Err(WeftError::Closed { .. }))), "{late:?}");
        ensure!(matches!(wait(flow.receive()), Err(WeftError::Closed { .. })));
        flow.close();
        drop((flow, session));
        nothing_is_left_of(before)
    });
}

#[test]
fn a_future_that_is_dropped_takes_no_packets_with_it() {
    netlab::run(|_| {
        let session = session(&TestHost::registered());
        let flow = flow(&session);
        ensure!(within(std::time::Duration::ZERO, flow.receive()).is_err());
        ensure!(flow.receive_blocking(0) == Ok(weft_ffi::PacketBatch { packets: vec![], offsets: vec![] }));
        Ok::<_, anyhow::Error>(())
    });
}
