/* The digest of a PE program that signatures and measurements use. */
#pragma once
#include "sha384.h"

/*
 * Hashes the `bytes` of a PE32+ file at `image`: everything except the checksum, the entry of the certificate table and the
 * certificates. Returns UNSUPPORTED for another file and for one whose headers name bytes outside of it.
 *
 * Source: Windows Authenticode Portable Executable Signature Format, "Calculating the PE Image Hash".
 */
status authenticode_sha384(const u8 *image, u64 bytes, u8 digest[SHA384_BYTES]);
