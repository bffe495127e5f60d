//! `stress`, in the tests' image: works on a file system with many processes, and later checks that synced files are whole.
//!
//! `stress work FOLDER PROCESSES ROUNDS SEED`: each process creates, writes, renames, deletes and syncs files in its own folders
//! and in a shared one. `stress verify FOLDER PROCESSES`: compares every synced file with its expected content.
#![expect(clippy::print_stdout, reason = "the scenario reads what this says")]

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The largest file, in bytes.
const FILE_MAX: u64 = 24 << 10;
/// Folders per process: ext4 spreads folders over its block groups.
const FOLDERS: u64 = 8;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let parts: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    let outcome = match parts.as_slice() {
        ["work", folder, processes, rounds, seed] => work(folder, number(processes), number(rounds), number(seed)),
        ["one", folder, process, rounds, seed] => Process::new(folder, number(process), number(seed)).run(number(rounds)),
        ["verify", folder, processes] => verify(Path::new(folder), number(processes)),
        _ => Err(io::Error::other("usage: stress work FOLDER PROCESSES ROUNDS SEED | verify FOLDER PROCESSES")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("stress: {error}");
            ExitCode::FAILURE
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

/// Starts the processes and waits for all.
fn work(folder: &str, processes: u64, rounds: u64, seed: u64) -> io::Result<()> {
    fs::create_dir_all(Path::new(folder).join("shared"))?;
    let program = std::env::current_exe()?;
    let start = |process: u64| {
        let parts = ["one".to_owned(), folder.to_owned(), process.to_string(), rounds.to_string(), seed.to_string()];
        Command::new(&program).args(parts).spawn()
    };
    let children: Vec<_> = (0..processes).map(start).collect::<io::Result<_>>()?;
    let mut failed = 0;
    for mut child in children {
        failed += u64::from(!child.wait()?.success());
    }
    println!("stress: {processes} processes, {failed} with errors");
    if failed == 0 { Ok(()) } else { Err(io::Error::other("errors")) }
}

/// One process and its counters.
struct Process {
    number: u64,
    home: PathBuf,
    shared: PathBuf,
    random: Random,
    created: u64,
    errors: u64,
}

/// An existing file: its path, and the seed and length of its content.
#[derive(Clone)]
struct Kept {
    path: PathBuf,
    seed: u64,
    length: u64,
}

impl Process {
    fn new(folder: &str, number: u64, seed: u64) -> Self {
        let folder = Path::new(folder);
        let home = folder.join(format!("p{number}"));
        Self { number, home, shared: folder.join("shared"), random: Random(seed ^ number << 32), created: 0, errors: 0 }
    }

    /// Counts a failure and prints the first few.
    fn count<T>(&mut self, what: &str, result: io::Result<T>) -> Option<T> {
        result
            .inspect_err(|error| {
                self.errors += 1;
                if self.errors <= 3 {
                    println!("stress: process {}: {what}: {error}", self.number);
                }
            })
            .ok()
    }

    fn run(mut self, rounds: u64) -> io::Result<()> {
        for folder in 0..FOLDERS {
            let made = fs::create_dir_all(self.home.join(folder.to_string()));
            self.count("mkdir", made);
        }
        let mut kept: Vec<Kept> = Vec::new();
        for round in 0..rounds {
            if let Some(file) = self.create(round) {
                kept.push(file);
            }
            match self.random.below(6) {
                0 => self.rename(&mut kept, round),
                1 => self.delete(&mut kept),
                2 => self.append(&mut kept),
                _ => {}
            }
        }
        self.sync(&kept);
        println!("stress: process {}: {} files, {} kept, {} errors", self.number, self.created, kept.len(), self.errors);
        if self.errors == 0 { Ok(()) } else { Err(io::Error::other("errors")) }
    }

    /// Creates a file; every eighth is synced at once, as databases do.
    fn create(&mut self, round: u64) -> Option<Kept> {
        let name = format!("f{}-{round}", self.number);
        let path = match self.random.below(10) {
            0 => self.shared.join(name),
            _ => self.home.join(self.random.below(FOLDERS).to_string()).join(name),
        };
        let (seed, length) = (self.random.next(), self.random.below(FILE_MAX));
        let written = File::create(&path).and_then(|mut file| {
            write_content(&mut file, seed, 0..length)?;
            if round.is_multiple_of(8) { file.sync_all() } else { Ok(()) }
        });
        self.created += 1;
        self.count("create", written).map(|()| Kept { path, seed, length })
    }

    fn pick(&mut self, kept: &[Kept]) -> Option<usize> {
        let at = self.random.below(u64::try_from(kept.len()).unwrap_or(0));
        usize::try_from(at).ok().filter(|at| *at < kept.len())
    }

    fn rename(&mut self, kept: &mut [Kept], round: u64) {
        let Some(at) = self.pick(kept) else { return };
        let target = self.home.join(self.random.below(FOLDERS).to_string()).join(format!("r{}-{round}", self.number));
        let Some(file) = kept.get_mut(at) else { return };
        let renamed = fs::rename(&file.path, &target);
        if renamed.is_ok() {
            file.path = target;
        }
        self.count("rename", renamed);
    }

    fn delete(&mut self, kept: &mut Vec<Kept>) {
        if let Some(at) = self.pick(kept) {
            let deleted = fs::remove_file(&kept.swap_remove(at).path);
            self.count("delete", deleted);
        }
    }

    fn append(&mut self, kept: &mut [Kept]) {
        let Some(at) = self.pick(kept) else { return };
        let more = self.random.below(FILE_MAX);
        let Some(file) = kept.get_mut(at) else { return };
        let appended = File::options()
            .append(true)
            .open(&file.path)
            .and_then(|mut open| write_content(&mut open, file.seed, file.length..file.length + more));
        if appended.is_ok() {
            file.length += more;
        }
        self.count("append", appended);
    }

    /// Syncs all files, then the list of them.
    fn sync(&mut self, kept: &[Kept]) {
        let mut list = String::new();
        for file in kept {
            let synced = File::open(&file.path).and_then(|open| open.sync_all());
            self.count("sync", synced);
            list.extend(
                [file.seed.to_string(), file.length.to_string(), file.path.display().to_string()].join(" ").chars().chain(['\n']),
            );
        }
        let mut folders: Vec<_> = (0..FOLDERS).map(|folder| self.home.join(folder.to_string())).collect();
        folders.extend([self.shared.clone(), self.home.clone()]);
        for folder in folders {
            let synced = File::open(folder).and_then(|open| open.sync_all());
            self.count("sync of a folder", synced);
        }
        let list = File::create(self.home.join("list")).and_then(|mut file| {
            file.write_all(list.as_bytes())?;
            file.sync_all()
        });
        self.count("list", list);
    }
}

/// Writes the bytes of `range` of the content that `seed` generates.
fn write_content(file: &mut File, seed: u64, range: std::ops::Range<u64>) -> io::Result<()> {
    file.write_all(&range.map(|at| byte(seed, at)).collect::<Vec<_>>())
}

/// The byte at `at` of the content of `seed`.
fn byte(seed: u64, at: u64) -> u8 {
    let eight_bytes = Random(seed.wrapping_add(at / 8)).next();
    eight_bytes.to_le_bytes().get(usize::try_from(at % 8).unwrap_or(0)).copied().unwrap_or(0)
}

/// Compares every file on the lists.
fn verify(folder: &Path, processes: u64) -> io::Result<()> {
    let (mut whole, mut wrong) = (0_u64, 0_u64);
    for process in 0..processes {
        let list = fs::read_to_string(folder.join(format!("p{process}/list")))?;
        for line in list.lines() {
            let mut parts = line.splitn(3, ' ');
            let (Some(seed), Some(length), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
                return Err(io::Error::other("list"));
            };
            let (seed, length) = (number(seed), number(length));
            let mut found = Vec::new();
            let read = File::open(path).and_then(|file| file.take(length + 1).read_to_end(&mut found));
            let same = read.is_ok() && digest(&found) == digest(&(0..length).map(|at| byte(seed, at)).collect::<Vec<_>>());
            if same {
                whole += 1;
            } else {
                wrong += 1;
                println!("stress: wrong {path}: {} bytes of {length}, {:?}", found.len(), read.err());
            }
        }
    }
    println!("stress: {whole} files whole, {wrong} wrong");
    if wrong == 0 { Ok(()) } else { Err(io::Error::other("files are lost")) }
}

fn digest(bytes: &[u8]) -> Vec<u8> {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().to_vec()
}

/// Pseudorandom numbers, the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or(0)
    }
}
