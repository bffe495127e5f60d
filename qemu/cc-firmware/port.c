#include "port.h"

enum { PORT = 0x403 };

void port_write(const void *data, u64 bytes)
{
	__asm__ volatile("rep outsb" : "+S"(data), "+c"(bytes) : "d"(PORT) : "memory");
}
