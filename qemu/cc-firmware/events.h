/* What firmware of a trust domain measures by itself. */
#pragma once
#include "uefi.h"

/* Measures the variables of Secure Boot now, boot options at each "ready to boot", and the end of boot services. */
status events_start(system_table *system);
