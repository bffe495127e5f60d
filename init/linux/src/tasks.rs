//! The threads of this process in `/proc/self/task`, including those of C libraries.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::Error;

/// The error of procfs for a thread that has ended; `std::io::ErrorKind` has no variant for it.
const ESRCH: i32 = 3;
const DIRECTORY: &str = "/proc/self/task";

/// Lists the names of all threads of this process except the main thread, separated by commas.
///
/// # Errors
/// As reading the directory.
pub fn others() -> Result<String, Error> {
    in_directory(Path::new(DIRECTORY), std::process::id()).map_err(|e| Error::io("read", DIRECTORY, &e))
}

fn in_directory(directory: &Path, first: u32) -> std::io::Result<String> {
    let mut names = String::new();
    for task in fs::read_dir(directory)? {
        let task = task?;
        if task.file_name().to_str().and_then(|number| number.parse().ok()) == Some(first) {
            continue;
        }
        match fs::read_to_string(task.path().join("comm")) {
            Ok(name) => {
                names.push_str(if names.is_empty() { "" } else { ", " });
                names.push_str(name.trim_end());
            }
            // The thread has ended meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_but_the_first_are_named() {
        let directory = tempfile::tempdir().unwrap();
        for (task, name) in [("1", "init"), ("42", "vault 1"), ("7", "net")] {
            fs::create_dir(directory.path().join(task)).unwrap();
            fs::write(directory.path().join(task).join("comm"), format!("{name}\n")).unwrap();
        }
        fs::create_dir(directory.path().join("9")).unwrap(); // ended between the list and the look
        let names = in_directory(directory.path(), 1).unwrap();
        assert!(["net, vault 1", "vault 1, net"].contains(&names.as_str()), "{names}");
        assert!(in_directory(&directory.path().join("none"), 1).is_err());
    }

    #[test]
    fn thread_of_this_test_is_seen() {
        let work = || others().unwrap().contains("seen");
        assert!(std::thread::Builder::new().name("seen".to_owned()).spawn(work).unwrap().join().unwrap());
    }
}
