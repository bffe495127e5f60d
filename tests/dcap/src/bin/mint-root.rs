//! `mint-root FOLDER`: makes the simulated root, or loads an existing one, and writes its certificate beside it.
#![expect(clippy::print_stderr, reason = "a build tool says what went wrong")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: mint-root FOLDER");
        return ExitCode::FAILURE;
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    let minted = dcap::Pki::load_or_mint(&folder.join("pki"), now).map_err(|e| e.to_string());
    match minted.and_then(|pki| std::fs::write(folder.join("root.der"), pki.root_der()).map_err(|e| e.to_string())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mint-root: {error}");
            ExitCode::FAILURE
        }
    }
}
