// UNSAFETY: three ioctls, one for each file system, which resize a mounted file system. No crate has them; rustix checks direction and
// size of the argument, and its `ioctl` is unsafe since the opcode must fit the file system.

//! Growing a mounted file system to the size of its device, with the ioctls that resize2fs, xfs_growfs and btrfs use.

use std::fs::File;

use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

use crate::Error;

/// `EXT4_IOC_RESIZE_FS`: its argument is the new number of blocks. Source: include/uapi/linux/ext4.h.
const EXT4_RESIZE: Opcode = opcode::write::<u64>(b'f', 16);
/// `XFS_IOC_FSGROWFSDATA`. Source: fs/xfs/libxfs/xfs_fs.h.
const XFS_GROW: Opcode = opcode::write::<XfsGrow>(b'X', 110);
/// `BTRFS_IOC_RESIZE`. Source: include/uapi/linux/btrfs.h.
const BTRFS_RESIZE: Opcode = opcode::write::<BtrfsArguments>(0x94, 3);

/// `struct xfs_growfs_data`.
#[repr(C)]
struct XfsGrow {
    blocks: u64,
    inode_percent: u32,
}

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct BtrfsArguments {
    descriptor: i64,
    name: [u8; 4088],
}

/// The new size of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// ext4.
    Ext4 {
        /// The number of file system blocks.
        blocks: u64,
    },
    /// XFS.
    Xfs {
        /// The number of file system blocks.
        blocks: u64,
        /// The most space for inodes, in percent: the value of the superblock.
        inode_percent: u32,
    },
    /// btrfs: as large as its device.
    Btrfs {
        /// The number of the device in the file system.
        device: u64,
    },
}

/// Grows the mounted file system that contains `directory`. A file system of that size already is not changed.
///
/// # Errors
/// The error of the file system: `ENOSPC` and `EINVAL` where its layout cannot grow so far.
pub fn grow(directory: &File, to: Growth) -> Result<(), Error> {
    match to {
        Growth::Ext4 { blocks } => {
            // SAFETY: the kernel reads one u64, as the opcode says.
            #[expect(unsafe_code, reason = "no crate has this ioctl")]
            let done = unsafe { ioctl(directory, Setter::<EXT4_RESIZE, u64>::new(blocks)) };
            done.map_err(|errno| Error::new("EXT4_IOC_RESIZE_FS", blocks, errno))
        }
        Growth::Xfs { blocks, inode_percent } => {
            // SAFETY: the kernel reads one `struct xfs_growfs_data`, as the opcode says.
            #[expect(unsafe_code, reason = "no crate has this ioctl")]
            let done = unsafe { ioctl(directory, Setter::<XFS_GROW, XfsGrow>::new(XfsGrow { blocks, inode_percent })) };
            done.map_err(|errno| Error::new("XFS_IOC_FSGROWFSDATA", blocks, errno))
        }
        Growth::Btrfs { device } => {
            let mut arguments = BtrfsArguments { descriptor: 0, name: [0; 4088] };
            let text = format!("{device}:max");
            arguments.name.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
            // SAFETY: the kernel reads one `struct btrfs_ioctl_vol_args`, as the opcode says.
            #[expect(unsafe_code, reason = "no crate has this ioctl")]
            let done = unsafe { ioctl(directory, Setter::<BTRFS_RESIZE, BtrfsArguments>::new(arguments)) };
            done.map_err(|errno| Error::new("BTRFS_IOC_RESIZE", text, errno))
        }
    }
}

/// Returns the number of data blocks (`f_blocks`) of the mounted file system that contains `directory`.
///
/// # Errors
/// As fstatvfs(3).
pub fn data_blocks(directory: &File) -> Result<u64, Error> {
    let stat = rustix::fs::fstatvfs(directory).map_err(|errno| Error::new("statfs", "mount", errno))?;
    Ok(stat.f_blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_are_those_of_the_kernel_headers() {
        // _IOW of the headers: 1 << 30 | size << 16 | type << 8 | number.
        assert_eq!((EXT4_RESIZE, XFS_GROW, BTRFS_RESIZE), (0x4008_6610, 0x4010_586e, 0x5000_9403));
        let directory = File::open("/proc").unwrap();
        for to in [Growth::Ext4 { blocks: 1 }, Growth::Xfs { blocks: 1, inode_percent: 25 }, Growth::Btrfs { device: 1 }] {
            assert_eq!(grow(&directory, to).unwrap_err().errno(), rustix::io::Errno::NOTTY);
        }
    }
}
