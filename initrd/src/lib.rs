//! What the packer is made of that others use too: the archive format.

pub mod cpio;
