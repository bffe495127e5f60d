//! Threads have names, so that whoever waits for their end can say for whom.

use std::thread::{Builder, JoinHandle};

/// Starts a thread; the kernel keeps the first 15 bytes of `name`. Boxed, so that the binary has what starts a thread once.
///
/// # Errors
/// As clone(2).
pub(crate) fn spawn(name: &str, work: Box<dyn FnOnce() + Send>) -> Result<JoinHandle<()>, kernel::Error> {
    Builder::new().name(name.to_owned()).spawn(work).map_err(|error| kernel::Error::io("clone", name, &error))
}
