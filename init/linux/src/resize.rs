//! Growing a mounted file system to the size of its device, by the ioctls that resize2fs, xfs_growfs and btrfs use.

use std::fs::File;

use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

use crate::Error;

/// `EXT4_IOC_RESIZE_FS`: takes the new number of blocks. Source: include/uapi/linux/ext4.h.
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

/// What a file system is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// ext4 of so many blocks of its own size.
    Ext4 {
        /// Blocks.
        blocks: u64,
    },
    /// xfs of so many blocks of its own size.
    Xfs {
        /// Blocks.
        blocks: u64,
        /// The most that inodes may take: what the superblock has.
        inode_percent: u32,
    },
    /// btrfs on this device of its own, as large as that.
    Btrfs {
        /// The device's number in the file system.
        device: u64,
    },
}

/// Grows the mounted file system of `folder`. The call is repeated safely: a file system of that size stays as it is.
///
/// # Errors
/// As the file system says: `ENOSPC` and `EINVAL` where its layout cannot grow so far.
pub fn grow(folder: &File, to: Growth) -> Result<(), Error> {
    match to {
        Growth::Ext4 { blocks } => {
            // SAFETY: the kernel reads one u64, which is what the opcode says.
            #[expect(unsafe_code, reason = "no crate has this ioctl")]
            let done = unsafe { ioctl(folder, Setter::<EXT4_RESIZE, u64>::new(blocks)) };
            done.map_err(|errno| Error::new("EXT4_IOC_RESIZE_FS", blocks, errno))
        }
        Growth::Xfs { blocks, inode_percent } => {
            // SAFETY: the kernel reads one `struct xfs_growfs_data`, which is what the opcode says.
            #[expect(unsafe_code, reason = "no crate has this ioctl")]
            let done = unsafe { ioctl(folder, Setter::<XFS_GROW, XfsGrow>::new(XfsGrow { blocks, inode_percent })) };
            done.map_err(|errno| Error::new("XFS_IOC_FSGROWFSDATA", blocks, errno))
        }
        Growth::Btrfs { device } => {
            let mut arguments = BtrfsArguments { descriptor: 0, name: [0; 4088] };
            let text = format!("{device}:max");
            arguments.name.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
            // SAFETY: the kernel reads one `struct btrfs_ioctl_vol_args`, which is what the opcode says.
            #[expect(unsafe_code, reason = "no crate has this ioctl")]
            let done = unsafe { ioctl(folder, Setter::<BTRFS_RESIZE, BtrfsArguments>::new(arguments)) };
            done.map_err(|errno| Error::new("BTRFS_IOC_RESIZE", text, errno))
        }
    }
}

/// How many blocks the mounted file system of `folder` has for data.
///
/// # Errors
/// As fstatvfs(3).
pub fn data_blocks(folder: &File) -> Result<u64, Error> {
    let stat = rustix::fs::fstatvfs(folder).map_err(|errno| Error::new("statfs", "mount", errno))?;
    Ok(stat.f_blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_are_the_kernel_s() {
        // _IOW of the headers: 1 << 30 | size << 16 | type << 8 | number.
        assert_eq!((EXT4_RESIZE, XFS_GROW, BTRFS_RESIZE), (0x4008_6610, 0x4010_586e, 0x5000_9403));
        let folder = File::open("/proc").unwrap();
        for to in [Growth::Ext4 { blocks: 1 }, Growth::Xfs { blocks: 1, inode_percent: 25 }, Growth::Btrfs { device: 1 }] {
            assert_eq!(grow(&folder, to).unwrap_err().errno(), rustix::io::Errno::NOTTY);
        }
    }
}
