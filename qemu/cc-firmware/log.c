/*
 * The host gets a copy of log and registers, as records: one byte of kind ('L': bytes that the log grew by; 'R': a register's
 * number in a byte, and its value), the length in 4 bytes, little-endian, and the content. One port for both keeps their
 * order.
 */
#include "log.h"
#include "port.h"

enum { SHA384_ID = 0xc };

struct area {
	u8 *start, *last;
	u64 bytes, used;
	u8 truncated;
};

struct final_events {
	u64 version, count;
	u8 events[FINAL_BYTES - 16];
};

static struct area log, final;
static struct final_events *final_table;
static u8 was_read, registers[4][SHA384_BYTES];

static void tell_record(u8 kind, u32 bytes)
{
	struct {
		u8 kind;
		u32 bytes;
	} __attribute__((packed)) head = { kind, bytes };

	port_write(&head, sizeof(head));
}

static void tell_register(u8 number)
{
	tell_record('R', 1 + SHA384_BYTES);
	port_write(&number, 1);
	port_write(registers[number], SHA384_BYTES);
}

static status append(struct area *area, const void *head, u64 head_bytes, const void *data, u64 bytes)
{
	if (area->truncated || head_bytes + bytes > area->bytes - area->used) {
		area->truncated = 1;
		return VOLUME_FULL;
	}
	area->last = area->start + area->used;
	memcpy(area->last, head, head_bytes);
	memcpy(area->last + head_bytes, data, bytes);
	area->used += head_bytes + bytes;
	return SUCCESS;
}

static status log_event(const void *head, u32 head_bytes, const void *data, u32 bytes)
{
	status bad = append(&log, head, head_bytes, data, bytes);

	if (bad)
		return bad;
	tell_record('L', head_bytes + bytes);
	port_write(log.last, head_bytes + bytes);
	if (!was_read)
		return SUCCESS;
	bad = append(&final, head, head_bytes, data, bytes);
	if (!bad)
		final_table->count++;
	return bad;
}

static status log_digest(u32 mr, u32 type, const u8 digest[SHA384_BYTES], const void *data, u32 bytes)
{
	struct {
		u32 mr, type, count;
		u16 id;
		u8 digest[SHA384_BYTES];
		u32 bytes;
	} __attribute__((packed)) head = { mr, type, 1, SHA384_ID, { 0 }, bytes };

	memcpy(head.digest, digest, SHA384_BYTES);
	return log_event(&head, sizeof(head), data, bytes);
}

void log_extend_register(u32 mr, const u8 digest[SHA384_BYTES])
{
	struct sha384 hash;
	u8 *value = registers[mr - RTMR0];

	sha384_start(&hash);
	sha384_add(&hash, value, SHA384_BYTES);
	sha384_add(&hash, digest, SHA384_BYTES);
	sha384_end(&hash, value);
	tell_register(mr - RTMR0);
}

status log_extend(u32 mr, u32 type, const u8 digest[SHA384_BYTES], const void *data, u32 bytes)
{
	log_extend_register(mr, digest);
	return log_digest(mr, type, digest, data, bytes);
}

status log_note(u32 mr, u32 type, const void *data, u32 bytes)
{
	static const u8 zero[SHA384_BYTES];

	return log_digest(mr, type, zero, data, bytes);
}

status log_measure(u32 mr, u32 type, const void *hashed, u64 hashed_bytes, const void *data, u32 bytes)
{
	struct sha384 hash;
	u8 digest[SHA384_BYTES];

	sha384_start(&hash);
	sha384_add(&hash, hashed, hashed_bytes);
	sha384_end(&hash, digest);
	return log_extend(mr, type, digest, data, bytes);
}

/* The kernel reads both after the end of boot services: memory of this kind stays theirs. */
static status allocate(boot_services *boot, u64 bytes, u8 fill, u8 **to)
{
	u64 address = 0xffffffff;
	status bad = boot->allocate_pages(ALLOCATE_MAX_ADDRESS, MEMORY_ACPI_NVS, bytes / PAGE_BYTES, &address);

	if (bad)
		return bad;
	*to = (u8 *)address;
	memset(*to, fill, bytes);
	return SUCCESS;
}

status log_start(boot_services *boot)
{
	/* The first event has the form of SHA-1 logs (TCG_PCR_EVENT) with a TCG_EfiSpecIDEvent. Register 1, as in edk2. */
	static const struct {
		u32 mr, type;
		u8 sha1[20];
		u32 bytes;
		u8 signature[16];
		u32 class;
		u8 minor, major, errata, words;
		u32 count;
		u16 id, digest;
		u8 vendor;
	} __attribute__((packed)) first = { RTMR0, EV_NO_ACTION, { 0 }, 33, "Spec ID Event03", 0, 0, 2, 0, 2, 1, SHA384_ID,
					    SHA384_BYTES, 0 };
	static const guid final_events = CC_FINAL_EVENTS_GUID;
	u8 *area;
	status bad = allocate(boot, LOG_BYTES, 0xff, &log.start);

	if (bad)
		return bad;
	bad = allocate(boot, FINAL_BYTES, 0, &area);
	if (bad)
		return bad;
	log.bytes = LOG_BYTES;
	final_table = (struct final_events *)area;
	final_table->version = 1;
	final.start = final_table->events;
	final.bytes = sizeof(final_table->events);
	for (u8 number = 0; number < 4; number++)
		tell_register(number);
	bad = log_event(&first, sizeof(first), "", 0);
	return bad ? bad : boot->install_configuration_table(&final_events, final_table);
}

u64 log_address(void)
{
	return (u64)log.start;
}

u64 log_last_event(void)
{
	return (u64)log.last;
}

u8 log_is_truncated(void)
{
	return log.truncated;
}

void log_was_read(void)
{
	was_read = 1;
}
