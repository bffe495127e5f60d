// SPDX-License-Identifier: GPL-2.0
/*
 * Test only: crashes the process that loads it. A scenario replaces an optional module with it, because nothing in a production initrd makes
 * PID 1 crash.
 */
#include <linux/module.h>
#include <linux/sched/signal.h>

static int __init crash_init(void)
{
	send_sig(SIGSEGV, current, 1);
	return -ENODEV;
}
module_init(crash_init);

MODULE_DESCRIPTION("Crashes its loader");
MODULE_LICENSE("GPL");
