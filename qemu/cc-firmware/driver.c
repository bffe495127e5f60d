/*
 * Test only: gives plain OVMF the EFI_CC_MEASUREMENT_PROTOCOL of a trust domain's firmware (edk2: OvmfPkg/Tcg/TdTcg2Dxe), with
 * registers in software, the event log behind the ACPI table CCEL, and the measurements of such firmware from the variables of
 * Secure Boot on. OVMF itself, shim, GRUB, systemd-stub, the kernel's EFI stub and cvm-init use it as they would on
 * hardware. A verifier sees the difference: nothing vouches for the registers.
 *
 * It comes as the option ROM of a PCI device, so that it runs before any boot option and changes no variable.
 */
#include "authenticode.h"
#include "events.h"
#include "log.h"

static status get_capability(cc_protocol *self, cc_capability *capability)
{
	if (!self || !capability)
		return INVALID_PARAMETER;
	*capability = (cc_capability){
		.bytes = sizeof(*capability), .structure_version = { 1, 0 }, .protocol_version = { 1, 0 },
		.hashes = CC_HASH_SHA384, .log_formats = CC_LOG_TCG2, .type = CC_TYPE_TDX,
	};
	return SUCCESS;
}

static status get_event_log(cc_protocol *self, u32 format, u64 *start, u64 *last, u8 *truncated)
{
	if (!self || format != CC_LOG_TCG2)
		return INVALID_PARAMETER;
	if (start)
		*start = log_address();
	if (last)
		*last = log_last_event();
	if (truncated)
		*truncated = log_is_truncated();
	log_was_read();
	return SUCCESS;
}

static status hash_log_extend(cc_protocol *self, u64 flags, u64 data, u64 bytes, const cc_event *event)
{
	u8 digest[SHA384_BYTES];
	const u8 *logged;
	u32 logged_bytes;

	if (!self || !event || (u64)event->header_bytes + sizeof(u32) > event->bytes || event->mr < RTMR0 || event->mr > RTMR2)
		return INVALID_PARAMETER;
	logged = (const u8 *)event + sizeof(u32) + event->header_bytes;
	logged_bytes = event->bytes - sizeof(u32) - event->header_bytes;
	if (event->type == EV_NO_ACTION)
		return flags & CC_EXTEND_ONLY ? SUCCESS : log_note(event->mr, event->type, logged, logged_bytes);
	if (!data)
		return INVALID_PARAMETER;
	if (flags & CC_PE_IMAGE) {
		status bad = authenticode_sha384((const u8 *)data, bytes, digest);

		if (bad)
			return bad;
	} else {
		struct sha384 hash;

		sha384_start(&hash);
		sha384_add(&hash, (const void *)data, bytes);
		sha384_end(&hash, digest);
	}
	if (!(flags & CC_EXTEND_ONLY))
		return log_extend(event->mr, event->type, digest, logged, logged_bytes);
	log_extend_register(event->mr, digest);
	return SUCCESS;
}

/* UEFI 2.10, section 38.4.1; PCR 0 is MRTD, which nobody extends. */
static status map_pcr(cc_protocol *self, u32 pcr, u32 *mr)
{
	if (!self || !mr || pcr > 15)
		return INVALID_PARAMETER;
	*mr = pcr == 0 ? 0 : pcr == 1 || pcr == 7 ? RTMR0 : pcr <= 6 ? RTMR1 : RTMR2;
	return SUCCESS;
}

/* The ACPI table CCEL (ACPI 6.5, section 5.2.34). The firmware fills in its checksum. */
static status leave_acpi_table(boot_services *boot)
{
	static const guid acpi_table = ACPI_TABLE_GUID;
	struct {
		u8 signature[4];
		u32 bytes;
		u8 revision, checksum, oem[6], oem_table[8];
		u32 oem_revision;
		u8 creator[4];
		u32 creator_revision;
		u8 type, subtype;
		u16 reserved;
		u64 log_bytes, log_address;
	} __attribute__((packed)) table = {
		.signature = "CCEL", .bytes = sizeof(table), .revision = 1, .oem = "CVM   ", .oem_table = "SIMULATE",
		.oem_revision = 1, .creator = "CVM ", .creator_revision = 1, .type = CC_TYPE_TDX,
		.log_bytes = LOG_BYTES, .log_address = log_address(),
	};
	acpi_table_protocol *acpi;
	u64 key;
	status bad = boot->locate_protocol(&acpi_table, 0, (void **)&acpi);

	return bad ? bad : acpi->install(acpi, &table, sizeof(table), &key);
}

status efi_main(void *image, system_table *system)
{
	static cc_protocol protocol;
	static const guid cc_measurement = CC_MEASUREMENT_GUID;
	boot_services *boot = system->boot;
	void *handle = 0;
	status bad = log_start(boot);

	(void)image;
	if (!bad)
		bad = leave_acpi_table(boot);
	if (!bad)
		bad = events_start(system);
	if (bad)
		return bad;
	protocol.get_capability = get_capability;
	protocol.get_event_log = get_event_log;
	protocol.hash_log_extend = hash_log_extend;
	protocol.map_pcr = map_pcr;
	return boot->install_protocols(&handle, &cc_measurement, &protocol, 0);
}
