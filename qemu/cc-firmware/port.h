/* The way to the host: a debug port of QEMU (isa-debugcon). Without one the bytes go nowhere. */
#pragma once
#include "uefi.h"

void port_write(const void *data, u64 bytes);
