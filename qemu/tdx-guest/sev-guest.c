// SPDX-License-Identifier: GPL-2.0
/*
 * Test only: stands in for drivers/virt/coco/sev-guest. Kernel and PID 1 see another provider, sev_guest; the wire to the host
 * is the same, and the report that comes over it is the host's work as a whole: it has the chip's key here.
 */
#define SEV_GUEST
#include "tdx-guest.c"
