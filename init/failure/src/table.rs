//! The table of error codes, one row per code: number, name, phase, action, meaning, advice.
//!
//! The action is `PowerOff`, `Reboot`, or `Depends if "..."` where PID 1 decides by the error. A number is never used for another
//! failure; one that is no longer used goes to `RETIRED`. After a change run
//! `cvmctl explain --markdown > init/docs/error-codes.md`.

use std::fmt;

use crate::FailureAction;
use crate::code::{Phase, codes};

codes! {
    10 KernelFileSystem Early PowerOff;
        "A kernel file system (/proc, /sys, /dev, /run) could not be mounted."
        "Use the kernel that the initrd was made for; the line names the mount that failed. A kernel of your own must have proc, \
         sysfs, devtmpfs and tmpfs built in, and configfs built in or as a module of the initrd."
    11 KernelLog Early PowerOff;
        "The kernel's log, /dev/kmsg, could not be opened."
        "Use a kernel with CONFIG_PRINTK, as the kernels of Debian have."
    12 ModuleList Early PowerOff;
        "The list of kernel modules in the initrd, /etc/cvm-init/modules, cannot be read or has a malformed line."
        "Build the initrd again with initrd/build; do not edit the list in a packed initrd."
    13 Module Early PowerOff;
        "The kernel refused a module of the initrd, or a module found no device. The line names it. Modules that a \
         later phase loads (vsock, ciphers) end with this code too."
        "Boot the kernel version that the initrd was made for: kernel and modules must come from one build. Add a missing device to the \
         machine."
    14 ModuleSilent Early Reboot;
        "A module did not load within a minute, because a disk did not answer its driver. The line names the disk, which may be one that \
         this machine does not need."
        "Detach the disk that the line names, or repair its storage."

    20 CmdlineUnreadable Policy PowerOff;
        "/proc/cmdline could not be read, or is not UTF-8."
        "Print the command line as the loader passes it, and pass it to cvmctl cmdline check."
    21 UnknownKey Policy PowerOff;
        "The command line contains a cvm. key that this version does not have, or no longer has. The line names it."
        "Correct or remove the key; cvmctl cmdline check names the nearest key. If the image does not contain the key, the host added it."
    22 RepeatedKey Policy PowerOff;
        "The command line contains a key twice. The line names it."
        "Keep one of the two. If the image contains it once, the host added the other."
    23 MalformedValue Policy PowerOff;
        "A key of the command line has a value that its grammar does not allow. The line names the key."
        "Correct the value; cvmctl cmdline check prints what the key accepts."
    24 MissingKey Policy PowerOff;
        "The command line lacks a key that is required. The line names it."
        "Add the key; cvmctl cmdline check prints what it accepts. roothash is always required, the keys of the vaults with cvm.data."
    25 CmdlineForm Policy PowerOff;
        "The command line is too long, has a character that is not printable ASCII, a quotation mark, or a cvm. key after --."
        "Remove what the line names; cvmctl cmdline check shows where it is."
    26 KeyConflict Policy PowerOff;
        "Two keys of the command line contradict each other. The line names both."
        "Change one of the two keys."
    28 TrustFile Policy PowerOff;
        "A trust file of the initrd is missing or malformed, /etc/cvm-init/anchors does not contain exactly one root certificate, or \
         cvm.tcb=signature is given and floors.json lists no qe_signers."
        "Build the initrd again with initrd/build and correct files. For cvm.tcb=signature add qe_signers to floors.json \
         (initrd/floors/README.md)."
    29 Watchdog Policy PowerOff;
        "cvm.watchdog is given, and the machine has no watchdog, or none that waits so long."
        "Add a watchdog device to the machine, give fewer seconds, or remove cvm.watchdog."

    30 RootMissing Root Reboot;
        "The disk or partition with the root did not appear. The line lists what was seen."
        "Attach the disk with the image whose root hash is roothash; correct cvm.root if it is given."
    31 RootTable Root PowerOff;
        "The partition of the root was not found and a partition table is damaged, or the kernel has no such partition."
        "Write the image to the disk again; detach a disk with a damaged table that this machine does not need."
    32 RootAmbiguous Root PowerOff;
        "Two partitions or disks have the name or identifier of the root."
        "Detach one of the two, or name one with cvm.root=serial=."
    33 VeritySuperblock Root PowerOff;
        "The verity superblock was refused, or the data partition has not the size of the verified file system. The line gives both sizes."
        "Make the image again with initrd/image, without padding behind the file system, and use the roothash that it prints."
    34 VerityActivation Root PowerOff;
        "The kernel's device mapper refused the verity device."
        "Boot a kernel with dm-verity of the version that the initrd was made for."
    35 RootHash Root PowerOff;
        "The root on the disk does not match the measured root hash."
        "Write the image to the disk again. If it is intact there, roothash is that of another image: use the command line that was made \
         with this one. Otherwise the host changed the disk."
    36 RootFileSystem Root PowerOff;
        "The verified root is not erofs, or the kernel does not mount it."
        "Make the image with erofs (initrd/image does), with features that this kernel has."
    37 RootUnreadable Root Reboot;
        "The root disk cannot be opened or read, or has not answered for a minute."
        "Repair or replace the storage of the root disk if the reboot does not help."
    38 RootSectorSize Root PowerOff;
        "The partition table with the root was made for another sector size than the disk has. The line gives both."
        "Attach the disk with the sector size of the image, or make the image for that of the disk."
    39 DiskSilent Quiesce Reboot;
        "A disk that was read in the search for a partition has not answered for a minute, and still does not when root and key are \
         there. PID 1 cannot start the real init while a thread waits for it. No data disk or scratch disk was written to."
        "Detach the disk that the line names, or repair its storage."

    40 NoLink Net Reboot;
        "The machine has no Ethernet link, or not the one that cvm.net names."
        "Attach a NIC whose driver is in initrd/modules.list; correct if= in cvm.net."
    41 NoCarrier Net Reboot;
        "The links that cvm.net allows have no carrier."
        "Connect the NIC at the hypervisor or switch."
    42 NoLease Net Reboot;
        "No DHCP server gave an address until cvm.vault.timeout was over."
        "Start the DHCP server, or give the address with cvm.net=static:. The key cvm.net=slaac uses router advertisements instead."
    43 LinkRefused Net Reboot;
        "The kernel refused to configure a link. The line names the call and the error."
        "Check address, prefix length and gateway in cvm.net; then look at the host's network."
    44 NoRouter Net Reboot;
        "No router advertised a prefix of 64 bits for autoconfiguration until cvm.vault.timeout was over."
        "Start router advertisements, or give the address with cvm.net=static:. The key cvm.net=dhcp uses DHCPv4 instead."
    45 DuplicateAddress Net Reboot;
        "Another machine has the IPv6 address of this one, and had the three random ones that PID 1 tried next."
        "Find the machine that answers for every address; give this one an address with cvm.net=static:."

    50 TooFewShares Unlock Depends if "reboot; power off if PID 1 can no longer dial enough vaults (its random numbers fail)";
        "Fewer than cvm.vault.threshold shares arrived until cvm.vault.timeout was over: vaults did not answer, or not in the protocol. \
         The lines before it say of each vault why."
        "Start the vaults; correct cvm.vault. cvmctl key info shows which vaults have a share under cvm.vault.handle."
    51 Denied Unlock Depends if "reboot; power off if PID 1 can no longer dial enough vaults (its random numbers fail)";
        "Vaults denied the key until cvm.vault.timeout was over: the key's policy does not let in this machine's measurements, a vault's \
         attestation server did not answer, or the vaults do not have a key of this name that can be exported."
        "Predict the measurements of this image and machine with cvmctl measure, compare them with cvmctl key policy, and let them in with \
         cvmctl promote, or with cvmctl profile stage and then cvmctl profile promote. If they agree: check cvm.vault.handle with cvmctl key \
         info, and that the attestation servers of the key's policy answer the vaults."
    52 KeyUnproved Unlock Depends if "reboot; power off if PID 1 can no longer dial enough vaults (its random numbers fail)";
        "Enough shares arrived, and they make no key that matches cvm.vault.key-commitment: other vaults than the owner's answer, too many \
         vaults lie, or the commitment is that of another key."
        "Check cvm.vault and cvm.vault.handle; compare cvm.vault.key-commitment with what cvmctl provision printed."
    53 VaultsUntrusted Unlock Depends if "reboot; power off if PID 1 can no longer dial enough vaults (its random numbers fail)";
        "The evidence or the certificate of vaults did not verify until cvm.vault.timeout was over. The lines before it name the rule for \
         each vault."
        "Add the MRENCLAVE of the vaults' build to cvm.vault.mrenclave, or an accepted status to cvm.tcb; update the vaults' platform. \
         A platform that is not listed: correct cvm.vault.platforms. A certificate of another node CA: build the initrd with that CA in \
         CVM_NODE_CA. A lower bound or a denied advisory: initrd/floors. cvmctl quote verify shows each check. If the line names a MRENCLAVE that you do not know, another server answers."
    54 OwnEvidence Unlock Depends if "reboot; power off if PID 1 can no longer dial enough vaults (its random numbers fail)";
        "This machine has no evidence that a vault accepts: the host's quoting service gives no quote, or vaults reject its form (HTTP 400 \
         or 403)."
        "Start the quote generation service on the host; check that the machine is a TDX guest with a kernel that has configfs-tsm."
    55 UnlockSetup Unlock PowerOff;
        "PID 1 could not make its client key or a thread, or cvm.vault.threshold cannot be met."
        "Correct cvm.vault.threshold (2 to the number of vaults). Otherwise give the machine more memory."
    56 KeyExpired Unlock Depends if "reboot; power off if PID 1 can no longer dial enough vaults (its random numbers fail)";
        "The key's lifetime is over at so many vaults that fewer than cvm.vault.threshold are left."
        "No disk of this key can be opened any more, since vaults do not extend a lifetime: provision a new key with cvmctl provision and \
         restore a backup to a blank disk. Rotate keys before they expire: the console warns 14 days before."
    57 CollateralStale Unlock Depends if "reboot; power off if PID 1 can no longer dial enough vaults (its random numbers fail)";
        "The collateral of vaults is missing or out of date until cvm.vault.timeout was over."
        "Give a cache of collateral with cvm.pccs, repair the one that is given, or build the initrd with CVM_COLLATERAL. Set the clock of \
         the host."

    60 ScratchMissing Scratch Depends if "reboot if the disk did not appear or cannot be read, or the kernel failed; else power off";
        "A scratch disk did not appear, is ambiguous, its partition table is damaged, or two selectors of cvm.scratch find one disk."
        "Attach the disk, or correct cvm.scratch; the line says which."
    61 ScratchUnusable Scratch Depends if "power off if the disk is read-only; else reboot";
        "A scratch disk cannot be opened, read or written."
        "Attach the disk writable; repair or replace its storage."
    62 ScratchInUse Scratch PowerOff;
        "A scratch disk is neither blank nor marked as one. The line names its contents. Nothing was written."
        "Correct cvm.scratch. If nothing on the disk is needed, write zeros to its first 17 MiB and its last 1 MiB."
    63 ScratchPlace Scratch PowerOff;
        "The image contains no folder at the mount point of a scratch disk, or a link is there; or the disk is smaller than 32 MiB."
        "Add the folder to the image (mkosi.extra), or attach a larger disk."
    64 ScratchOpen Scratch Depends if "reboot if the disk failed to read or write; else power off";
        "The kernel or libcryptsetup refused to open a scratch disk."
        "Boot a kernel with dm-crypt and dm-integrity; the line names the call that failed."
    65 ScratchFileSystem Scratch Depends if "reboot if the disk failed to read or write; else power off";
        "No file system could be made on a scratch disk or mounted: the image contains no mkfs.ext4, or it failed."
        "Add e2fsprogs to the image; the line names what failed."
    66 ScratchSwap Scratch Depends if "reboot if the disk failed to read or write; else power off";
        "The kernel did not accept a scratch disk as swap."
        "Boot a kernel with CONFIG_SWAP, or give the disk a mount point in cvm.scratch."

    70 DataMissing Data Depends if "reboot if the disk did not appear or cannot be read, or the kernel failed; else power off";
        "A data disk did not appear (the line lists the serial numbers that were seen), is ambiguous, its partition table is damaged or \
         made for another sector size, or two data disks of cvm.data are one device."
        "Attach the disk, or correct cvm.data; detach the second disk of that name."
    71 DataUnreadable Data Reboot;
        "The header of a data disk or the file system on it cannot be read, or a read has not been answered for a minute."
        "Repair or replace the storage of the disk if the reboot does not help; restore a backup to the new one."
    72 DataUnformatted Data Depends if "reboot if the vaults' time is not known; else power off";
        "A data disk is blank, or its first format was interrupted, and the command line does not let PID 1 format it: cvm.data.format is \
         never, or cvm.data.format-until is over by the vaults' time, or that time is not known."
        "For a new disk boot the image whose command line has cvm.data.format=if-blank. A disk that had data must not be blank: attach the \
         right one."
    73 DataForeign Data PowerOff;
        "A data disk is neither blank nor LUKS2. Nothing was written."
        "Attach the right disk. If only its header is damaged, write back a saved one with cvmctl header restore. A new disk must be all \
         zeros."
    74 DataHeader Data PowerOff;
        "The LUKS2 header of a data disk is malformed."
        "See why with cvmctl header check; write back a saved header with cvmctl header restore."
    75 DataPolicy Data PowerOff;
        "The LUKS2 header of a data disk breaks a rule of the allow-list. The line names the rule."
        "See every rule with cvmctl header check --cmdline. Correct cvm.data.cipher, or boot the image that began the format or the \
         rotation (cvm.vault.previous) to finish it."
    76 DataOpen Data Depends if "reboot if the disk failed to read or write; else power off";
        "libcryptsetup or the kernel refused to open a data disk with its key."
        "The line names the call that failed. Boot a kernel with dm-crypt, dm-integrity and the disk's cipher; check the disk with cvmctl \
         header check."
    77 DataMount Data Depends if "reboot if the disk failed to read or write; else power off";
        "The file system on a data disk does not mount, or its driver is missing in the image or does not load."
        "Correct cvm.data.fstype, or add the driver to the image. For a damaged file system boot with cvm.data.check=force, or with \
         cvm.data.open=no-mount to repair it by hand."
    78 DataMountpoint Data PowerOff;
        "The image contains no folder at the mount point of a data disk, or a link is there."
        "Add the folder to the image (mkosi.extra), or correct cvm.data.mount."
    79 DataSize Data PowerOff;
        "A data disk is smaller than 32 MiB, than its file system, or than writes that its journal still holds. The line gives both sizes."
        "Give the disk its former size; a new disk needs 32 MiB."
    80 FormatHeader Data Depends if "reboot if the disk failed to read or write; else power off";
        "The first format could not make the header, had no random numbers, or found the disk changed since it was read."
        "End every other machine that has the disk. The next boot formats it from the start."
    81 FormatWrite Data Depends if "reboot if the disk failed to read or write; else power off";
        "A write to a data disk failed during the first format, a rotation or a change of size."
        "Attach the disk writable; repair or replace its storage. The next boot continues or starts again, as the disk needs."
    82 FormatFileSystem Data Depends if "reboot if the disk failed to read or write; else power off";
        "The first format could not make the file system: the image contains no mkfs for cvm.data.fstype, or it failed."
        "Add e2fsprogs, xfsprogs or btrfs-progs to the image; give the machine more memory for a disk of many TiB."
    83 DataChanged Data Depends if "reboot if another machine wrote to the disk; else power off";
        "A data disk is not what it was before the unlock: a header does not read back as written, the disk was exchanged, or another \
         machine wrote to it while its key was fetched."
        "End the other machine that has the disk open, or detach the disk from it. Two machines that write destroy the file system."
    84 HeaderUnauthenticated Data PowerOff;
        "The header of a data disk carries no authentication code, and cvm.data.header-auth=require demands one."
        "For a disk that another tool or an early version formatted, boot once with cvm.data.header-auth=auto and rotate its key, which \
         authenticates the header. Otherwise the host removed the code: write back a saved header with cvmctl header restore."
    85 HeaderAuth Data PowerOff;
        "The authentication code of a data disk's header, or of the record of a begun format, does not verify under the key: the disk \
         belongs to another key, or the host changed its header."
        "Attach the disk of this key, or name its key in cvm.vault.handle and cvm.vault.key-commitment. For a damaged header use cvmctl \
         header restore."
    86 FileSystemCheck Data Depends if "power off if the check left errors; else reboot";
        "The check of the file system left errors, could not read the disk, or was ended before it was through."
        "Copy the disk, then boot with cvm.data.check=force. If errors are left, boot with cvm.data.open=no-mount and repair \
         /dev/mapper/data-crypt by hand, or restore a backup."
    87 InodeTables Data Depends if "reboot if a write or the recovery of the journal failed; else power off";
        "Blocks of inode tables that were never written cannot be written, the file system is not what its superblock says, or its journal \
         cannot be emptied."
        "Boot with cvm.data.open=no-mount and repair /dev/mapper/data-crypt with fsck."
    89 DataUuid Data PowerOff;
        "The LUKS UUID of a data disk is not that of cvm.data.uuid. The line gives both."
        "Attach the right disk, or correct cvm.data.uuid (cvmctl header check prints the disk's)."

    90 RegisterAbsent Measure PowerOff;
        "cvm.measure names a register that the machine does not have or cannot use; or the kernel does not let this TD extend its RTMRs, \
         and vaults are needed."
        "Boot Linux 6.16 or later in a TD, add a TPM to the machine, or change cvm.measure. cvm.measure=off lets a later program of the \
         running system ask for the key."
    91 BootReport Handoff PowerOff;
        "The boot report could not be written to /run/cvm-init."
        "Give the machine more memory: /run is in memory."
    92 MoveMounts Handoff PowerOff;
        "A mount could not be moved into the verified root."
        "Add the folders /dev, /proc, /sys and /run to the image."
    93 EmptyInitramfs Handoff PowerOff;
        "The initramfs could not be emptied."
        "Boot the kernel that the initrd was made for and report the line: this is not expected."
    94 NoInit Handoff Depends if "reboot if the root disk returned EIO; else power off";
        "The program that init= names cannot be started from the verified root: it does not exist, is no executable file, is neither ELF \
         for x86-64 nor a script, or its interpreter or loader is none of these."
        "Correct init= or the image; the line names the file and its fault."
    95 ExecInit Handoff Depends if "reboot if the root disk returned EIO; else power off";
        "The kernel refused to execute the real init."
        "Correct init= or the image; the line gives the kernel's error."
    96 MeasureFailed Measure PowerOff;
        "An RTMR, the TPM or the event log did not accept a measurement."
        "Repair the TPM, or leave it out with cvm.measure=rtmr. In a TD report the line: RTMRs are not expected to fail."
    97 CmdlineUnmeasured Measure PowerOff;
        "cvm.measure.require-cmdline demands it, and the firmware's event log does not prove that the digest of this command line was extended."
        "Boot through a chain that measures it (a UKI; direct boot without a TPM); see the log with cvmctl log show. Otherwise \
         remove the key."
    98 Unfinished Quiesce Depends if "reboot if threads did not end; else power off";
        "Threads of PID 1 did not end in 40 s, or a request for a quote was not removed. The line names them: a vault's thread waits for \
         a quote, one that opens or reads a disk for that disk."
        "Repair the host's quoting service, or the disk that the line names."
    99 Defect Internal PowerOff;
        "PID 1 panicked or crashed: a defect of cvm-init."
        "Report the line with the version and the console to the project."
}

impl ErrorCode {
    /// The code with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.number() == number)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E{}", self.number())
    }
}
