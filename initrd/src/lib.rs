//! The archive format of the packer, which tests use as well.

pub mod cpio;
