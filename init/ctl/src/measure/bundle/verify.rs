//! `cvmctl measure verify`: computes the statement of an image again, and names each field that differs from that of a bundle.

use std::io;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::compare::{Difference, differences};
use super::image::{Files, Image};
use super::read::{self, Form, quoted};
use super::statement;
use crate::args::MeasureVerify;
use crate::run::Error;
use crate::show;

/// The most differences that are printed as lines; JSON has all.
const LINES_MAX: usize = 64;

/// Compares. Exit code 0 only if every field that the arguments do not exclude is equal.
pub(crate) fn verify(args: &MeasureVerify) -> Result<ExitCode, Error> {
    let (form, bundle) = read::file(&args.bundle)?;
    let image = Image::read(Files {
        image: args.image.as_deref(),
        kernel: args.kernel.as_deref(),
        initrd: args.initrd.as_deref(),
        cmdline: args.cmdline.as_deref(),
    })?;
    let firmware = args.firmware.as_deref().map(statement::firmware).transpose()?;
    let excluded = Excluded { files: args.without_file_digests, firmware: args.without_firmware };
    let result = Comparison::of(form, bundle, statement::of(&image, firmware.as_ref()), excluded);
    if args.json {
        show::json(&result.to_json())?;
    } else {
        result.print()?;
    }
    Ok(if result.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The parts that are not compared.
#[derive(Clone, Copy)]
struct Excluded {
    /// The digests of the image's files.
    files: bool,
    /// The firmware and its MRTD.
    firmware: bool,
}

/// The result.
struct Comparison {
    form: Form,
    /// The version of cvmctl that wrote the bundle, if it is another one than this.
    other_version: Option<String>,
    not_compared: Vec<&'static str>,
    differences: Vec<Difference>,
    /// What was computed from the image.
    image: Value,
}

impl Comparison {
    fn of(form: Form, mut bundle: Value, mut image: Value, excluded: Excluded) -> Self {
        // Equal registers are equal whatever version computed them.
        let version = |statement: &mut Value| statement.pointer_mut("/predicate/tool/version").map(Value::take);
        let (theirs, own) = (version(&mut bundle), version(&mut image));
        let other_version = (theirs != own).then(|| quoted(&theirs.unwrap_or_default()));
        let mut not_compared = Vec::new();
        let mut exclude = |key: &str, pointer: &str, name| {
            for statement in [&mut bundle, &mut image] {
                if let Some(Value::Object(object)) = statement.pointer_mut(pointer) {
                    object.remove(key);
                }
            }
            not_compared.push(name);
        };
        if excluded.files {
            exclude("subject", "", "subject");
        }
        if excluded.firmware {
            exclude("firmware", "/predicate", "predicate.firmware");
        }
        let differences = differences(&bundle, &image);
        Self { form, other_version, not_compared, differences, image }
    }

    fn print(&self) -> io::Result<()> {
        let mut notes = vec![self.form.advice().to_owned()];
        notes.extend(self.other_version.iter().map(|version| {
            format!(
                "written by cvmctl {version}, compared by {}, which may model or describe events otherwise",
                env!("CARGO_PKG_VERSION")
            )
        }));
        notes.extend(self.not_compared.iter().map(|part| format!("not compared: {part}")));
        if self.differences.iter().any(|one| one.path == ["predicate", "firmware"] && one.found == Some(Value::Null)) {
            notes.push("the bundle has the MRTD of a firmware: give --firmware FILE, or --without-firmware".to_owned());
        }
        show::problem(&notes)?;
        let mut lines: Vec<String> = self.differences.iter().take(LINES_MAX).map(|one| self.line(one)).collect();
        if let Some(more @ 1..) = self.differences.len().checked_sub(LINES_MAX) {
            lines.push(format!("and {more} more: see --json"));
        }
        lines.push(match self.differences.len() {
            0 => "the bundle describes this image".to_owned(),
            1 => "1 field differs: the bundle does not describe this image".to_owned(),
            count => format!("{count} fields differ: the bundle does not describe this image"),
        });
        show::lines(&lines)
    }

    fn line(&self, one: &Difference) -> String {
        let value = |value: &Option<Value>| value.as_ref().map_or_else(|| "no such field".to_owned(), quoted_or_null);
        format!(
            "WRONG {}: expected {} (bundle), found {} (image)",
            self.place(&one.path),
            value(&one.expected),
            value(&one.found)
        )
    }

    /// The path of a field, with the name of the file or event that an index stands for.
    fn place(&self, path: &[String]) -> String {
        let mut at = Some(&self.image);
        let mut places = Vec::new();
        for key in path {
            let is_index = at.is_some_and(Value::is_array);
            at = at.and_then(|value| match value {
                Value::Array(items) => items.get(key.parse::<usize>().ok()?),
                value => value.get(key),
            });
            let name = at.and_then(|item| item.get("name").or_else(|| item.get("what"))).filter(|_| is_index);
            let key = quoted(&key.as_str().into());
            places.push(name.map_or_else(|| key.clone(), |name| format!("{key} ({})", quoted(name))));
        }
        places.join(".")
    }

    fn to_json(&self) -> Value {
        let difference = |one: &Difference| json!({ "path": one.path, "expected": one.expected, "found": one.found });
        json!({
            "equal": self.differences.is_empty(),
            "form": self.form.name(),
            "signature_verified": false,
            "other_version": self.other_version,
            "not_compared": self.not_compared,
            "differences": self.differences.iter().map(difference).collect::<Vec<_>>(),
        })
    }
}

fn quoted_or_null(value: &Value) -> String {
    if value.is_null() { "null".to_owned() } else { quoted(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// JSON pointers to all values that are neither objects nor arrays.
    fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => object.iter().for_each(|(key, value)| leaves(value, &format!("{path}/{key}"), found)),
            Value::Array(items) => {
                for (at, value) in items.iter().enumerate() {
                    leaves(value, &format!("{path}/{at}"), found);
                }
            }
            _ => found.push(path.to_owned()),
        }
    }

    #[test]
    fn every_changed_value_is_one_difference_at_its_place() {
        let image: Value = serde_json::from_str(include_str!("../../../tests/bundle/uki.json")).unwrap();
        let mut all = Vec::new();
        leaves(&image, "", &mut all);
        assert!(all.len() > 500, "{}", all.len());
        let compare = |bundle: Value, excluded| Comparison::of(Form::Statement, bundle, image.clone(), excluded);
        let everything = Excluded { files: false, firmware: false };
        for leaf in &all {
            let mut bundle = image.clone();
            *bundle.pointer_mut(leaf).unwrap() = "changed".into();
            let result = compare(bundle.clone(), everything);
            if leaf == "/predicate/tool/version" {
                assert_eq!((result.differences.len(), result.other_version.as_deref()), (0, Some("changed")));
                continue;
            }
            let places: Vec<String> = result.differences.iter().map(|one| format!("/{}", one.path.join("/"))).collect();
            assert_eq!(places, [leaf.as_str()]);
            // Only what the caller excludes is left out.
            let excluded = compare(bundle, Excluded { files: true, firmware: true });
            let is_excluded = leaf.starts_with("/subject/") || leaf.starts_with("/predicate/firmware");
            assert_eq!(excluded.differences.is_empty(), is_excluded, "{leaf}");
        }
    }
}
