/*
 * OVMF has these measurements in its drivers for TDs and TPMs, which do not run here or do not know this driver, so they are made
 * as edk2's OvmfPkg/Tcg/TdTcg2Dxe makes them. The texts and digests are those that OVMF's TPM driver measures in the same boot.
 * The order, in particular one separator in RTMR1 behind the first "Calling", is this driver's claim, and that of public
 * logs of real TDs.
 *
 * Missing, because they happen before a driver can run: the TD's hand-off block (TD HOB), the configuration volume (CFV) and
 * the ACPI tables. So RTMR0 is not that of a real TD.
 */
#include "events.h"
#include "log.h"

enum { MOST_BOOT_OPTIONS = 64, VARIABLE_BYTES = 32 << 10 };

static runtime_services *runtime;
static u32 attempts;

static const guid global_variable = GLOBAL_VARIABLE_GUID, image_security = IMAGE_SECURITY_GUID;

/* UEFI_VARIABLE_DATA. */
static struct {
	guid vendor;
	u64 name_characters, bytes;
	u8 name_and_content[VARIABLE_BYTES];
} variable;

static void measure_separator(u32 mr)
{
	static const u8 zero[4];

	log_measure(mr, EV_SEPARATOR, zero, sizeof(zero), zero, sizeof(zero));
}

#define MEASURE_ACTION(mr, text) log_measure(mr, EV_EFI_ACTION, text, sizeof(text) - 1, text, sizeof(text) - 1)

/*
 * Reads a variable into `variable`; returns where its content begins and leaves its length in variable.bytes, 0 if there is
 * none. A variable that is longer than VARIABLE_BYTES counts as missing; those of Debian's OVMF have at most 14 KiB.
 */
static u8 *read_variable(const u16 *name, const guid *vendor, status *found)
{
	u64 characters = 0;
	u8 *content;

	while (name[characters])
		characters++;
	variable.vendor = *vendor;
	variable.name_characters = characters;
	memcpy(variable.name_and_content, name, characters * 2);
	content = variable.name_and_content + characters * 2;
	variable.bytes = VARIABLE_BYTES - characters * 2;
	*found = runtime->get_variable(name, vendor, 0, &variable.bytes, content);
	if (*found != SUCCESS)
		variable.bytes = 0;
	return content;
}

static u64 variable_size(void)
{
	return sizeof(variable) - VARIABLE_BYTES + variable.name_characters * 2 + variable.bytes;
}

/* The whole structure is hashed, also for a missing variable. */
static void measure_setting(const u16 *name, const guid *vendor)
{
	status found;

	read_variable(name, vendor, &found);
	log_measure(RTMR0, EV_EFI_VARIABLE_DRIVER_CONFIG, &variable, variable_size(), &variable, variable_size());
}

/* The content alone is hashed, the whole structure logged; a missing variable is not measured. Returns the content. */
static u8 *measure_boot_variable(const u16 *name)
{
	status found;
	u8 *content = read_variable(name, &global_variable, &found);

	if (found == SUCCESS)
		log_measure(RTMR0, EV_EFI_VARIABLE_BOOT, content, variable.bytes, &variable, variable_size());
	return content;
}

static void measure_boot_options(void)
{
	u16 order[MOST_BOOT_OPTIONS], name[] = u"Boot0000";
	u8 *content = measure_boot_variable(u"BootOrder");
	u64 bytes = variable.bytes < sizeof(order) ? variable.bytes : sizeof(order);

	memcpy(order, content, bytes);
	for (u64 i = 0; i < bytes / 2; i++) {
		for (int digit = 0; digit < 4; digit++)
			name[7 - digit] = "0123456789ABCDEF"[order[i] >> 4 * digit & 15];
		measure_boot_variable(name);
	}
}

static void ready_to_boot(void *event, void *context)
{
	(void)event, (void)context;
	if (attempts++) {
		MEASURE_ACTION(RTMR1, "Returning from EFI Application from Boot Option");
		MEASURE_ACTION(RTMR1, "Calling EFI Application from Boot Option");
		return;
	}
	measure_boot_options();
	MEASURE_ACTION(RTMR1, "Calling EFI Application from Boot Option");
	measure_separator(RTMR1);
}

static void exit_boot_services(void *event, void *context)
{
	(void)event, (void)context;
	MEASURE_ACTION(RTMR1, "Exit Boot Services Invocation");
	MEASURE_ACTION(RTMR1, "Exit Boot Services Returned with Success");
}

status events_start(system_table *system)
{
	static const guid at_boot = READY_TO_BOOT_GUID, at_exit = EXIT_BOOT_SERVICES_GUID;
	boot_services *boot = system->boot;
	void *event;
	status bad;

	runtime = system->runtime;
	measure_setting(u"SecureBoot", &global_variable);
	measure_setting(u"PK", &global_variable);
	measure_setting(u"KEK", &global_variable);
	measure_setting(u"db", &image_security);
	measure_setting(u"dbx", &image_security);
	measure_separator(RTMR0);
	bad = boot->create_event(EVENT_NOTIFY_SIGNAL, TPL_CALLBACK, ready_to_boot, 0, &at_boot, &event);
	return bad ? bad : boot->create_event(EVENT_NOTIFY_SIGNAL, TPL_NOTIFY, exit_boot_services, 0, &at_exit, &event);
}
