/* SHA-384 (FIPS 180-4, section 6.5). qemu/tests/cc_firmware.rs compares it with another implementation. */
#pragma once
#include "uefi.h"

enum { SHA384_BYTES = 48, SHA384_BLOCK = 128 };

struct sha384 {
	u64 state[8], bytes;
	u8 block[SHA384_BLOCK];
};

void sha384_start(struct sha384 *hash);
void sha384_add(struct sha384 *hash, const void *data, u64 bytes);
void sha384_end(struct sha384 *hash, u8 digest[SHA384_BYTES]);
