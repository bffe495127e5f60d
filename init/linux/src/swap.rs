//! Swap areas: where the kernel moves memory that is rarely used.

use std::ffi::CString;

use rustix::io::Errno;

use crate::Error;

/// Lets the kernel swap to the block device at `path`, which has a swap header. Nothing is discarded on it.
///
/// # Errors
/// `EINVAL` when there is no swap header; `ENOSYS` when the kernel cannot swap; as swapon(2).
pub fn enable(path: &str) -> Result<(), Error> {
    let name = CString::new(path).map_err(|_| Error::new("swapon", path, Errno::INVAL))?;
    // SAFETY: the pointer is to a string that ends with a NUL and lives until the call returns.
    #[expect(unsafe_code, reason = "neither rustix nor nix has this call")]
    let result = unsafe { nix::libc::swapon(name.as_ptr(), 0) };
    if result == 0 { Ok(()) } else { Err(Error::io("swapon", path, &std::io::Error::last_os_error())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_swap_area_is_refused() {
        let errno = |path| enable(path).map_err(|error| error.errno());
        // A user that may not swap is told so before the kernel looks.
        assert!(matches!(errno("/nowhere/swap"), Err(Errno::NOENT | Errno::PERM)));
        assert_eq!(errno("/a\0b"), Err(Errno::INVAL));
    }
}
