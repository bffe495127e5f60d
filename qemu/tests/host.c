/*
 * Program of the host for cc_firmware.rs, with the driver's own sources. "sha384 PART" prints the SHA-384 of each beginning of its
 * input, from no byte to all, added in parts of PART bytes; "program" the Authenticode digest of its input, or "unsupported".
 * "log 0" fills the log, "log 1" after a program has read it; standard output gets what the driver's port would get, standard error
 * the status of each event.
 */
#include "authenticode.h"
#include "log.h"
#include "port.h"
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

void port_write(const void *data, u64 bytes)
{
	fwrite(data, 1, bytes, stdout);
}

static status allocate_pages(u32 how, u32 kind, u64 pages, u64 *address)
{
	(void)how, (void)kind;
	*address = (u64)malloc(pages * PAGE_BYTES); /* as long as the log, so that the sanitizer finds a write behind it */
	return SUCCESS;
}

static const u64 *final_events;

static status install_configuration_table(const guid *table, void *content)
{
	(void)table;
	final_events = content;
	return SUCCESS;
}

/* The log is filled exactly by its first event, WHOLE events with DATA bytes and one with the rest. */
enum { FIRST = 65, EVENT_HEAD = 66, DATA = 1000, WHOLE = (LOG_BYTES - FIRST) / (EVENT_HEAD + DATA) };
enum { REST = LOG_BYTES - FIRST - WHOLE * (EVENT_HEAD + DATA) - EVENT_HEAD };

static void measure(const char *what, u32 mr, u32 bytes)
{
	static const u8 data[DATA];
	status result = log_measure(mr, EV_IPL, what, strlen(what), data, bytes);

	fprintf(stderr, "%s: %lx, truncated %d, final events %lu\n", what, result, log_is_truncated(), final_events[1]);
}

static void fill_log(int is_read)
{
	static boot_services boot;

	boot.allocate_pages = allocate_pages;
	boot.install_configuration_table = install_configuration_table;
	log_start(&boot);
	if (is_read)
		log_was_read();
	for (int i = 0; i < WHOLE; i++)
		measure("whole", RTMR1, DATA);
	measure("rest", RTMR2, REST);
	measure("no place", RTMR2, DATA);
	measure("later", RTMR0, 0);
}

int main(int count, char **arguments)
{
	u8 digest[SHA384_BYTES];
	u64 bytes = fread(input, 1, sizeof(input), stdin);

	if (count == 3 && !strcmp(arguments[1], "log")) {
		fill_log(arguments[2][0] == '1');
		return 0;
	}
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
