/*
 * The types and tables of UEFI that this driver uses, and no others.
 *
 * All sources of the driver are compiled with -mabi=ms, so each call follows UEFI's convention.
 * Source: UEFI 2.10; EFI_CC_MEASUREMENT_PROTOCOL: section 38.
 */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64; /* also UINTN: only x86-64 is supported */
typedef u64 status;

#define ERROR(number) (1ul << 63 | (number))
#define SUCCESS 0ul
#define INVALID_PARAMETER ERROR(2)
#define UNSUPPORTED ERROR(3)
#define VOLUME_FULL ERROR(11)

typedef struct {
	u32 a;
	u16 b, c;
	u8 d[8];
} guid;

#define CC_MEASUREMENT_GUID { 0x96751a3d, 0x72f4, 0x41a6, { 0xa7, 0x94, 0xed, 0x5d, 0x0e, 0x67, 0xae, 0x6b } }
#define CC_FINAL_EVENTS_GUID { 0xdd4a4648, 0x2de7, 0x4665, { 0x96, 0x4d, 0x21, 0xd9, 0xef, 0x5f, 0xb4, 0x46 } }
#define ACPI_TABLE_GUID { 0xffe06bdd, 0x6107, 0x46a6, { 0x7b, 0xb2, 0x5a, 0x9c, 0x7e, 0xc5, 0x27, 0x5c } }
#define READY_TO_BOOT_GUID { 0x7ce88fb3, 0x4bd7, 0x4679, { 0x87, 0xa8, 0xa8, 0xd8, 0xde, 0xe5, 0x0d, 0x2b } }
#define EXIT_BOOT_SERVICES_GUID { 0x27abf055, 0xb1b8, 0x4c26, { 0x80, 0x48, 0x74, 0x8f, 0x37, 0xba, 0xa2, 0xdf } }
#define GLOBAL_VARIABLE_GUID { 0x8be4df61, 0x93ca, 0x11d2, { 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c } }
#define IMAGE_SECURITY_GUID { 0xd719b2cb, 0x3d3a, 0x4596, { 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f } }
#define LOAD_FILE2_GUID { 0x4006c0c1, 0xfcb3, 0x403e, { 0x99, 0x6d, 0x4a, 0x6c, 0x87, 0x24, 0xe0, 0x6d } }

enum { ALLOCATE_ANY_PAGES, ALLOCATE_MAX_ADDRESS };
enum { MEMORY_LOADER_DATA = 2, MEMORY_ACPI_NVS = 10 };
enum { EVENT_NOTIFY_SIGNAL = 0x200, TPL_CALLBACK = 8, TPL_NOTIFY = 16 };
enum { PAGE_BYTES = 4096 };

/* Types of events (TCG PC Client Platform Firmware Profile 1.06, section 10.4.1). */
enum {
	EV_NO_ACTION = 3,
	EV_SEPARATOR = 4,
	EV_IPL = 0xd,
	EV_EFI_VARIABLE_DRIVER_CONFIG = 0x80000001,
	EV_EFI_VARIABLE_BOOT = 0x80000002,
	EV_EFI_ACTION = 0x80000007,
};

typedef void notify(void *event, void *context);

typedef struct {
	u8 header[24];
	void *raise_tpl, *restore_tpl;
	status (*allocate_pages)(u32 how, u32 kind, u64 pages, u64 *address);
	void *free_pages;
	status (*get_memory_map)(u64 *bytes, void *map, u64 *key, u64 *descriptor_bytes, u32 *version);
	void *pools_and_events[8], *interfaces[3];
	status (*handle_protocol)(void *handle, const guid *protocol, void **interface);
	void *reserved_and_handles[3];
	status (*locate_device_path)(const guid *protocol, const void **path, void **handle);
	status (*install_configuration_table)(const guid *table, void *content);
	void *images[4];
	status (*exit_boot_services)(void *image, u64 key);
	void *timers[3], *drivers[2], *protocols[5];
	status (*locate_protocol)(const guid *protocol, void *registration, void **interface);
	status (*install_protocols)(void **handle, const guid *protocol, void *interface, void *end);
	void *rest[4];
	status (*create_event)(u32 kind, u64 tpl, notify *run, void *context, const guid *group, void **event);
} boot_services;

typedef struct {
	u8 header[24];
	void *time[6];
	status (*get_variable)(const u16 *name, const guid *vendor, u32 *attributes, u64 *bytes, void *data);
} runtime_services;

typedef struct {
	u8 until_runtime[88];
	runtime_services *runtime;
	boot_services *boot;
} system_table;

/* The positions in UEFI's tables, in pointers after the header of 24 bytes. */
#define IS_AT(type, member, position) \
	_Static_assert(__builtin_offsetof(type, member) == 24 + (position) * 8, #member)
IS_AT(boot_services, get_memory_map, 4);
IS_AT(boot_services, handle_protocol, 16);
IS_AT(boot_services, locate_device_path, 20);
IS_AT(boot_services, install_configuration_table, 21);
IS_AT(boot_services, exit_boot_services, 26);
IS_AT(boot_services, locate_protocol, 37);
IS_AT(boot_services, create_event, 43);
IS_AT(runtime_services, get_variable, 6);

typedef struct acpi_table_protocol {
	status (*install)(struct acpi_table_protocol *self, void *table, u64 bytes, u64 *key);
} acpi_table_protocol;

typedef struct load_file2_protocol {
	status (*load)(struct load_file2_protocol *self, const void *path, u8 is_boot_policy, u64 *bytes, void *to);
} load_file2_protocol;

typedef struct {
	u8 bytes, structure_version[2], protocol_version[2], pad[3];
	u32 hashes, log_formats;
	u8 type, subtype, end[2];
} cc_capability;

typedef struct {
	u32 bytes, header_bytes;
	u16 version;
	u32 mr, type;
	u8 data[];
} __attribute__((packed)) cc_event;

typedef struct cc_protocol {
	status (*get_capability)(struct cc_protocol *self, cc_capability *capability);
	status (*get_event_log)(struct cc_protocol *self, u32 format, u64 *start, u64 *last, u8 *truncated);
	status (*hash_log_extend)(struct cc_protocol *self, u64 flags, u64 data, u64 bytes, const cc_event *event);
	status (*map_pcr)(struct cc_protocol *self, u32 pcr, u32 *mr);
} cc_protocol;

/* The registers as the protocol counts them; 0 is MRTD, which nobody extends. */
enum { RTMR0 = 1, RTMR1, RTMR2 };
enum { CC_TYPE_TDX = 2, CC_HASH_SHA384 = 4, CC_LOG_TCG2 = 2, CC_EXTEND_ONLY = 1, CC_PE_IMAGE = 0x10 };

void *memcpy(void *to, const void *from, u64 bytes);
void *memset(void *to, int byte, u64 bytes);
