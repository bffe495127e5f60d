//! The TDX module's report on this very trust domain: drivers/virt/coco/tdx-guest, `include/uapi/linux/tdx-guest.h`.

use std::fs::OpenOptions;

use rustix::ioctl::{Updater, ioctl, opcode};

use crate::Error;

const DEVICE: &str = "/dev/tdx_guest";
/// Offset and length of what identifies a domain in a TDREPORT: attributes, XFAM, MRTD, the three owner fields, RTMR0-3.
const IDENTITY: std::ops::Range<usize> = 512..912;

/// `TDX_CMD_GET_REPORT0`.
const GET_REPORT0: rustix::ioctl::Opcode = opcode::read_write::<ReportRequest>(b'T', 1);

/// `struct tdx_report_req`.
#[repr(C)]
struct ReportRequest {
    report_data: [u8; 64],
    report: [u8; 1024],
}

/// Asks the TDX module what this domain is: 400 bytes, TDATTRIBUTES, XFAM, MRTD, MRCONFIGID, MROWNER, MROWNERCONFIG, RTMR0 to 3.
///
/// # Errors
/// `ENOENT` without the driver; as the driver's `TDX_CMD_GET_REPORT0`.
#[expect(unsafe_code, reason = "no crate has this ioctl")]
pub fn identity() -> Result<Vec<u8>, Error> {
    let device = OpenOptions::new().read(true).write(true).open(DEVICE).map_err(|e| Error::io("open", DEVICE, &e))?;
    let mut request = ReportRequest { report_data: [0; 64], report: [0; 1024] };
    // SAFETY: the opcode is the driver's for a structure of exactly this size and layout, which it reads and fills.
    let call = unsafe { Updater::<GET_REPORT0, ReportRequest>::new(&mut request) };
    // SAFETY: the device is the driver's, and the structure outlives the call.
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
