//! The guest's command line, read by the guest's own parser: what is wrong, where, what would be right; and what a good one means.

use cmdline::{Error, Key, Policy};

/// What there is to say about a key.
struct About {
    /// How its value is written.
    form: &'static str,
    /// What holds without it.
    default: &'static str,
    /// What it decides.
    decides: &'static str,
}

/// One row a key: a new key does not compile without.
fn about(key: Key) -> About {
    let (form, default, decides) = match key {
        Key::RootHash => ("64 lower-case hexadecimal digits", "(required)", "the root file system, by dm-verity"),
        Key::VerityOnCorruption => ("panic, restart or eio", "panic", "what a corrupt block of the root does when it is read"),
        Key::Root => ("PARTUUID=, PARTLABEL= or serial=", "by the two halves of the root hash", "which partition is the root"),
        Key::Data => (
            "up to 8 of [NAME:]SELECTOR, a selector being serial=, PARTUUID= or PARTLABEL=",
            "no data disk",
            "which disk or partition is the data disk",
        ),
        Key::DataMount => (
            "an absolute path that is in the image, not in a folder of the system such as /var or /usr",
            "/data",
            "where the data disk is mounted",
        ),
        Key::DataFormat => ("never or if-blank", "never", "whether a blank data disk is formatted"),
        Key::DataFs => ("ext4, xfs or btrfs", "ext4", "the file system of the data disk"),
        Key::DataCipher => ("xts-hmac, aegis or gcm", "xts-hmac", "how the data disk is encrypted and authenticated"),
        Key::DataSeal => ("require or auto", "require with if-blank, else auto", "whether a header without our seal is refused"),
        Key::DataWipe => ("lazy or full", "lazy", "whether the first format writes every sector"),
        Key::DataFormatUntil => ("a time: 2026-11-29T00:00:00Z", "no limit", "until when a blank data disk is formatted"),
        Key::DataUuid => ("a lower-case UUID, or a list of [NAME:]UUID", "any", "which LUKS UUID a data disk must have"),
        Key::DataOpen => ("mount or no-mount", "mount", "whether the open data disk is mounted"),
        Key::DataCheck => ("auto, force or no", "auto", "whether the file system is checked before the mount"),
        Key::DataOnError => ("remount-ro or panic", "remount-ro", "what a file system error does"),
        Key::DataGrow => ("yes or no", "no", "whether the file system grows when the disk has become larger"),
        Key::DataOptions => ("a list of noatime, noexec, prjquota", "none", "options of the mount"),
        Key::Scratch => (
            "up to 4 of SELECTOR[:USE], a selector as in cvm.data, the use swap or the absolute path of a mount point",
            "no scratch disk; for :USE /scratch",
            "which blank disks are encrypted under a new key at each boot",
        ),
        Key::Vault => {
            ("up to 16 of ADDRESS:PORT, [V6]:PORT, NAME:PORT, vsock:CID:PORT", "(required)", "where vaults may be: hints")
        }
        Key::VaultMrenclave => ("up to 8 of 64 lower-case hexadecimal digits", "(required)", "which builds are vaults"),
        Key::VaultHandle => ("letters, digits and ._/-", "(required)", "the key's name at the vaults"),
        Key::VaultPrevious => ("letters, digits and ._/-", "no rotation", "the handle that is rotated away from"),
        Key::VaultPreviousCommit => {
            ("64 lower-case hexadecimal digits", "no rotation", "what the key that is rotated away from must hash to")
        }
        Key::VaultPreviousVaults => ("as cvm.vault", "those of cvm.vault", "where the vaults of that key may be: hints"),
        Key::VaultPreviousMrenclave => {
            ("as cvm.vault.mrenclave", "those of cvm.vault.mrenclave", "which builds are vaults of that key")
        }
        Key::VaultPreviousThreshold => ("as cvm.vault.threshold", "that of cvm.vault.threshold", "how many shares make that key"),
        Key::VaultCommit => (
            "64 lower-case hexadecimal digits, as cvmctl provision prints them; or none, which only opens disks that others made",
            "(required)",
            "what the key must hash to",
        ),
        Key::VaultPlatforms => (
            "up to 32 of 32 lower-case hexadecimal digits",
            "any machine",
            "which machines may run a vault: PPIDs or platform instance ids of their PCK certificates",
        ),
        Key::VaultApp => ("a lower-case UUID", "(required)", "who we are to the vaults"),
        Key::VaultThreshold => ("2 to the number of vaults", "2", "how many shares make the key"),
        Key::VaultDistinct => ("key or platform", "key", "what makes two vaults two"),
        Key::VaultPatience => {
            ("a number with s, m or h: 30s, 5m, 1h", "5m", "how long to try for link and key before the verdict")
        }
        Key::Tcb => (
            "uptodate, statuses as Intel spells them, or signature",
            "uptodate,SWHardeningNeeded",
            "which platforms may be vaults",
        ),
        Key::Pccs => {
            ("http:// or https://, then ADDRESS:PORT or NAME:PORT", "no cache", "where collateral is had that no vault brings")
        }
        Key::Net => (
            "dhcp, slaac, dual, static:ADDRESS/LENGTH[,gw=] with [,dns=][,if=NAME|MAC], or none",
            "dhcp",
            "how the network comes up",
        ),
        Key::NetKeep => ("no or yes", "no", "whether address and routes stay for the real system"),
        Key::Measure => ("auto, rtmr, tpm or off", "auto", "where events are measured"),
        Key::Measured => ("auto or require", "auto", "whether this line must be in the firmware's log"),
        Key::Watchdog => ("seconds, 10 to 3600", "no watchdog", "how long there may be no progress before the machine is reset"),
        Key::Init => ("an absolute path", "/sbin/init", "the real init"),
        Key::Fail => ("reboot, poweroff or halt", "by the failure", "what happens after a failure"),
        Key::Log => ("error, warn, info or debug", "info", "how much is logged; shows in the receipt"),
        Key::Debug => ("pause:PHASE and timeline, separated by commas", "nothing", "what helps to debug; shows in the receipt"),
    };
    About { form, default, decides }
}

/// Why `line` is refused, for a person: the error, where in the line it is, and what would be right.
pub(crate) fn refusal(line: &str, error: &Error) -> Vec<String> {
    let mut lines = vec![format!("command line: {error}")];
    let word = match error {
        Error::Malformed(key) | Error::AfterDashes(key) => find(line, key.as_str(), false),
        Error::Repeated(key) => find(line, key.as_str(), true),
        Error::Unknown(name) => find(line, name, false),
        Error::Removed { key, .. } => find(line, key, false),
        Error::Quoted => line.find('"').map(|at| at..at + 1),
        Error::NotAscii => {
            line.char_indices().find(|(_, c)| !c.is_ascii_graphic() && !c.is_ascii_whitespace()).map(|(at, _)| at..at + 1)
        }
        Error::TooLong | Error::Missing(_) | Error::Conflict(_) => None,
    };
    if let Some(word) = word {
        // As much of the line as a terminal shows, with the word in it.
        let start = line.char_indices().map(|(at, _)| at).filter(|at| at + 30 >= word.start).min().unwrap_or(0);
        let shown: String = line.get(start..).unwrap_or_default().chars().take(100).map(plain).collect();
        let before = line.get(start..word.start).unwrap_or_default().chars().count();
        let marks = line.get(word.clone()).unwrap_or_default().chars().count().clamp(1, 100_usize.saturating_sub(before).max(1));
        lines.extend([format!("    {shown}"), format!("    {}{}", " ".repeat(before), "^".repeat(marks))]);
    }
    lines.push(match error {
        Error::Malformed(key) | Error::Missing(key) => format!("right would be {key}= and {}", about(*key).form),
        Error::Repeated(key) => format!("right would be one {key}: with two, who reads decides who wins"),
        Error::Unknown(name) => match nearest(name) {
            Some(key) => format!("did you mean {key}? ({})", about(key).decides),
            None => "no key is called so; `cvmctl cmdline explain ''` names all".to_owned(),
        },
        Error::Removed { key, .. } => format!("fix: remove {key}"),
        Error::AfterDashes(key) => format!("right would be {key} before the --: what follows it are init's arguments"),
        Error::Quoted => "right would be no quotes: no value of ours has white space".to_owned(),
        Error::NotAscii => "right would be printable ASCII only".to_owned(),
        Error::TooLong => "right would be a shorter line: x86 keeps no more, and its end may be missing".to_owned(),
        Error::Conflict(_) => "right would be to change one of the two".to_owned(),
    });
    lines
}

/// Every key with its value or default, and what it decides.
pub(crate) fn explanation(line: &str, policy: Option<&Policy>) -> Vec<String> {
    let given: Vec<_> = policy.into_iter().flat_map(Policy::given).collect();
    let value = |key: Key| {
        find(line, key.as_str(), false).and_then(|word| line.get(word)?.split_once('=').map(|(_, value)| value.to_owned()))
    };
    let row = |key: &Key| {
        let About { form, default, decides } = about(*key);
        match value(*key).filter(|_| given.contains(key)) {
            Some(value) => format!("{key} = {value}\n    {decides}"),
            None => format!("{key} (default: {default})\n    {decides}: {form}"),
        }
    };
    Key::ALL.iter().map(row).collect()
}

/// Reads with the guest's parser.
pub(crate) fn parse(line: &str) -> Result<Policy, Error> {
    cmdline::parse(line)
}

/// The first or the last word of the line with this name, as bytes.
fn find(line: &str, name: &str, last: bool) -> Option<std::ops::Range<usize>> {
    let words = line.split_ascii_whitespace().map(|word| {
        // Words are parts of the line, so their addresses tell where they stand.
        let at = word.as_ptr().addr() - line.as_ptr().addr();
        (at..at + word.len(), word)
    });
    let mut named = words.filter(|(_, word)| word.split('=').next().is_some_and(|found| found.chars().take(64).eq(name.chars())));
    if last { named.next_back() } else { named.next() }.map(|(range, _)| range)
}

/// The key whose name is the fewest changes away, at most two.
fn nearest(name: &str) -> Option<Key> {
    let near = Key::ALL.iter().map(|key| (distance(name, key.as_str()), *key)).min_by_key(|(distance, _)| *distance)?;
    (near.0 <= 2).then_some(near.1)
}

/// Levenshtein's distance: letters put in, left out or exchanged.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (number, letter) in one.to_ascii_lowercase().chars().enumerate() {
        let mut next = vec![number + 1];
        for (at, same) in other.iter().map(|c| *c == letter).enumerate() {
            let around = [row.get(at), row.get(at + 1), next.get(at)].map(|cell| cell.copied().unwrap_or(usize::MAX / 2));
            next.push((around[0] + usize::from(!same)).min(around[1] + 1).min(around[2] + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

const fn plain(c: char) -> char {
    if c.is_ascii_graphic() { c } else { ' ' }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Vec<String> {
        refusal(line, &parse(line).unwrap_err())
    }

    #[test]
    fn refusal_says_what_where_and_what_would_be_right() {
        let hash = format!("roothash={}", "ab".repeat(32));
        assert_eq!(
            said(&format!("quiet cvm.dta=serial=x {hash}")),
            [
                "command line: unknown key cvm.dta".to_owned(),
                format!("    quiet cvm.dta=serial=x {hash}"),
                "          ^^^^^^^^^^^^^^^^".to_owned(),
                "did you mean cvm.data? (which disk or partition is the data disk)".to_owned(),
            ]
        );
        let cases = [
            (format!("{hash} cvm.log=loud"), "^^^^^^^^^^^^", "right would be cvm.log= and error, warn, info or debug"),
            (format!("{hash} {hash}"), "^^^^^", "right would be one roothash: with two, who reads decides who wins"),
            (String::new(), "", "right would be roothash= and 64 lower-case hexadecimal digits"),
            (format!("{hash} x=\"y z\""), "^", "right would be no quotes: no value of ours has white space"),
            (
                format!("{hash} -- cvm.fail=halt"),
                "^^^",
                "right would be cvm.fail before the --: what follows it are init's arguments",
            ),
            (format!("{hash} cvm.vault.trust=all"), "^^^", "no key is called so; `cvmctl cmdline explain ''` names all"),
        ];
        for (line, marks, right) in cases {
            let lines = said(&line);
            assert_eq!(lines.last().map(String::as_str), Some(right), "{line}");
            assert!(marks.is_empty() || lines[2].contains(marks), "{lines:?}");
        }
    }

    #[test]
    fn explanation_names_every_key_with_what_holds() {
        let line = format!("roothash={} cvm.net=none", "ab".repeat(32));
        let lines = explanation(&line, parse(&line).ok().as_ref());
        assert_eq!(lines.len(), Key::ALL.len());
        assert!(lines.contains(&"cvm.net = none\n    how the network comes up".to_owned()), "{lines:?}");
        assert!(lines.iter().any(|row| row.starts_with("cvm.data.fs (default: ext4)")));
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
