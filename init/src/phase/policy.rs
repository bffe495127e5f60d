//! Reads the policy: the measured command line and the measured trust files.

use std::fs;
use std::path::Path;

use attest::{Anchor, Floors};
use cmdline::{Policy, TcbPolicy};
use failure::ErrorCode;

use super::early::EarlyMounts;
use crate::watchdog;

const ANCHORS: &str = "/etc/cvm-init/anchors";
const FLOORS: &str = "/etc/cvm-init/floors.json";
/// In bytes: a root certificate has 659; the limit bounds a mistake of the image's builder.
const ANCHOR_MAX: u64 = 8 << 10;

/// The measured configuration: all security-relevant settings.
pub(crate) struct MeasuredConfig {
    /// The parsed command line.
    pub(crate) line: Policy,
    /// Its text, as the kernel has it, without the newline.
    pub(crate) text: String,
    /// The root certificate of the vaults' quotes.
    pub(crate) anchor: Anchor,
    /// Certificates of the node CAs, DER; when there is none, a verified quote alone makes a node acceptable.
    pub(crate) node_ca: Vec<Vec<u8>>,
    /// Lower bounds that prevent a rollback of time and collateral.
    pub(crate) floors: Floors,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("reading /proc/cmdline")]
    Unreadable(#[source] std::io::Error),
    #[error("command line")]
    Line(#[source] cmdline::Error),
    #[error("trust file {0}")]
    Trust(&'static str, #[source] std::io::Error),
    #[error("trust files: expected 1 root certificate in /etc/cvm-init/anchors, found {0}")]
    Anchors(usize),
    #[error("trust file floors.json")]
    Floors(#[source] serde_json::Error),
    #[error("cvm.watchdog")]
    Watchdog(#[source] watchdog::Error),
    #[error("cvm.tcb=signature needs qe_signers in floors.json: without collateral nothing else identifies the quoting enclave")]
    Signers,
}

impl Error {
    pub(crate) const fn code(&self) -> ErrorCode {
        match self {
            Self::Unreadable(_) => ErrorCode::CmdlineUnreadable,
            Self::Line(cmdline::Error::Unknown(_) | cmdline::Error::Removed { .. }) => ErrorCode::UnknownKey,
            Self::Line(cmdline::Error::Repeated(_)) => ErrorCode::RepeatedKey,
            Self::Line(cmdline::Error::Malformed(_)) => ErrorCode::MalformedValue,
            Self::Line(cmdline::Error::Missing(_)) => ErrorCode::MissingKey,
            Self::Line(
                cmdline::Error::TooLong | cmdline::Error::NotAscii | cmdline::Error::Quoted | cmdline::Error::AfterDashes(_),
            ) => ErrorCode::CmdlineForm,
            Self::Line(cmdline::Error::Conflict(_)) => ErrorCode::KeyConflict,
            Self::Watchdog(watchdog::Error::Modules(error)) if error.is_transient() => error.code(),
            Self::Watchdog(_) => ErrorCode::Watchdog,
            Self::Trust(..) | Self::Anchors(_) | Self::Floors(_) | Self::Signers => ErrorCode::TrustFile,
        }
    }
}

/// Reads the kernel command line and the trust files in the initrd.
pub(crate) fn read(early: EarlyMounts) -> Result<MeasuredConfig, Error> {
    let text = fs::read_to_string("/proc/cmdline").map_err(Error::Unreadable)?;
    let line = cmdline::parse(&text).map_err(Error::Line)?;
    if let Some(timeout) = line.watchdog {
        watchdog::start(early, timeout).map_err(Error::Watchdog)?;
    }
    let floors = floors(Path::new(FLOORS))?;
    if matches!(line.tcb, TcbPolicy::Signature) && floors.qe_signers.is_empty() {
        return Err(Error::Signers);
    }
    let (anchor, node_ca) = anchors(Path::new(ANCHORS))?;
    Ok(MeasuredConfig { line, text: text.trim_end_matches('\n').to_owned(), anchor, node_ca, floors })
}

/// Reads the DER files in the folder of anchors: `node-ca-*.der` are the node CAs; the one other file is the root
/// certificate of quotes. Two roots are refused, since either could sign for the other.
fn anchors(folder: &Path) -> Result<(Anchor, Vec<Vec<u8>>), Error> {
    let unreadable = |e| Error::Trust("anchors", e);
    let (mut roots, mut node_ca) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_none_or(|extension| extension != "der") {
            continue;
        }
        if fs::metadata(&path).map_err(unreadable)?.len() > ANCHOR_MAX {
            return Err(unreadable(std::io::ErrorKind::FileTooLarge.into()));
        }
        let der = fs::read(&path).map_err(unreadable)?;
        let is_node_ca = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"node-ca-"));
        if is_node_ca { node_ca.push(der) } else { roots.push(der) }
    }
    match <[Vec<u8>; 1]>::try_from(roots) {
        Ok([root]) => Ok((Anchor::from_der(root), node_ca)),
        Err(roots) => Err(Error::Anchors(roots.len())),
    }
}

fn floors(file: &Path) -> Result<Floors, Error> {
    let text = fs::read(file).map_err(|e| Error::Trust("floors.json", e))?;
    Floors::from_json(&text).map_err(Error::Floors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_that_nothing_can_prove_is_refused() {
        let data = "cvm.data=serial=data cvm.vault=10.0.2.2:1,10.0.2.2:2 cvm.vault.handle=h cvm.vault.app=00112233-4455-6677-8899-aabbccddeeff";
        let [build, commit, before] = ["11", "22", "33"].map(|byte| byte.repeat(32));
        let commit = format!("cvm.vault.key-commitment={commit}");
        let before = format!("cvm.vault.previous.key-commitment={before}");
        let cases = [
            (commit.clone(), None),
            ("cvm.vault.key-commitment=none".to_owned(), None),
            (format!("{commit} cvm.data.format=if-blank"), None),
            (format!("{commit} cvm.vault.previous=g {before}"), None),
            (String::new(), Some(24)),
            (format!("{commit} cvm.vault.previous=g"), Some(24)),
            ("cvm.vault.key-commitment=none cvm.data.format=if-blank".to_owned(), Some(26)),
            (format!("cvm.vault.key-commitment=none cvm.vault.previous=g {before}"), Some(26)),
        ];
        for (parameters, code) in cases {
            let line = format!("roothash={} {data} cvm.vault.mrenclave={build} {parameters}", "ab".repeat(32));
            assert_eq!(cmdline::parse(&line).err().map(|error| Error::Line(error).code().number()), code, "{parameters}");
        }
    }

    #[test]
    fn exactly_one_anchor_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let count = |folder: &Path| anchors(folder).map(|(_, node_ca)| node_ca.len()).map_err(|e| e.to_string());
        assert_eq!(
            count(folder.path()),
            Err("trust files: expected 1 root certificate in /etc/cvm-init/anchors, found 0".to_owned())
        );
        fs::write(folder.path().join("intel.der"), b"x").unwrap();
        fs::write(folder.path().join("README"), b"x").unwrap();
        assert_eq!(count(folder.path()), Ok(0));
        fs::write(folder.path().join(initrd::node_ca_name(1)), b"x").unwrap();
        assert_eq!(count(folder.path()), Ok(1));
        fs::write(folder.path().join("other.der"), b"x").unwrap();
        assert_eq!(
            count(folder.path()),
            Err("trust files: expected 1 root certificate in /etc/cvm-init/anchors, found 2".to_owned())
        );
    }

    #[test]
    fn floors_with_an_unknown_field_are_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), r#"{"built":1,"tcb_evaluation":2,"root_crl":3,"pck_crl":4}"#).unwrap();
        assert_eq!(
            floors(file.path()).unwrap(),
            Floors { built: 1, tcb_evaluation: 2, root_crl: 3, pck_crl: 4, ..Floors::default() }
        );
        fs::write(file.path(), r#"{"built":1,"tcb_evaluation":2,"root_crl":3,"pck_crl":4,"x":5}"#).unwrap();
        assert!(matches!(floors(file.path()), Err(Error::Floors(_))));
    }
}
