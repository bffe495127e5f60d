//! A step of the graph: what it reads, what it does, what it makes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::digest::{Digest, Input};
use crate::process::{CARGO, Children, IN_TOOLS_TREE, Run};

/// One thing that a step does. The digest covers all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Runs a command.
    Run(Run),
    /// Writes a file.
    Write(PathBuf, String),
    /// Copies a file with its mode.
    Copy(PathBuf, PathBuf),
    /// Makes a folder empty.
    Empty(PathBuf),
}

/// What the end of a step means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Makes its outputs; skipped while it is fresh.
    Build,
    /// One check: passed or failed. Runs each time.
    Check,
    /// A test runner, which counts what passed and failed; its output also goes to standard output if the field says so.
    Tests {
        /// Whether the output is shown while it runs.
        live: bool,
    },
    /// The check of advisories, whose database may be out of reach.
    Advisories,
    /// A fuzz target, which says how many inputs it ran.
    Fuzz,
}

/// Something that only one step may use at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// cargo's folder of debug builds.
    CargoDebug,
    /// mkosi's caches.
    Mkosi,
}

/// A node of the graph. Its edges come from paths: a step needs those steps whose outputs are among its inputs.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Shown to the operator; also names the log and the stored digest.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) inputs: Vec<Input>,
    pub(crate) actions: Vec<Action>,
    pub(crate) outputs: Vec<PathBuf>,
    /// Steps that end before this one starts, if they run at all.
    pub(crate) after: Vec<String>,
    pub(crate) lock: Option<Lock>,
    /// What the operator can do when it fails.
    pub(crate) advice: Option<&'static str>,
}

impl Step {
    pub(crate) fn new(name: impl Into<String>, kind: Kind) -> Self {
        let (inputs, actions, outputs, after) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { name: name.into(), kind, inputs, actions, outputs, after, lock: None, advice: None }
    }

    /// Adds files or folders that it reads.
    pub(crate) fn reads<P: Into<PathBuf>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.inputs.extend(paths.into_iter().map(|path| Input::Path(path.into())));
        self
    }

    /// Adds folders of Cargo packages that it reads.
    pub(crate) fn reads_packages(mut self, folders: impl IntoIterator<Item = PathBuf>) -> Self {
        self.inputs.extend(folders.into_iter().map(Input::Package));
        self
    }

    /// Adds files or folders that it makes.
    pub(crate) fn makes<P: Into<PathBuf>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.outputs.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Adds a command. A script of `initrd/` is an input, with the script that it calls; so is cargo's configuration.
    pub(crate) fn runs(mut self, run: Run) -> Self {
        let called: &[&str] = if run.program == CARGO { &[IN_TOOLS_TREE, ".cargo"] } else { &[] };
        let script = Some(run.program.as_str()).filter(|program| program.starts_with("initrd/"));
        self = self.reads(script.into_iter().chain(called.iter().copied()));
        self.actions.push(Action::Run(run));
        self
    }

    pub(crate) fn does(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }

    pub(crate) fn after<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.after.extend(names.into_iter().map(Into::into));
        self
    }

    pub(crate) fn locks(mut self, lock: Lock) -> Self {
        self.lock = Some(lock);
        self
    }

    pub(crate) fn advises(mut self, advice: &'static str) -> Self {
        self.advice = Some(advice);
        self
    }

    /// The name with only letters and digits, for the names of its files.
    pub(crate) fn file_name(&self) -> String {
        let words = self.name.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join("-")
    }

    /// Where its output goes, relative to the project.
    pub(crate) fn log(&self) -> PathBuf {
        Path::new("target/logs").join(self.file_name() + ".log")
    }

    fn record(&self) -> PathBuf {
        Path::new("target/digests").join(self.file_name())
    }

    /// The digest of inputs, actions, outputs' names and versions of tools.
    fn digest(&self, top: &Path, tools: &str) -> io::Result<String> {
        let mut digest = Digest::new();
        digest.field("tools", tools.as_bytes());
        digest.field("actions", format!("{:?}", self.actions).as_bytes());
        digest.field("outputs", format!("{:?}", self.outputs).as_bytes());
        for input in &self.inputs {
            digest.input(top, input)?;
        }
        Ok(digest.hex())
    }

    /// Runs the step unless it is fresh: `Ok(false)` says that it was.
    pub(crate) fn bring_up_to_date(&self, top: &Path, tools: &str, children: &Children) -> Result<bool, StepError> {
        if self.kind != Kind::Build {
            return self.act(top, children).map(|()| true);
        }
        let (digest, record) = (self.digest(top, tools)?, top.join(self.record()));
        let made = |output: &PathBuf| top.join(output).exists();
        if fs::read_to_string(&record).is_ok_and(|stored| stored == digest) && self.outputs.iter().all(made) {
            return Ok(false);
        }
        // Without a record, a run that is cut short leaves the step stale.
        write_file(&record, "")?;
        self.outputs.iter().filter_map(|output| output.parent()).try_for_each(|folder| fs::create_dir_all(top.join(folder)))?;
        self.act(top, children)?;
        if let Some(output) = self.outputs.iter().find(|output| !made(output)) {
            return Err(StepError::NoOutput(output.clone()));
        }
        write_file(&record, &digest)?;
        Ok(true)
    }

    fn act(&self, top: &Path, children: &Children) -> Result<(), StepError> {
        fs::create_dir_all(top.join("target/logs"))?;
        let mut log = File::create(top.join(self.log()))?;
        for action in &self.actions {
            match action {
                Action::Run(run) => {
                    writeln!(log, "+ {} {}", run.program, run.arguments.join(" "))?;
                    let live = matches!(self.kind, Kind::Tests { live: true });
                    let status = children.run(run.command(top), &log, live)?;
                    if !status.success() {
                        return Err(StepError::Command(run.program.clone(), status));
                    }
                }
                Action::Write(path, text) => write_file(&top.join(path), text)?,
                Action::Copy(from, to) => {
                    fs::create_dir_all(top.join(to).parent().unwrap_or(top))?;
                    // A program that runs cannot be written to; its file can be replaced.
                    if top.join(to).exists() {
                        fs::remove_file(top.join(to))?;
                    }
                    fs::copy(top.join(from), top.join(to)).map(drop)?;
                }
                Action::Empty(path) => {
                    let folder = top.join(path);
                    if folder.exists() {
                        fs::remove_dir_all(&folder)?;
                    }
                    fs::create_dir_all(&folder)?;
                }
            }
        }
        Ok(())
    }
}

fn write_file(path: &Path, text: &str) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(path, text)
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    /// A file or a process could not be used.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A command failed.
    #[error("{0}: {1}")]
    Command(String, std::process::ExitStatus),
    /// The commands succeeded, but an output is missing.
    #[error("its commands did not make {0}")]
    NoOutput(PathBuf),
    /// Its thread panicked.
    #[error("a defect of the build tool: its thread panicked, with the message on standard error")]
    Panic,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_that_run_a_command_and_cargos_configuration_are_inputs() {
        let top = tempfile::tempdir().unwrap();
        let digests = || {
            let of = |run| Step::new("step", Kind::Build).runs(run).digest(top.path(), "").unwrap();
            [of(Run::cargo(["build"])), of(Run::in_tools_tree(["true"])), of(Run::new("true", ["a"]))]
        };
        let mut before = digests();
        for (file, changes) in [
            ("initrd/cargo-in-tools-tree", [true, false, false]),
            ("initrd/run-in-tools-tree", [true, true, false]),
            (".cargo/config.toml", [true, false, false]),
        ] {
            write_file(&top.path().join(file), "").unwrap();
            let after = digests();
            let changed: Vec<bool> = before.iter().zip(&after).map(|(before, after)| before != after).collect();
            assert_eq!(changed, changes, "{file}");
            before = after;
        }
    }
}
