#include "authenticode.h"

enum { PE_CHECKSUM = 88, PE_OPTIONAL = 24, PE32_PLUS = 0x20b, SECTION_BYTES = 40, CERTIFICATES = 4 };

static u32 le32(const u8 *at)
{
	return at[0] | at[1] << 8 | at[2] << 16 | (u32)at[3] << 24;
}

static u32 le16(const u8 *at)
{
	return at[0] | at[1] << 8;
}

/* The section with the lowest place in the file, at `from` or behind it; sections without bytes in the file do not count. */
static const u8 *next_section(const u8 *sections, u32 count, u64 from)
{
	const u8 *next = 0;

	for (const u8 *section = sections; section < sections + count * SECTION_BYTES; section += SECTION_BYTES)
		if (le32(section + 16) && le32(section + 20) >= from && (!next || le32(section + 20) < le32(next + 20)))
			next = section;
	return next;
}

status authenticode_sha384(const u8 *image, u64 bytes, u8 digest[SHA384_BYTES])
{
	struct sha384 hash;
	u64 pe, headers, entry, certificates, sections, hashed, from = 0;
	u32 count;

	if (bytes < 0x40 || image[0] != 'M' || image[1] != 'Z')
		return UNSUPPORTED;
	pe = le32(image + 0x3c);
	entry = pe + PE_OPTIONAL + 112 + CERTIFICATES * 8;
	if (entry + 8 > bytes || le32(image + pe) != 0x4550 || le16(image + pe + PE_OPTIONAL) != PE32_PLUS ||
	    le32(image + pe + PE_OPTIONAL + 108) <= CERTIFICATES)
		return UNSUPPORTED;
	count = le16(image + pe + 6);
	sections = pe + PE_OPTIONAL + le16(image + pe + 20);
	headers = le32(image + pe + PE_OPTIONAL + 60);
	certificates = le32(image + entry + 4);
	if (headers < entry + 8 || headers > bytes || certificates > bytes || sections + count * SECTION_BYTES > bytes)
		return UNSUPPORTED;
	sha384_start(&hash);
	sha384_add(&hash, image, pe + PE_CHECKSUM);
	sha384_add(&hash, image + pe + PE_CHECKSUM + 4, entry - (pe + PE_CHECKSUM + 4));
	sha384_add(&hash, image + entry + 8, headers - (entry + 8));
	hashed = headers;
	for (const u8 *next; (next = next_section(image + sections, count, from));) {
		u64 start = le32(next + 20), length = le32(next + 16);

		if (start + length > bytes)
			return UNSUPPORTED;
		sha384_add(&hash, image + start, length);
		hashed += length;
		from = start + 1;
	}
	if (bytes - certificates > hashed)
		sha384_add(&hash, image + hashed, bytes - certificates - hashed);
	sha384_end(&hash, digest);
	return SUCCESS;
}
