//! Headers as cryptsetup writes them, and as a host would like us to believe them.

mod header;
mod header_auth;
mod image;
mod policy;
mod repair;
mod restore;
