/* Four software registers, and the event log about them. */
#pragma once
#include "sha384.h"

/* As in edk2: PcdTcgLogAreaMinLen and PcdTcg2FinalLogAreaLen. */
enum { LOG_BYTES = 64 << 10, FINAL_BYTES = 32 << 10 };

/* Allocates the log, begins it, tells the host the values of the registers, and makes the table of final events. */
status log_start(boot_services *boot);

/* The log's address, the address of its last event, and whether an event did not fit. */
u64 log_address(void);
u64 log_last_event(void);
u8 log_is_truncated(void);

/* A program read the log: later events also go to the table of final events, where the kernel looks for them. */
void log_was_read(void);

/*
 * Extends register `mr` (RTMR0 to RTMR2) with `digest` and logs the event with `bytes` of `data`.
 *
 * Returns VOLUME_FULL when the event did not fit. The register is extended all the same, and no later event is logged, as
 * in edk2: a log with a gap could not be told from a wrong one.
 */
status log_extend(u32 mr, u32 type, const u8 digest[SHA384_BYTES], const void *data, u32 bytes);

/* Extends register `mr` alone. */
void log_extend_register(u32 mr, const u8 digest[SHA384_BYTES]);

/* Logs an event that extends nothing; its digest is zero. */
status log_note(u32 mr, u32 type, const void *data, u32 bytes);

/* Extends register `mr` with the digest of `hashed` and logs `data`. */
status log_measure(u32 mr, u32 type, const void *hashed, u64 hashed_bytes, const void *data, u32 bytes);
