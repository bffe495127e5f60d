/*
 * Program of the host for cc_firmware.rs, with the driver's own sources. "sha384 PART" prints the SHA-384 of each beginning of its
 * input, from no byte to all, added in parts of PART bytes; "program" the Authenticode digest of its input, or "unsupported".
 */
#include "authenticode.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static u8 input[32 << 20];

static void print(const u8 digest[SHA384_BYTES])
{
	for (int i = 0; i < SHA384_BYTES; i++)
		printf("%02x", digest[i]);
	printf("\n");
}

int main(int count, char **arguments)
{
	u8 digest[SHA384_BYTES];
	u64 bytes = fread(input, 1, sizeof(input), stdin);

	if (count == 2 && !strcmp(arguments[1], "program")) {
		if (authenticode_sha384(input, bytes, digest))
			printf("unsupported\n");
		else
			print(digest);
		return 0;
	}
	for (u64 length = 0; length <= bytes; length++) {
		struct sha384 hash;
		u64 part = strtoull(arguments[2], 0, 10);

		sha384_start(&hash);
		for (u64 at = 0; at < length; at += part)
			sha384_add(&hash, input + at, length - at < part ? length - at : part);
		sha384_end(&hash, digest);
		print(digest);
	}
	return 0;
}
