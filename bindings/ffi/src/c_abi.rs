//! The packet flow for C and Swift: the caller's memory both ways, nothing allocated. `include/weft_packets.h` declares
//! it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use weft_runtime::tun::QueueError;

use crate::packets::queue_of;

/// The handle is no open flow's.
pub const WEFT_E_CLOSED: i32 = -1;
/// A packet has no bytes or more than 65,535, or the offsets do not fit; none was taken.
pub const WEFT_E_BAD_PACKET: i32 = -2;
/// A null pointer or a size that cannot be.
pub const WEFT_E_INVALID: i32 = -3;
/// The caller's memory does not take the next packet, which waits on.
pub const WEFT_E_NO_ROOM: i32 = -4;
/// A part of the core failed in a way it should not.
pub const WEFT_E_INTERNAL: i32 = -5;

/// Hands `n` packets of the device to the flow `handle`. `offsets` has `n + 1` entries: the start of each packet in the
/// `len` bytes at `packets`, the first 0, and last `len`. Returns how many were taken, or a negative `WEFT_E_*`.
///
/// # Safety
/// `packets` points to `len` readable bytes and `offsets` to `n + 1` readable numbers, or to nothing where there are
/// none; nobody writes them during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weft_packets_send(
    handle: u64,
    packets: *const u8,
    len: usize,
    offsets: *const u32,
    n: usize,
) -> i32 {
    let count = n.checked_add(1).filter(|count| *count <= isize::MAX as usize / size_of::<u32>());
    let Some(count) = count.filter(|_| len <= isize::MAX as usize) else { return WEFT_E_INVALID };
    if offsets.is_null() || !offsets.is_aligned() || (packets.is_null() && len > 0) {
        return WEFT_E_INVALID;
    }
    // SAFETY: it is not null, aligned, of a size that memory can have, and the caller vouches for the rest.
    let offsets = unsafe { std::slice::from_raw_parts(offsets, count) };
    let packets = match len {
        0 => &[][..],
        // SAFETY: as above.
        _ => unsafe { std::slice::from_raw_parts(packets, len) },
    };
    answer(|| queue_of(handle).ok_or(QueueError::Closed)?.send(packets, offsets))
}

/// Waits `timeout_ms` milliseconds at most for packets for the device, and copies them to the `cap` bytes at `buf`: as
/// many as fit and for which `offsets` has places, which are `max + 1`: the start of each, and last the end. Returns
/// how many, 0 where nothing came, or a negative `WEFT_E_*`.
///
/// # Safety
/// `buf` points to `cap` writable bytes and `offsets` to `max + 1` writable numbers, which nobody else uses during the
/// call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weft_packets_receive(
    handle: u64,
    buf: *mut u8,
    cap: usize,
    offsets: *mut u32,
    max: usize,
    timeout_ms: u32,
) -> i32 {
    let count = max.checked_add(1).filter(|count| *count <= isize::MAX as usize / size_of::<u32>());
    let Some(count) = count.filter(|_| max > 0 && cap <= isize::MAX as usize) else { return WEFT_E_INVALID };
    if buf.is_null() || offsets.is_null() || !offsets.is_aligned() {
        return WEFT_E_INVALID;
    }
    // SAFETY: it is not null, aligned, of a size that memory can have, and the caller vouches for the rest. Bytes that
    // nobody wrote yet are only written to.
    let buf = unsafe { std::slice::from_raw_parts_mut(buf, cap) };
    // SAFETY: as above.
    let offsets = unsafe { std::slice::from_raw_parts_mut(offsets, count) };
    let timeout = Duration::from_millis(timeout_ms.into());
    answer(|| queue_of(handle).ok_or(QueueError::Closed)?.receive_into(buf, offsets, timeout))
}

/// A count, or what became of it. A panic must not unwind into C.
fn answer(work: impl FnOnce() -> Result<usize, QueueError>) -> i32 {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(count)) => i32::try_from(count).unwrap_or(i32::MAX),
        Ok(Err(QueueError::Closed)) => WEFT_E_CLOSED,
        Ok(Err(QueueError::BadOffsets | QueueError::BadPacket { .. })) => WEFT_E_BAD_PACKET,
        Ok(Err(QueueError::NoRoom { .. })) => WEFT_E_NO_ROOM,
        Err(_) => WEFT_E_INTERNAL,
    }
}
