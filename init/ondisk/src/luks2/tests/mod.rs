//! Headers as cryptsetup writes them, and as a host would like us to believe them.

mod allowlist;
mod header;
mod header_auth;
mod image;
mod repair;
mod restore;
