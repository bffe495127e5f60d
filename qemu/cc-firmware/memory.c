/* The two functions that gcc calls by itself. */
#include "uefi.h"

void *memcpy(void *to, const void *from, u64 bytes)
{
	void *start = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes)::"memory");
	return start;
}

void *memset(void *to, int byte, u64 bytes)
{
	void *start = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(byte) : "memory");
	return start;
}
