// SPDX-License-Identifier: GPL-2.0
/*
 * Test only: replaces drivers/virt/coco/sev-guest. Kernel and PID 1 see the provider sev_guest; the messages are those of tdx-guest.c.
 * The host makes the whole report: it has the chip's key.
 */
#define SEV_GUEST
#include "tdx-guest.c"
