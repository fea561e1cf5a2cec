/* The packet flow of a session for C and Swift: batches in the caller's memory. See PacketFlow.handle. */

#ifndef WEFT_PACKETS_H
#define WEFT_PACKETS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The handle is no open flow's. */
#define WEFT_E_CLOSED (-1)
/* A packet has no bytes or more than 65,535, or the offsets do not fit; none was taken. */
#define WEFT_E_BAD_PACKET (-2)
/* A null pointer or a size that cannot be. */
#define WEFT_E_INVALID (-3)
/* The caller's memory does not take the next packet, which waits on. */
#define WEFT_E_NO_ROOM (-4)
/* A part of the core failed in a way it should not. */
#define WEFT_E_INTERNAL (-5)

/* Device to core. `offsets` has n + 1 entries: where each packet begins in the `len` bytes at `packets`, the first 0,
 * and last `len`. Never waits. Returns how many packets were taken, from the first on (the others found the queue
 * full), or a negative WEFT_E_*. */
int32_t weft_packets_send(uint64_t handle, const uint8_t *packets, size_t len, const uint32_t *offsets, size_t n);

/* Core to device. Waits timeout_ms milliseconds at most. `offsets` has max + 1 entries. Returns how many packets were
 * copied, 0 where none came in time, or a negative WEFT_E_*. A buffer of 65,535 bytes takes any packet. */
int32_t weft_packets_receive(uint64_t handle, uint8_t *buf, size_t cap, uint32_t *offsets, size_t max,
                             uint32_t timeout_ms);

#ifdef __cplusplus
}
#endif

#endif
