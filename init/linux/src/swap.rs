// UNSAFETY: one call of swapon(2) through libc: neither rustix nor nix has it.

//! Activation of swap areas.

use std::ffi::CString;

use rustix::io::Errno;

use crate::Error;

/// Activates the swap area on the block device at `path`, without discards.
///
/// # Errors
/// `EINVAL` without a swap header; `ENOSYS` when the kernel does not support swap; as swapon(2).
pub fn enable(path: &str) -> Result<(), Error> {
    let name = CString::new(path).map_err(|_| Error::new("swapon", path, Errno::INVAL))?;
    // SAFETY: the pointer is to a NUL-terminated string that lives until the call returns.
    #[expect(unsafe_code, reason = "neither rustix nor nix has this call")]
    let result = unsafe { nix::libc::swapon(name.as_ptr(), 0) };
    if result == 0 { Ok(()) } else { Err(Error::io("swapon", path, &std::io::Error::last_os_error())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_is_not_a_swap_area_is_refused() {
        let errno = |path| enable(path).map_err(|error| error.errno());
        // Without CAP_SYS_ADMIN the kernel returns EPERM before it looks up the path.
        assert!(matches!(errno("/nowhere/swap"), Err(Errno::NOENT | Errno::PERM)));
        assert_eq!(errno("/a\0b"), Err(Errno::INVAL));
    }
}
