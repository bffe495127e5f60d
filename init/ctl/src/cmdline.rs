//! The guest's command line, parsed by the guest's own parser: errors with a fix, and the meaning of a valid line.

mod reference;

use cmdline::{Error, Key, Policy};

pub(crate) use reference::reference;

/// How much of the command line an error shows, in characters.
const SHOWN: usize = 100;

/// Explains why `line` is refused: the error, where it is in the command line, and how to fix it.
pub(crate) fn refusal(line: &str, error: &Error) -> Vec<String> {
    let mut lines = vec![format!("command line: {error}")];
    if let Some(place) = place(line, error) {
        // As much as a terminal shows, with the place in it.
        let start = line.char_indices().map(|(at, _)| at).filter(|at| at + 30 >= place.start).min().unwrap_or(0);
        let shown: String = line.get(start..).unwrap_or_default().chars().take(SHOWN).map(plain).collect();
        let before = line.get(start..place.start).unwrap_or_default().chars().count();
        let marks = line.get(place).unwrap_or_default().chars().count().clamp(1, SHOWN.saturating_sub(before).max(1));
        lines.extend([format!("    {shown}"), format!("    {}{}", " ".repeat(before), "^".repeat(marks))]);
    }
    lines.push(advice(error));
    lines
}

/// The part of the command line that an error is about.
fn place(line: &str, error: &Error) -> Option<std::ops::Range<usize>> {
    match error {
        Error::Malformed(key) | Error::AfterDashes(key) => find(line, key.as_str(), false),
        Error::Repeated(key) => find(line, key.as_str(), true),
        Error::Unknown(name) => find(line, name, false),
        Error::Removed { old, .. } => find(line, old.split('=').next().unwrap_or(old), false),
        Error::Quoted => line.find('"').map(|at| at..at + 1),
        Error::NotAscii => {
            line.char_indices().find(|(_, c)| !c.is_ascii_graphic() && !c.is_ascii_whitespace()).map(|(at, _)| at..at + 1)
        }
        Error::TooLong | Error::Missing(_) | Error::Conflict(_) => None,
    }
}

/// How to fix an error.
fn advice(error: &Error) -> String {
    match error {
        Error::Malformed(key) => format!("expected: {key}= and {}", text(key.about().value)),
        Error::Missing(key) => format!("fix: add {key}= and {}", text(key.about().value)),
        Error::Repeated(key) => format!("fix: give {key} once; of two values, each program could use another one"),
        Error::Unknown(name) => match nearest(name) {
            Some(key) => format!("did you mean {key}? It decides {}", text(key.about().decides)),
            None => "fix: remove it, or find its name with `cvmctl cmdline explain`".to_owned(),
        },
        Error::Removed { old, new } if new.starts_with("cvm.") => format!("fix: replace {old} by {new}"),
        Error::Removed { old, .. } => format!("fix: remove {old}"),
        Error::AfterDashes(key) => {
            format!("fix: move {key} before the --, which ends the parameters; arguments of init follow it")
        }
        Error::Quoted => "fix: remove the quotes; no value contains white space".to_owned(),
        Error::NotAscii => "fix: use printable ASCII only".to_owned(),
        Error::TooLong => "fix: shorten it; the kernel truncates a longer command line on x86".to_owned(),
        Error::Conflict(_) => "fix: change one of the two keys".to_owned(),
    }
}

/// Every key with its value or default, and what it decides.
pub(crate) fn explanation(line: &str, policy: Option<&Policy>) -> Vec<String> {
    let given: Vec<_> = policy.into_iter().flat_map(Policy::given).collect();
    let value = |key: Key| {
        let range = find(line, key.as_str(), false)?;
        line.get(range)?.split_once('=').map(|(_, value)| value.to_owned())
    };
    let row = |key: &Key| {
        let about = key.about();
        let (decides, grammar, default) = (text(about.decides), text(about.value), text(&reference::default(*key)));
        value(*key).filter(|_| given.contains(key)).map_or_else(
            || format!("{key} (default: {default})\n    {decides}: {grammar}"),
            |value| format!("{key} = {value}\n    {decides}"),
        )
    };
    Key::ALL.iter().map(row).collect()
}

/// Parses with the guest's parser.
pub(crate) fn parse(line: &str) -> Result<Policy, Error> {
    cmdline::parse(line)
}

/// The first or the last parameter with this name, as a range of bytes.
fn find(line: &str, name: &str, last: bool) -> Option<std::ops::Range<usize>> {
    let parameters = line.split_ascii_whitespace().map(|parameter| {
        // Parameters are parts of the command line, so the difference of their addresses is an offset.
        let at = parameter.as_ptr().addr() - line.as_ptr().addr();
        (at..at + parameter.len(), parameter)
    });
    let is_named = |parameter: &str| parameter.split('=').next().is_some_and(|found| found.chars().take(64).eq(name.chars()));
    let mut named = parameters.filter(|(_, parameter)| is_named(parameter));
    if last { named.next_back() } else { named.next() }.map(|(range, _)| range)
}

/// The key whose name is the fewest changes away, at most two.
fn nearest(name: &str) -> Option<Key> {
    let distance = |key: &Key| strsim::damerau_levenshtein(&name.to_ascii_lowercase(), key.as_str());
    Key::ALL.iter().copied().min_by_key(distance).filter(|key| distance(key) <= 2)
}

/// Markdown as plain text.
fn text(markdown: &str) -> String {
    markdown.replace('`', "")
}

const fn plain(c: char) -> char {
    if c.is_ascii_graphic() { c } else { ' ' }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> Vec<String> {
        refusal(line, &parse(line).unwrap_err())
    }

    #[test]
    fn refusal_says_what_is_wrong_where_and_how_to_fix_it() {
        let hash = format!("roothash={}", "ab".repeat(32));
        assert_eq!(
            refused(&format!("quiet cvm.dta=serial=x {hash}")),
            [
                "command line: unknown key cvm.dta".to_owned(),
                format!("    quiet cvm.dta=serial=x {hash}"),
                "          ^^^^^^^^^^^^^^^^".to_owned(),
                "did you mean cvm.data? It decides which disks or partitions are data disks".to_owned(),
            ]
        );
        let cases = [
            (format!("{hash} cvm.log=loud"), "^^^^^^^^^^^^", "expected: cvm.log= and error, warn, info or debug"),
            (format!("{hash} {hash}"), "^^^^^", "fix: give roothash once; of two values, each program could use another one"),
            (String::new(), "", "fix: add roothash= and 64 lower-case hexadecimal digits"),
            (format!("{hash} x=\"y z\""), "^", "fix: remove the quotes; no value contains white space"),
            (format!("{hash} cvm.fail=park"), "^^^^^^^^^^^^^", "fix: replace cvm.fail=park by cvm.fail=halt"),
            (
                format!("{hash} cvm.measured=require"),
                "^^^^^^^^^^^^^^^^^^^^",
                "fix: replace cvm.measured=require by cvm.measure.require-cmdline=yes",
            ),
            (format!("{hash} cvm.data.seal=auto"), "^^^^^^^^^^^^^^^^^^", "fix: replace cvm.data.seal by cvm.data.header-auth"),
            (format!("{hash} cvm.net=none cvm.pccs=http://10.0.0.9:8081"), "", "fix: change one of the two keys"),
            (
                format!("{hash} -- cvm.fail=halt"),
                "^^^",
                "fix: move cvm.fail before the --, which ends the parameters; arguments of init follow it",
            ),
            (format!("{hash} cvm.vault.trust=all"), "^^^", "fix: remove it, or find its name with `cvmctl cmdline explain`"),
        ];
        for (line, marks, right) in cases {
            let lines = refused(&line);
            assert_eq!(lines.last().map(String::as_str), Some(right), "{line}");
            assert!(marks.is_empty() || lines[2].contains(marks), "{lines:?}");
        }
    }

    #[test]
    fn explanation_names_every_key_with_what_holds() {
        let line = format!("roothash={} cvm.net=none", "ab".repeat(32));
        let lines = explanation(&line, parse(&line).ok().as_ref());
        assert_eq!(lines.len(), Key::ALL.len());
        assert!(lines.contains(&"cvm.net = none\n    how the network is configured".to_owned()), "{lines:?}");
        assert!(lines.iter().any(|row| row.starts_with("cvm.data.fstype (default: ext4)")));
    }

    #[test]
    fn nearest_is_at_most_two_changes_away() {
        for (name, want) in
            [("cvm.dat", Some(Key::Data)), ("CVM.LOG", Some(Key::Log)), ("cvm.vualt", Some(Key::Vault)), ("cvm.x.y.z", None)]
        {
            assert_eq!(nearest(name), want, "{name}");
        }
    }
}
