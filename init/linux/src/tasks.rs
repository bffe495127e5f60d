//! The threads of this process, as `/proc/self/task` lists them: those of C libraries as well.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::Error;

/// What procfs says of a thread that has ended, which the standard library has no kind for.
const ESRCH: i32 = 3;
const FOLDER: &str = "/proc/self/task";

/// The names of all threads of this process but the first, which is the one that runs `main`; separated by commas.
///
/// # Errors
/// As reading the folder.
pub fn others() -> Result<String, Error> {
    in_folder(Path::new(FOLDER), std::process::id()).map_err(|e| Error::io("read", FOLDER, &e))
}

fn in_folder(folder: &Path, first: u32) -> std::io::Result<String> {
    let mut names = String::new();
    for task in fs::read_dir(folder)? {
        let task = task?;
        if task.file_name().to_str().and_then(|number| number.parse().ok()) == Some(first) {
            continue;
        }
        match fs::read_to_string(task.path().join("comm")) {
            Ok(name) => {
                names.push_str(if names.is_empty() { "" } else { ", " });
                names.push_str(name.trim_end());
            }
            // It has ended meanwhile.
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
        let folder = tempfile::tempdir().unwrap();
        for (task, name) in [("1", "init"), ("42", "vault 1"), ("7", "net")] {
            fs::create_dir(folder.path().join(task)).unwrap();
            fs::write(folder.path().join(task).join("comm"), format!("{name}\n")).unwrap();
        }
        fs::create_dir(folder.path().join("9")).unwrap(); // ended between the list and the look
        let names = in_folder(folder.path(), 1).unwrap();
        assert!(["net, vault 1", "vault 1, net"].contains(&names.as_str()), "{names}");
        assert!(in_folder(&folder.path().join("none"), 1).is_err());
    }

    #[test]
    fn thread_of_this_test_is_seen() {
        let work = || others().unwrap().contains("seen");
        assert!(std::thread::Builder::new().name("seen".to_owned()).spawn(work).unwrap().join().unwrap());
    }
}
