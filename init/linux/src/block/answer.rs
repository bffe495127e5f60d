//! A timeout for requests to block devices. A device that let one request time out gets no other until it has answered that one.

use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use rustix::io::Errno;

use crate::Error;
use crate::threads::{self, lock};

/// Devices with a request that timed out. The weak pointer is alive while the thread of the request waits for the answer.
static UNANSWERED: Mutex<Vec<(String, Weak<()>)>> = Mutex::new(Vec::new());

/// The device that a request for `path` goes to. Some files below a disk's directory in sysfs are requests to the disk as well.
fn device_of(path: &Path) -> String {
    let below = path.strip_prefix("/sys/block").ok().and_then(|below| below.components().next());
    let name = below.map(std::path::Component::as_os_str).or(path.file_name());
    name.unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Does `work` on the device in a thread of its own. The host may never answer a request, and a thread cannot leave the system call
/// that waits for the answer. The thread of a request that timed out keeps its buffer: see [`unanswered`].
pub(super) fn in_time<T: Send + 'static>(
    call: &'static str,
    path: &Path,
    times: (Duration, Duration),
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let (on, silent) = (path.display().to_string(), || Error::new(call, path.display(), Errno::TIMEDOUT));
    if !unanswered(Some(path)).is_empty() {
        return Err(silent());
    }
    let lives = Arc::new(());
    let life = Arc::downgrade(&lives);
    let keepalive = move || {
        let outcome = work();
        drop(lives);
        outcome
    };
    let waiting = |seconds| log::warn!(target: "kernel", "{on}: a request to {call} has no answer for {seconds} s");
    let name = format!("{call} {}", on.rsplit('/').next().unwrap_or(&on));
    let Some(outcome) = threads::in_time(&name, times, keepalive, &waiting)? else {
        lock(&UNANSWERED).push((device_of(path), life));
        return Err(silent());
    };
    outcome.map_err(|e| Error::io(call, path.display(), &e))
}

/// Lists the devices (only `of`, if given) that have not answered a request that timed out, separated by commas. A thread waits for
/// each answer, and an exec of this process would wait for the thread.
#[must_use]
pub fn unanswered(of: Option<&Path>) -> String {
    let mut names = String::new();
    let mut given_up = lock(&UNANSWERED);
    given_up.retain(|(_, life)| life.strong_count() > 0);
    for (name, _) in given_up.iter().filter(|(name, _)| of.is_none_or(|of| device_of(of) == *name)) {
        names.push_str(if names.is_empty() { "" } else { ", " });
        names.push_str(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Access, Device};

    #[test]
    fn device_that_has_not_answered_is_not_asked_again_until_it_does() {
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.as_file().set_len(4096).unwrap();
        let device = Device::open(file.path(), Access::Read).unwrap();
        let (times, path) = ((Duration::from_millis(5), Duration::from_millis(20)), file.path());
        let (answer, never) = std::sync::mpsc::channel();
        let hangs = in_time("read", path, times, move || never.recv().map_err(std::io::Error::other));
        assert_eq!(hangs, Err(Error::new("read", path.display(), Errno::TIMEDOUT)));
        assert_eq!(unanswered(Some(path)), device_of(path));
        assert_eq!(
            (device_of(Path::new("/sys/block/vdc/serial")), device_of(Path::new("/dev/vdc"))),
            ("vdc".to_owned(), "vdc".to_owned())
        );
        assert!(unanswered(None).contains(&unanswered(Some(path))));
        assert_eq!(device.read(0, 4096).unwrap_err().errno(), Errno::TIMEDOUT);
        assert_eq!(Device::open(path, Access::Read).unwrap_err().errno(), Errno::TIMEDOUT);
        assert_eq!(unanswered(Some(Path::new("/dev/vda"))), "");
        answer.send(()).unwrap();
        while !unanswered(Some(path)).is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(device.read(0, 4096).unwrap(), [0; 4096]);
    }
}
