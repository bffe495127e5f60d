//! Headers of cryptsetup, and headers that a malicious host may write.

mod allowlist;
mod header;
mod header_auth;
mod image;
mod repair;
mod restore;
