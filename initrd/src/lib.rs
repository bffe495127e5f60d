//! The archive format of the packer and the names that PID 1 reads, which tests use as well.

pub mod cpio;

/// The name of the certificate of node CA `number` in `/etc/cvm-init/anchors`. PID 1 knows it by its prefix.
#[must_use]
pub fn node_ca_name(number: usize) -> String {
    format!("node-ca-{number}.der")
}
