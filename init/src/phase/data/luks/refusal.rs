//! Retries an activation that libcryptsetup refused: its error does not tell a failed read from wrong content.

use std::path::Path;

use linux::block::{Access, DIRECT_ALIGN, Device};
use ondisk::luks2::DATA_OFFSET;

use super::Error;

/// Calls `open`, and calls it again when libcryptsetup refused although the disk is readable: it returns `EINVAL` or `ENODEV`
/// also when it or the kernel failed to read dm-integrity's superblock, and one failed read may be transient.
///
/// Source: cryptsetup 2.7.5, `INTEGRITY_read_superblock` in lib/integrity/integrity.c, `_dm_create_device` in lib/libdevmapper.c.
pub(super) fn retry_if_refused(
    open: &mut dyn FnMut() -> Result<Option<u32>, Error>,
    reads: &dyn Fn() -> Result<(), Error>,
) -> Result<Option<u32>, Error> {
    match open() {
        Err(Error::Library { io: false, text, .. }) => {
            log::warn!("data: {text}: checking whether the disk is readable, then opening it once more");
            reads()?;
            open()
        }
        outcome => outcome,
    }
}

/// Reads the block of `disk` that contains dm-integrity's superblock.
pub(super) fn check_readable(disk: &Path) -> Result<(), Error> {
    let read = || Device::open(disk, Access::Read)?.read(DATA_OFFSET, DIRECT_ALIGN);
    read().map(drop).map_err(Error::Superblock)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result of each try, the readability of the disk in between, the expected result and whether an error is transient.
    type Case = (Vec<Result<Option<u32>, Error>>, fn() -> Result<(), Error>, Result<Option<u32>, bool>);

    #[test]
    fn one_read_that_fails_never_ends_an_activation_for_good() {
        let refused = |io| Error::Library { call: "activate", text: "Invalid argument".to_owned(), io };
        let unread = || Err(Error::Superblock(linux::Error::io("read", "/dev/vdb", &std::io::ErrorKind::TimedOut.into())));
        let cases: Vec<Case> = vec![
            (vec![Ok(Some(1))], unread, Ok(Some(1))),
            (vec![Ok(None)], unread, Ok(None)),
            (vec![Err(refused(false)), Ok(Some(1))], || Ok(()), Ok(Some(1))),
            (vec![Err(refused(false)), Err(refused(false))], || Ok(()), Err(false)),
            (vec![Err(refused(false))], unread, Err(true)),
            (vec![Err(refused(true))], unread, Err(true)),
            (vec![Err(Error::Key)], unread, Err(false)),
        ];
        for (number, (tries, reads, want)) in cases.into_iter().enumerate() {
            let mut tries = tries.into_iter();
            let ended = retry_if_refused(&mut || tries.next().unwrap(), &reads);
            assert_eq!(ended.map_err(|error| error.is_io()), want, "{number}");
            assert_eq!(tries.count(), 0, "{number}");
        }
    }
}
