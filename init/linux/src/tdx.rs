// UNSAFETY: one ioctl, `TDX_CMD_GET_REPORT0`, in two unsafe calls of rustix (its argument, and the ioctl). None of the
// dependencies has it, and configfs-tsm returns only quotes.

//! The TDREPORT of this trust domain from the TDX module.
//!
//! Source: drivers/virt/coco/tdx-guest and `include/uapi/linux/tdx-guest.h` of Linux.

use std::fs::OpenOptions;

use rustix::ioctl::{Updater, ioctl, opcode};

use crate::Error;

const DEVICE: &str = "/dev/tdx_guest";
/// The bytes of a TDREPORT that identify a domain: TDATTRIBUTES, XFAM, MRTD, MRCONFIGID, MROWNER, MROWNERCONFIG, RTMR0 to RTMR3.
const IDENTITY: std::ops::Range<usize> = 512..912;

/// `TDX_CMD_GET_REPORT0`.
const GET_REPORT0: rustix::ioctl::Opcode = opcode::read_write::<ReportRequest>(b'T', 1);

/// `struct tdx_report_req`.
#[repr(C)]
struct ReportRequest {
    report_data: [u8; 64],
    report: [u8; 1024],
}

/// Reads the identity of this domain from a TDREPORT, 400 bytes: TDATTRIBUTES, XFAM, MRTD, MRCONFIGID, MROWNER, MROWNERCONFIG, RTMR0
/// to RTMR3.
///
/// # Errors
/// `ENOENT` without the driver; as the driver's `TDX_CMD_GET_REPORT0`.
#[expect(unsafe_code, reason = "no crate has this ioctl")]
pub fn identity() -> Result<Vec<u8>, Error> {
    let device = OpenOptions::new().read(true).write(true).open(DEVICE).map_err(|e| Error::io("open", DEVICE, &e))?;
    let mut request = ReportRequest { report_data: [0; 64], report: [0; 1024] };
    // SAFETY: the opcode belongs to a structure of exactly this size and layout, which the driver reads and fills.
    let call = unsafe { Updater::<GET_REPORT0, ReportRequest>::new(&mut request) };
    // SAFETY: the descriptor is of the driver's device, and the structure outlives the call.
    unsafe { ioctl(&device, call) }.map_err(|errno| Error::new("TDX_CMD_GET_REPORT0", DEVICE, errno))?;
    Ok(request.report.get(IDENTITY).unwrap_or_default().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_the_one_of_the_kernel_header() {
        // _IOWR('T', 1, struct tdx_report_req), 1088 bytes.
        assert_eq!(GET_REPORT0, 0xc440_5401);
    }
}
