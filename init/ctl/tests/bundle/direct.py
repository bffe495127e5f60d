#!/usr/bin/env python3
"""Prints direct.json: digests and registers of a direct boot, computed from the specifications with hashlib and no code of this project.

The kernel is the PE image of headers alone that tests/bundle.rs makes. RTMRs and PCRs start as zeros; each event extends
register = H(register || H(data)). Events of firmware: TCG PC Client Platform Firmware Profile 1.06; what each kind of firmware extends:
init/docs/publishing.md.
"""
import hashlib
import json
import struct

kernel = bytearray(0x200)
kernel[0:2] = b"MZ"
kernel[0x3C] = 0x40
kernel[0x40:0x44] = b"PE\0\0"
kernel[0x58:0x5A] = struct.pack("<H", 0x20B)
kernel[0x58 + 60 : 0x58 + 64] = struct.pack("<I", 0x200)
initrd = b"initrd"
line = "a roothash=" + "5a" * 32

# Authenticode: without the checksum, at 64 in the optional header. This header has no directories, so nothing else is skipped.
program = bytes(kernel[: 0x58 + 64] + kernel[0x58 + 68 :])
calling = b"Calling EFI Application from Boot Option"
separator = bytes(4)
exits = [b"Exit Boot Services Invocation", b"Exit Boot Services Returned with Success"]
options = (line + "\0").encode("utf-16-le")
cap = b'{"cvm-init":"leave-initrd"}'


def replay(name, *events):
    register = bytes(hashlib.new(name).digest_size)
    for event in events:
        register = hashlib.new(name, register + hashlib.new(name, event).digest()).digest()
    return register.hex()


on = "/variants/secureBootOn/firmware/"
unsigned = "/variants/secureBootOnKernelNotInDb/firmware/"
registers = {
    on + "td/rtmr1": replay("sha384", program, calling, separator, *exits),
    on + "td/rtmr2": replay("sha384", options, initrd),
    on + "td/rtmr2AfterCap": replay("sha384", options, initrd, cap),
    on + "td-older/rtmr1": replay("sha384", program, calling, *exits),
    on + "td-older/rtmr2": replay("sha384", options, initrd),
    on + "td-with-tpm/rtmr1": replay("sha384", program, calling, separator, *exits),
    on + "td-with-tpm/rtmr2": None,
    on + "td-with-tpm/rtmr2AfterCap": None,
    on + "td-with-tpm/pcrs/sha256": {"9": replay("sha256", options, initrd)},
    on + "tpm/rtmr1": None,
    on + "tpm/pcrs/sha256": {
        "4": replay("sha256", program, calling, separator),
        "5": replay("sha256", separator, *exits),
        "9": replay("sha256", options, initrd),
    },
    on + "tpm/pcrs/sha384": {
        "4": replay("sha384", program, calling, separator),
        "5": replay("sha384", separator, *exits),
        "9": replay("sha384", options, initrd),
    },
    unsigned + "td/rtmr1": replay("sha384", calling, separator, *exits),
}
subject = [
    {"name": name, "digest": {"sha256": hashlib.sha256(data).hexdigest()}} for name, data in [("kernel", kernel), ("initrd", initrd)]
]
print(json.dumps({"subject": subject, "registers": registers}, indent=1))
