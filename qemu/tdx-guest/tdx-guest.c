// SPDX-License-Identifier: GPL-2.0
/*
 * Test only: replaces drivers/virt/coco/tdx-guest on a machine without TDX.
 *
 * The module simulates the TDX module (TDREPORT, RTMRs) and sends GetQuote requests to the host over COM2, which nothing
 * else in the guest opens. The messages are those of Intel's quoting service (qgs_msg_lib.h): a length of 4 bytes, big
 * endian, then a packed little-endian message. tsm.ko (tsm_report.ko from 6.16 on), configfs and user space are the real
 * ones.
 *
 * Limits: no TDCALL, no shared buffer of the GetQuote hypercall, no MAC, which only hardware can make.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <crypto/hash.h>
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/ktime.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/tsm.h>
#include <linux/uaccess.h>
#include <linux/unaligned.h>
#include <linux/version.h>
#include <uapi/linux/tdx-guest.h>

/* Renamed in 6.16 by "configfs-tsm: Namespace TSM report symbols". From 6.19 on the old names belong to the PCI TSM. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
#include <linux/tsm-mr.h>
typedef struct tsm_report_ops provider_ops;
#define provider_register tsm_report_register
#define provider_unregister tsm_report_unregister
#else
typedef struct tsm_ops provider_ops;
#define provider_register tsm_register
#define provider_unregister tsm_unregister
#endif

static ushort com = 0x2f8;
module_param(com, ushort, 0400);
MODULE_PARM_DESC(com, "I/O port of the 16550 that is connected to the quoting service");

/* Quirks of the real driver. The host may set these three in its answer to TDINFO, so that all tests use one initrd. */
static uint poll_ms;
module_param(poll_ms, uint, 0600);
MODULE_PARM_DESC(poll_ms, "polling interval in ms; 1000 in the real driver; 0: no pause");
static uint timeout_s = 30;
module_param(timeout_s, uint, 0600);
MODULE_PARM_DESC(timeout_s, "timeout for a quote in seconds; 30 as in the real driver");
static bool empty_on_error;
module_param(empty_on_error, bool, 0600);
MODULE_PARM_DESC(empty_on_error, "return an empty blob without an error for a failed or late quote, as 6.12 does; later kernels return EIO");

/* ---- TDREPORT: state that the TDX module keeps ---- */

#define MR_LEN 48
#define AT_TEE_INFO_HASH 80
#define AT_REPORTDATA 128
#define AT_TDINFO 512
#define TDINFO_LEN 512
#define AT_MRTD 528
#define AT_MRCONFIGID 576
#define AT_MROWNER 624
#define AT_MROWNERCONFIG 672
#define AT_RTMR(n) (720 + MR_LEN * (n))

static DEFINE_MUTEX(report_lock);
static u8 tdreport[TDX_REPORT_LEN] = { 0x81 }; /* REPORTMACSTRUCT.type: TDX */
static struct crypto_shash *hasher;

/* register = SHA384(register || digest), both 48 bytes. */
static int __maybe_unused mr_extend(u8 *mr, const u8 *digest)
{
	u8 both[2 * MR_LEN];
	int rc;

	mutex_lock(&report_lock);
	memcpy(both, mr, MR_LEN);
	memcpy(both + MR_LEN, digest, MR_LEN);
	rc = crypto_shash_tfm_digest(hasher, both, sizeof(both), mr);
	mutex_unlock(&report_lock);
	return rc;
}

static int report_make(const u8 *reportdata, u8 *out)
{
	mutex_lock(&report_lock);
	memcpy(out, tdreport, TDX_REPORT_LEN);
	mutex_unlock(&report_lock);
	memcpy(out + AT_REPORTDATA, reportdata, TDX_REPORTDATA_LEN);
	return crypto_shash_tfm_digest(hasher, out + AT_TDINFO, TDINFO_LEN, out + AT_TEE_INFO_HASH);
}

/* ---- COM2: a polled 16550 ---- */

#define LSR_DATA_READY 0x01
#define LSR_SEND_EMPTY 0x20
#define QUIET_MS 50
#define SKIP_MS 5000
#define SPINS 1000

static bool wire_has_data(void)
{
	return inb(com + 5) & LSR_DATA_READY;
}

static int wire_send(const u8 *bytes, size_t len, ktime_t end)
{
	while (len--) {
		while (!(inb(com + 5) & LSR_SEND_EMPTY)) {
			if (ktime_after(ktime_get(), end))
				return -ETIMEDOUT;
			cond_resched();
		}
		outb(*bytes++, com);
	}
	return 0;
}

/*
 * Spins for bytes that arrive soon, then sleeps between polls: under emulation a busy virtual CPU takes CPU time from the
 * quoting service.
 */
static int wire_wait(unsigned int pause_ms, ktime_t end)
{
	if (pause_ms)
		msleep_interruptible(pause_ms); /* before the first poll, as the real driver does */
	for (unsigned int spin = 0; spin < SPINS; spin++) {
		if (wire_has_data())
			return 0;
		cond_resched();
	}
	while (!wire_has_data()) {
		if (signal_pending(current))
			return -EINTR;
		if (ktime_after(ktime_get(), end))
			return -ETIMEDOUT;
		if (pause_ms)
			msleep_interruptible(pause_ms);
		else
			usleep_range(100, 300);
	}
	return 0;
}

static int wire_receive(u8 *bytes, size_t len, ktime_t end)
{
	int rc;

	while (len--) {
		rc = wire_wait(0, end);
		if (rc)
			return rc;
		*bytes++ = inb(com);
	}
	return 0;
}

/* Discards the rest of an answer after a timeout or an error, until the line was quiet for QUIET_MS. */
static void wire_skip(void)
{
	ktime_t end = ktime_add_ms(ktime_get(), SKIP_MS);

	while (ktime_before(ktime_get(), end) && !wire_wait(0, ktime_add_ms(ktime_get(), QUIET_MS)))
		inb(com);
}

static int wire_open(void)
{
	if (inb(com + 5) == 0xff) /* no such port: reads return 0xff */
		return -ENODEV;
	outb(0x00, com + 1); /* no interrupts */
	outb(0xc7, com + 2); /* FIFO on and empty, trigger at 14: QEMU passes on that many bytes at a time */
	outb(0x03, com + 3); /* 8n1 */
	outb(0x03, com + 4); /* DTR, RTS */
	return 0;
}

/* ---- messages ---- */

#define HEADER_LEN 16
#define QUOTE_MAX (128 * 1024)
#define GET_QUOTE_REQ 0
#define GET_QUOTE_RESP 1
#define TDINFO_REQ 0x80000001u /* this project's; Intel's types are small numbers */
#define TDINFO_RESP 0x80000002u
#define TDINFO_QUIRKS_LEN 12 /* after TDINFO, optional: u32 poll_ms, u32 timeout_s, u32 empty_on_error */
#define LOAD_TIMEOUT_MS 10000

static DEFINE_MUTEX(quote_lock); /* one request at a time, as in the real driver */
static bool in_flight; /* the host has not answered the last request */

static int message_send(u32 type, const u8 *body, u32 len, ktime_t end)
{
	u8 head[4 + HEADER_LEN];

	put_unaligned_be32(HEADER_LEN + len, head);
	put_unaligned_le16(1, head + 4);
	put_unaligned_le16(1, head + 6);
	put_unaligned_le32(type, head + 8);
	put_unaligned_le32(HEADER_LEN + len, head + 12);
	put_unaligned_le32(0, head + 16);
	return wire_send(head, sizeof(head), end) ?: wire_send(body, len, end);
}

/* Returns the length of the body that follows, or an error; then the rest of the message is unread. */
static int message_receive_head(u32 type, ktime_t end)
{
	u8 head[4 + HEADER_LEN];
	u32 len;
	int rc = wire_receive(head, sizeof(head), end);

	if (rc)
		return rc;
	len = get_unaligned_be32(head);
	if (get_unaligned_le32(head + 16)) {
		pr_info("the quoting service answers with error %#x\n", get_unaligned_le32(head + 16));
		return -EIO;
	}
	if (len < HEADER_LEN || len > HEADER_LEN + QUOTE_MAX || len != get_unaligned_le32(head + 12) ||
	    type != get_unaligned_le32(head + 8))
		return -EIO;
	return len - HEADER_LEN;
}

static int quote_receive(u8 **quote, ktime_t end)
{
	int len = message_receive_head(GET_QUOTE_RESP, end);
	u8 sizes[8], *buf;
	int rc;

	if (len < 0)
		return len;
	if (len < sizeof(sizes))
		return -EIO;
	rc = wire_receive(sizes, sizeof(sizes), end);
	if (rc)
		return rc;
	len -= sizeof(sizes);
	if (get_unaligned_le32(sizes) || get_unaligned_le32(sizes + 4) != len)
		return -EIO;
	buf = kvmalloc(len ?: 1, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	rc = wire_receive(buf, len, end);
	if (rc) {
		kvfree(buf);
		return rc;
	}
	*quote = buf;
	return len;
}

/* Returns the length of the quote, which the caller owns. */
static int quote_exchange(const u8 *reportdata, u8 **quote)
{
	u8 *request;
	ktime_t end;
	int rc;

	/* After a timeout the real buffer stays GET_QUOTE_IN_FLIGHT until the host writes it, and the driver returns EBUSY. */
	if (in_flight && !wire_has_data())
		return -EBUSY;
	in_flight = false;
	if (wire_has_data())
		wire_skip();

	request = kzalloc(8 + TDX_REPORT_LEN, GFP_KERNEL);
	if (!request)
		return -ENOMEM;
	end = ktime_add_ms(ktime_get(), (u64)timeout_s * MSEC_PER_SEC);
	put_unaligned_le32(TDX_REPORT_LEN, request); /* the length of the id list, after it, is 0 */
	rc = report_make(reportdata, request + 8) ?:
	     message_send(GET_QUOTE_REQ, request, 8 + TDX_REPORT_LEN, end) ?:
	     wire_wait(poll_ms, end) ?:
	     quote_receive(quote, end);
	kfree(request);
	if (rc == -ETIMEDOUT || rc == -EINTR)
		in_flight = true;
	else if (rc < 0)
		wire_skip();
	return rc;
}

static int sim_report_new(struct tsm_report *report, void *data)
{
	u8 *quote = NULL;
	int len;

	if (report->desc.inblob_len != TDX_REPORTDATA_LEN)
		return -EINVAL;
	if (mutex_lock_interruptible(&quote_lock))
		return -EINTR;
	len = quote_exchange(report->desc.inblob, &quote);
	mutex_unlock(&quote_lock);

	/*
	 * After a timeout the real driver does not return ETIMEDOUT: wait_for_quote_completion() ends with i == timeout + 1 and
	 * returns 0, and its caller uses the buffer as an answer. 6.12 copies its out_len, 0; 7.3 checks the status and returns EIO.
	 */
	if (len == -ETIMEDOUT)
		len = -EIO;
	if (len == -EIO && empty_on_error) {
		quote = kvzalloc(1, GFP_KERNEL);
		len = quote ? 0 : -ENOMEM;
	}
	if (len < 0)
		return len;
	report->outblob = quote;
	report->outblob_len = len;
	return 0;
}

/* Requests the TDINFO of this machine: the host computes it from the booted files, in place of firmware and TDX module. */
static int tdinfo_fetch(void)
{
	ktime_t end = ktime_add_ms(ktime_get(), LOAD_TIMEOUT_MS);
	u8 quirks[TDINFO_QUIRKS_LEN];
	int len, rc;

	if (wire_has_data())
		wire_skip();
	rc = message_send(TDINFO_REQ, NULL, 0, end);
	if (rc)
		return rc;
	len = message_receive_head(TDINFO_RESP, end);
	if (len < 0)
		return len;
	if (len != TDINFO_LEN && len != TDINFO_LEN + TDINFO_QUIRKS_LEN)
		return -EIO;
	rc = wire_receive(tdreport + AT_TDINFO, TDINFO_LEN, end);
	if (rc || len == TDINFO_LEN)
		return rc;
	rc = wire_receive(quirks, sizeof(quirks), end);
	if (rc)
		return rc;
	poll_ms = get_unaligned_le32(quirks);
	timeout_s = get_unaligned_le32(quirks + 4);
	empty_on_error = get_unaligned_le32(quirks + 8);
	return 0;
}

#ifndef SEV_GUEST /* sev-guest.c includes everything else */

/* ---- /sys/devices/virtual/misc/tdx_guest/measurements (Documentation/ABI: sysfs-devices-virtual-misc-tdx_guest) ---- */

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)

static const struct tsm_measurement_register mrs[] = {
	{ .mr_value = tdreport + AT_MRCONFIGID, TSM_MR_(mrconfigid, SHA384) | TSM_MR_F_NOHASH },
	{ .mr_value = tdreport + AT_MROWNER, TSM_MR_(mrowner, SHA384) | TSM_MR_F_NOHASH },
	{ .mr_value = tdreport + AT_MROWNERCONFIG, TSM_MR_(mrownerconfig, SHA384) | TSM_MR_F_NOHASH },
	{ .mr_value = tdreport + AT_MRTD, TSM_MR_(mrtd, SHA384) },
	{ .mr_value = tdreport + AT_RTMR(0), TSM_MR_(rtmr0, SHA384) | TSM_MR_F_RTMR },
	{ .mr_value = tdreport + AT_RTMR(1), TSM_MR_(rtmr1, SHA384) | TSM_MR_F_RTMR },
	{ .mr_value = tdreport + AT_RTMR(2), TSM_MR_(rtmr2, SHA384) | TSM_MR_F_RTMR },
	{ .mr_value = tdreport + AT_RTMR(3), TSM_MR_(rtmr3, SHA384) | TSM_MR_F_RTMR },
};

static int mr_refresh(const struct tsm_measurements *tm)
{
	return 0; /* mr_value is the register itself */
}

static int mr_write(const struct tsm_measurements *tm, const struct tsm_measurement_register *mr, const u8 *digest)
{
	return mr_extend(mr->mr_value, digest);
}

static const struct tsm_measurements measurements = {
	.mrs = mrs, .nr_mrs = ARRAY_SIZE(mrs), .refresh = mr_refresh, .write = mr_write,
};

static const struct attribute_group *measurements_make(void)
{
	return tsm_mr_create_attribute_group(&measurements);
}

static void measurements_free(const struct attribute_group *group)
{
	tsm_mr_free_attribute_group(group);
}

#else /* before 6.16 the real driver offers no register */

static const struct attribute_group *measurements_make(void)
{
	return NULL;
}

static void measurements_free(const struct attribute_group *group)
{
}

#endif

/* ---- /dev/tdx_guest and the provider ---- */

static long sim_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct tdx_report_req __user *user = (void __user *)arg;
	struct tdx_report_req *req;
	long rc;

	if (cmd != TDX_CMD_GET_REPORT0)
		return -ENOTTY;
	req = memdup_user(user, sizeof(*req));
	if (IS_ERR(req))
		return PTR_ERR(req);
	rc = report_make(req->reportdata, req->tdreport);
	if (!rc && copy_to_user(user->tdreport, req->tdreport, TDX_REPORT_LEN))
		rc = -EFAULT;
	kfree(req);
	return rc;
}

static const struct file_operations sim_fops = { .owner = THIS_MODULE, .unlocked_ioctl = sim_ioctl };
static const struct attribute_group *sim_groups[2];
static struct miscdevice sim_misc = {
	.name = KBUILD_MODNAME, .minor = MISC_DYNAMIC_MINOR, .fops = &sim_fops, .groups = sim_groups,
};

static int td_device_register(void)
{
	int rc;

	sim_groups[0] = measurements_make();
	rc = PTR_ERR_OR_ZERO(sim_groups[0]);
	if (rc)
		return rc;
	rc = misc_register(&sim_misc);
	if (rc)
		measurements_free(sim_groups[0]);
	return rc;
}

static void td_device_deregister(void)
{
	misc_deregister(&sim_misc);
	measurements_free(sim_groups[0]);
}

#else

static int td_device_register(void)
{
	return 0;
}

static void td_device_deregister(void)
{
}

#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
static bool sim_attr_visible(int n)
{
	return n == TSM_REPORT_GENERATION || n == TSM_REPORT_PROVIDER;
}

static bool sim_bin_attr_visible(int n)
{
	return n == TSM_REPORT_INBLOB || n == TSM_REPORT_OUTBLOB;
}
#endif

static const provider_ops sim_ops = {
	.name = KBUILD_MODNAME,
	.report_new = sim_report_new,
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
	.report_attr_visible = sim_attr_visible,
	.report_bin_attr_visible = sim_bin_attr_visible,
#endif
};

static int __init sim_init(void)
{
	int rc;

	hasher = crypto_alloc_shash("sha384", 0, 0);
	if (IS_ERR(hasher))
		return PTR_ERR(hasher);
	rc = wire_open() ?: tdinfo_fetch();
	if (rc)
		goto free_hash;
	rc = td_device_register();
	if (rc)
		goto free_hash;
	rc = provider_register(&sim_ops, NULL);
	if (rc)
		goto deregister;
	pr_info("SIMULATED confidential guest: nothing here is confidential\n");
	return 0;

deregister:
	td_device_deregister();
free_hash:
	crypto_free_shash(hasher);
	return rc;
}

static void __exit sim_exit(void)
{
	provider_unregister(&sim_ops);
	td_device_deregister();
	crypto_free_shash(hasher);
}

module_init(sim_init);
module_exit(sim_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Test-only stand-in for the TDX guest driver: quotes and measurements come from the host");
