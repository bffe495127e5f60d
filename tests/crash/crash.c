// SPDX-License-Identifier: GPL-2.0
/*
 * Test only: whoever loads this module crashes, as by a defect of its own. A scenario puts it in the place of an optional module, since
 * nothing else in a production initrd can make PID 1 crash.
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
