//! The ways in which a node can fail or misbehave.

use std::str::FromStr;
use std::time::Duration;

use crate::Error;

/// A misbehaviour of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Misbehaviour {
    /// An honest node.
    #[default]
    None,
    /// Closes every connection after accept.
    Down,
    /// Accepts and never sends anything.
    HangAfterAccept,
    /// Completes the handshake and never answers.
    HangAfterHandshake,
    /// Accepts the guest's evidence and then never answers.
    HangAfterPresent,
    /// Takes this long for every answer; other requests wait.
    Slow(Duration),
    /// Its attestation server takes this long for every call; other requests wait.
    SlowAttestation(Duration),
    /// Answers the client's evidence with this HTTP status.
    PresentStatus(u16),
    /// Answers 503 to evidence requests.
    Unavailable,
    /// Denies every export with the text of a policy mismatch.
    Deny,
    /// Reports every key as expired.
    Expired,
    /// Exports shares with another share set id.
    WrongShareSetId,
    /// Exports shares with the right X and wrong data.
    WrongShare,
    /// Exports shares with this X. 0 is invalid.
    ForeignX(u8),
    /// Exports shares truncated or extended to this many bytes.
    Length(usize),
    /// Runs an enclave with another measurement.
    WrongMrenclave,
    /// Runs the enclave in debug mode.
    DebugEnclave,
    /// Sends a quote of an earlier exchange.
    StaleQuote,
    /// Sends a new quote bound to another connection.
    OtherConnection,
    /// Sends the guest's own quote: one that a guest presented, else a TD's quote with the correct binding.
    Reflection,
    /// Sends a quote bound to another TLS key.
    WrongSpki,
    /// Sends a quote whose report data is correct in its first half only.
    HalfReportData,
    /// Uses TLS 1.2.
    Tls12,
    /// Pads every answer to 1 MiB.
    Oversize,
    /// Echoes every vault request.
    Echo,
    /// Its clock is this many seconds ahead.
    WrongClock(i64),
    /// Has no trusted time: sends a time this many seconds ahead and accepts no evidence.
    FrozenClock(i64),
    /// Staples no collateral, even if configured to.
    NoCollateral,
    /// Staples collateral that expired a month ago. Every node staples for this and the other kinds of wrong collateral.
    ExpiredCollateral,
    /// Staples collateral signed under another root.
    ForeignCollateral,
    /// Quotes under another root, and staples that root's collateral if configured to staple.
    ForeignRoot,
    /// Its PCK certificate is on the CRL that it staples.
    RevokedPck,
    /// Its platform is out of date in the collateral that it staples.
    OutOfDate,
}

impl FromStr for Misbehaviour {
    type Err = Error;

    /// Parses a name such as `wrong-share`, or one with its value: `slow=3` (seconds), `slow-attestation=3`,
    /// `present-status=400`, `foreign-x=2`, `length=17`, `wrong-clock=-86400`, `frozen-clock=-86400`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let unknown = || Error::UnknownMisbehaviour(text.to_owned());
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        if let Some(value) = value {
            let seconds = |make: fn(Duration) -> Self| value.parse().map(|seconds| make(Duration::from_secs(seconds)));
            return match name {
                "slow" => seconds(Self::Slow).map_err(|_| unknown()),
                "slow-attestation" => seconds(Self::SlowAttestation).map_err(|_| unknown()),
                "present-status" => value.parse().map(Self::PresentStatus).map_err(|_| unknown()),
                "foreign-x" => value.parse().map(Self::ForeignX).map_err(|_| unknown()),
                "length" => value.parse().map(Self::Length).map_err(|_| unknown()),
                "frozen-clock" => value.parse().map(Self::FrozenClock).map_err(|_| unknown()),
                "wrong-clock" => value.parse().map(Self::WrongClock).map_err(|_| unknown()),
                _ => Err(unknown()),
            };
        }
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, which)| *which).ok_or_else(unknown)
    }
}

/// Every name; those that take a value with an example.
pub(crate) fn names() -> String {
    let valued = [
        "slow=3",
        "slow-attestation=3",
        "present-status=400",
        "foreign-x=2",
        "length=17",
        "wrong-clock=-86400",
        "frozen-clock=-86400",
    ];
    NAMES.iter().map(|(name, _)| *name).chain(valued).collect::<Vec<_>>().join(", ")
}

const NAMES: &[(&str, Misbehaviour)] = &[
    ("none", Misbehaviour::None),
    ("down", Misbehaviour::Down),
    ("hang-after-accept", Misbehaviour::HangAfterAccept),
    ("hang-after-handshake", Misbehaviour::HangAfterHandshake),
    ("hang-after-present", Misbehaviour::HangAfterPresent),
    ("unavailable", Misbehaviour::Unavailable),
    ("deny", Misbehaviour::Deny),
    ("expired", Misbehaviour::Expired),
    ("wrong-share-set-id", Misbehaviour::WrongShareSetId),
    ("wrong-share", Misbehaviour::WrongShare),
    ("wrong-mrenclave", Misbehaviour::WrongMrenclave),
    ("debug-enclave", Misbehaviour::DebugEnclave),
    ("stale-quote", Misbehaviour::StaleQuote),
    ("other-connection", Misbehaviour::OtherConnection),
    ("reflection", Misbehaviour::Reflection),
    ("wrong-spki", Misbehaviour::WrongSpki),
    ("half-report-data", Misbehaviour::HalfReportData),
    ("tls12", Misbehaviour::Tls12),
    ("oversize", Misbehaviour::Oversize),
    ("echo", Misbehaviour::Echo),
    ("no-collateral", Misbehaviour::NoCollateral),
    ("expired-collateral", Misbehaviour::ExpiredCollateral),
    ("foreign-collateral", Misbehaviour::ForeignCollateral),
    ("foreign-root", Misbehaviour::ForeignRoot),
    ("revoked-pck", Misbehaviour::RevokedPck),
    ("out-of-date", Misbehaviour::OutOfDate),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_with_and_without_values() {
        let message = "nothing-known".parse::<Misbehaviour>().unwrap_err().to_string();
        assert!(message.contains("expected one of: none, down, ") && message.contains("wrong-clock=-86400"), "{message}");
        let read = |text: &str| text.parse::<Misbehaviour>().ok();
        assert_eq!(read("wrong-share"), Some(Misbehaviour::WrongShare));
        assert_eq!(read("slow=3"), Some(Misbehaviour::Slow(Duration::from_secs(3))));
        assert_eq!(read("wrong-clock=-60"), Some(Misbehaviour::WrongClock(-60)));
        assert_eq!(read("frozen-clock=-60"), Some(Misbehaviour::FrozenClock(-60)));
        assert_eq!(read("slow-attestation=3"), Some(Misbehaviour::SlowAttestation(Duration::from_secs(3))));
        assert_eq!(read("present-status=400"), Some(Misbehaviour::PresentStatus(400)));
        assert_eq!(read("slow"), None);
        assert_eq!(read("deny=1"), None);
        assert_eq!(read("kind"), None);
    }
}
