//! What became of each vault: for the console, the failure line and the receipt. Names, counts and reasons; never a value.

mod measured;

use attest::Tcb;
use ondisk::cmdline::{Distinct, Handle, TcbPolicy, Vaults};
use quorum::{Collector, Fate, Generation};
use serde::Serialize;
use vault::{Refused, Step};

use super::Error;
use super::dial::{self, Ready};
use crate::phase::net::ReachError;

/// Seconds of a day.
const DAY: u64 = 86_400;
/// Days before a key's end at which the console begins to say so.
const EXPIRY_WARNING: u64 = 14;

/// What became of one vault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Its share is part of the key.
    Served,
    /// Its share fits and was not needed.
    Spare,
    /// It proved itself and was not asked.
    Ready,
    /// It did not say or do in time what was asked of it.
    #[default]
    Slow,
    /// It could not be reached, hung up, or said that it cannot serve.
    Down,
    /// It, or the key's policy, does not let us have the share.
    Denied,
    /// The key's life is over there.
    Expired,
    /// Its evidence does not verify.
    Forged,
    /// Its evidence is not valid at the time that the vaults agree on, or there is no collateral to verify it with.
    Stale,
    /// It proved itself and answers what no vault answers.
    Garbled,
    /// Its share is not on the polynomial of the key: it lies, or is of another dealing.
    BadShare,
    /// It is the same node as another vault, or has the same share.
    Duplicate,
    /// Nothing of its doing: we have no quote to show it.
    NoQuote,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Spare => "spare",
            Self::Ready => "ready",
            Self::Slow => "slow",
            Self::Down => "down",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Forged => "forged",
            Self::Stale => "stale",
            Self::Garbled => "garbled",
            Self::BadShare => "bad share",
            Self::Duplicate => "duplicate",
            Self::NoQuote => "no quote",
        }
    }

    /// What an error of its thread says about a vault.
    fn of(error: &dial::Error) -> Self {
        use vault::Error as V;
        match error {
            dial::Error::Vault(error) => match error {
                V::OwnQuote(_) => Self::NoQuote,
                V::Refused(Refused::Expired) => Self::Expired,
                V::Refused(_) | V::EvidenceRefused | V::Status(Step::Present, _) => Self::Denied,
                V::Node(refusal) if refusal.is_about_time() => Self::Stale,
                V::Collateral(None) => Self::Stale,
                V::Node(_) | V::Collateral(Some(_)) => Self::Forged,
                V::Protocol(..) => Self::Garbled,
                V::Deadline(_) => Self::Slow,
                V::Identity | V::Stream(..) | V::Tls(_) | V::Status(..) => Self::Down,
            },
            dial::Error::Share(_) => Self::Garbled,
            dial::Error::SameNode => Self::Duplicate,
            dial::Error::Stale => Self::Stale,
            dial::Error::Reach(ReachError::Connect(std::io::ErrorKind::TimedOut)) => Self::Slow,
            dial::Error::Reach(_) | dial::Error::Random(_) | dial::Error::Stopped => Self::Down,
        }
    }
}

/// One vault's part in the unlock.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct VaultOutcome {
    /// As the policy writes it.
    address: String,
    verdict: Verdict,
    /// Why, where it did not serve.
    reason: Option<String>,
    /// Hex, once it was verified.
    mrenclave: Option<String>,
    /// As collateral has it; `unknown` where policy asks for signatures only.
    tcb_status: Option<String>,
    advisories: Vec<String>,
    /// What tells its platform from another, hex.
    platform: Option<String>,
    /// From when until when its evidence is valid, Unix seconds.
    valid_from: Option<u64>,
    valid_until: Option<u64>,
    /// Its own clock, Unix seconds.
    quote_time: Option<u64>,
    /// When it will forget the key, Unix seconds.
    key_expires: Option<u64>,
    /// Lost for good.
    #[serde(skip)]
    gone: bool,
    /// What makes it this node: key or platform, as policy says.
    #[serde(skip)]
    identity: Option<Vec<u8>>,
}

/// The unlock as a whole.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Outcome {
    handle: String,
    threshold: u8,
    /// Shares that the proof needs: the threshold, or one more where only agreement proves.
    needed: usize,
    /// `collateral`, or `signature` where policy asks for no word on revocation or TCB.
    tcb: &'static str,
    /// Hex of the dealing's 16 bytes, once the key was proved.
    generation: Option<String>,
    /// The earliest at which a vault will forget the key, Unix seconds.
    key_expires: Option<u64>,
    vaults: Vec<VaultOutcome>,
    #[serde(skip)]
    shares: usize,
    #[serde(skip)]
    distinct: Distinct,
}

impl Outcome {
    pub(super) fn new(vaults: &Vaults, handle: &Handle, tcb: &TcbPolicy, needed: usize) -> Self {
        let entry =
            |address: &ondisk::cmdline::VaultAddress| VaultOutcome { address: address.to_string(), ..VaultOutcome::default() };
        Self {
            handle: handle.as_str().to_owned(),
            threshold: vaults.threshold.get(),
            needed,
            tcb: if matches!(tcb, TcbPolicy::Signature) { "signature" } else { "collateral" },
            generation: None,
            key_expires: None,
            vaults: vaults.addresses.iter().map(entry).collect(),
            shares: 0,
            distinct: vaults.distinct,
        }
    }

    /// Notes a node that proved itself; `false` when it is the same node as another vault of the list.
    pub(super) fn verified(&mut self, index: usize, ready: &Ready) -> bool {
        let Ready { node, key, time, .. } = ready;
        let identity = match self.distinct {
            Distinct::Key => key.to_vec(),
            Distinct::Platform => node.platform().to_vec(),
        };
        let others = self.vaults.iter().enumerate().filter(|(other, _)| *other != index);
        if others.into_iter().any(|(_, vault)| vault.identity.as_ref() == Some(&identity)) {
            return false;
        }
        let Some(vault) = self.vaults.get_mut(index) else { return false };
        vault.identity = Some(identity);
        let (status, advisories) = match node.tcb() {
            Tcb::Assessed { status, advisories, .. } => (status.to_string(), advisories.clone()),
            Tcb::Unknown => ("unknown".to_owned(), Vec::new()),
        };
        log::info!("vault {}: verified, tcb {status}", vault.address);
        (vault.verdict, vault.reason) = (Verdict::Ready, None);
        vault.mrenclave = Some(hex(node.mrenclave()));
        vault.tcb_status = Some(status);
        vault.advisories = advisories;
        vault.platform = Some(hex(node.platform()));
        let (from, until) = node.valid();
        (vault.valid_from, vault.valid_until) = (Some(from), Some(until));
        vault.quote_time = Some(time.unix_seconds());
        true
    }

    /// Notes that a vault was asked: what it does not answer from now on, it was too slow for.
    pub(super) fn asked(&mut self, index: usize) {
        if let Some(vault) = self.vaults.get_mut(index) {
            vault.verdict = Verdict::Slow;
        }
    }

    pub(super) fn served(&mut self, index: usize, expires_at: u64) {
        self.shares += 1;
        let Some(vault) = self.vaults.get_mut(index) else { return };
        log::info!("vault {}: gave a share", vault.address);
        vault.key_expires = Some(expires_at);
        vault.verdict = Verdict::Spare;
    }

    /// Notes that a vault gave a share, and that its evidence is not valid at the time that is known by now.
    pub(super) fn stale(&mut self, index: usize) {
        let Some(vault) = self.vaults.get_mut(index).filter(|vault| vault.verdict != Verdict::Stale) else { return };
        let reason = chain(&dial::Error::Stale);
        log::warn!("vault {}: {}: {reason}", vault.address, Verdict::Stale.as_str());
        (vault.verdict, vault.reason) = (Verdict::Stale, Some(reason));
    }

    /// Notes that a vault's share is looked at.
    pub(super) fn fresh(&mut self, index: usize) {
        if let Some(vault) = self.vaults.get_mut(index) {
            (vault.verdict, vault.reason) = (Verdict::Spare, None);
        }
    }

    /// Notes that a vault cannot be used now; `may_pass`: it is tried again.
    pub(super) fn lost(&mut self, index: usize, error: &dial::Error, may_pass: bool) {
        let Some(vault) = self.vaults.get_mut(index) else { return };
        vault.verdict = Verdict::of(error);
        let reason = chain(error);
        vault.gone = !may_pass;
        vault.identity = None;
        let again = if may_pass { "; trying again" } else { "" };
        log::warn!("vault {}: {}: {reason}{again}", vault.address, vault.verdict.as_str());
        vault.reason = Some(reason);
        if vault.verdict == Verdict::Expired {
            log::warn!("vault {}: the key's life is over there: deal a new one", vault.address);
        }
    }

    /// Whether so many vaults are lost for good that waiting cannot help.
    pub(super) fn is_hopeless(&self, collector: &Collector) -> bool {
        let left = self.vaults.iter().filter(|vault| !vault.gone).count();
        let all_answered = collector.shares() == left && left > 0;
        left < self.needed || all_answered
    }

    /// The final word on each vault, from the collector that found the key, at `now` (Unix seconds).
    pub(super) fn proved(&mut self, collector: &Collector, generation: Generation, now: u64) {
        self.generation = Some(hex(&generation.0));
        for (vault, fate) in self.vaults.iter_mut().zip(collector.fates()) {
            vault.verdict = match fate {
                Fate::Lost | Fate::Waiting | Fate::Asked => continue,
                Fate::Ready => Verdict::Ready,
                Fate::Served => Verdict::Served,
                Fate::Spare => Verdict::Spare,
                Fate::BadShare => Verdict::BadShare,
                Fate::Duplicate => Verdict::Duplicate,
            };
            if matches!(fate, Fate::BadShare | Fate::Duplicate) {
                log::warn!("vault {}: {}", vault.address, vault.verdict.as_str());
            }
        }
        let served = self.vaults.iter().filter(|vault| vault.verdict == Verdict::Served);
        self.key_expires = served.clone().filter_map(|vault| vault.key_expires).min();
        let left = self.key_expires.map(|at| at.saturating_sub(now) / DAY);
        if let Some(days) = left.filter(|days| *days < EXPIRY_WARNING) {
            log::warn!("unlock: the vaults forget this key in {days} days: deal a new one");
        }
        let names: Vec<_> = served.map(|vault| vault.address.as_str()).collect();
        log::info!("unlock: {} of {} shares made the key; served by {}", names.len(), self.vaults.len(), names.join(" "));
    }

    /// `1 of 2 shares; awaited: ...`.
    pub(super) fn progress(&self) -> String {
        let awaited =
            self.vaults.iter().filter(|vault| !vault.gone && !matches!(vault.verdict, Verdict::Spare | Verdict::Served));
        let awaited: Vec<_> = awaited.map(|vault| vault.address.as_str()).collect();
        format!("{self}; awaited: {}", awaited.join(" "))
    }

    /// The reason that stands before the others: what would have to change for the unlock to succeed.
    pub(super) fn failure(self, collector: &Collector) -> Error {
        let count = |verdicts: &[Verdict]| self.vaults.iter().filter(|vault| verdicts.contains(&vault.verdict)).count();
        let left = self.vaults.iter().filter(|vault| !vault.gone).count();
        let can_serve = |without: &[Verdict]| self.vaults.len() - count(without) >= self.needed;
        if collector.shares() >= self.needed {
            Error::Unproved(Box::new(self))
        } else if count(&[Verdict::Forged]) > 0 && (left < self.needed || !can_serve(&[Verdict::Forged])) {
            // Where so many are lost for good, no patience helps; where a name led to others, the next answer may be the right one.
            let may_pass = left >= self.needed;
            Error::NotBelieved(Box::new(self), may_pass)
        } else if left < self.needed && count(&[Verdict::Expired]) > 0 {
            Error::Expired(Box::new(self))
        } else if count(&[Verdict::Stale]) > 0 && !can_serve(&[Verdict::Stale, Verdict::Forged]) {
            Error::Stale(Box::new(self))
        } else if count(&[Verdict::NoQuote]) > 0 {
            Error::OwnQuote(Box::new(self))
        } else if count(&[Verdict::Denied]) > 0 && count(&[Verdict::Denied]) + collector.shares() >= self.needed {
            Error::Denied(Box::new(self))
        } else {
            Error::TooFew(Box::new(self))
        }
    }
}

impl std::fmt::Display for Outcome {
    /// `1 of 2 shares`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} shares", self.shares, self.needed)
    }
}

/// An error with its causes, `a: b: c`.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use ondisk::cmdline::{self, Policy};
    use quorum::{Rule, Threshold};

    use super::*;

    /// Three vaults, two of which are needed.
    fn policy() -> Policy {
        let words = "cvm.data=serial=data cvm.vault=10.0.2.2:1,10.0.2.2:2,10.0.2.2:3 cvm.vault.handle=h \
            cvm.vault.mrenclave=1111111111111111111111111111111111111111111111111111111111111111 \
            cvm.vault.app=00112233-4455-6677-8899-aabbccddeeff";
        cmdline::parse(&format!("roothash={} {words}", "ab".repeat(32))).unwrap()
    }

    fn away() -> dial::Error {
        dial::Error::Reach(ReachError::Connect(std::io::ErrorKind::ConnectionRefused))
    }

    fn denied() -> dial::Error {
        dial::Error::Vault(vault::Error::Refused(Refused::Denied))
    }

    fn expired() -> dial::Error {
        dial::Error::Vault(vault::Error::Refused(Refused::Expired))
    }

    fn not_believed() -> dial::Error {
        dial::Error::Vault(vault::Error::Node(attest::Refusal::Measurement("mrenclave")))
    }

    fn bare() -> dial::Error {
        dial::Error::Vault(vault::Error::Collateral(None))
    }

    fn no_quote() -> dial::Error {
        dial::Error::Vault(vault::Error::OwnQuote("quoting service".to_owned()))
    }

    fn spoiled() -> dial::Error {
        dial::Error::Vault(vault::Error::Protocol(vault::Step::Request, "answer is no vault's"))
    }

    #[test]
    fn reason_is_what_would_have_to_change() {
        type Lost = fn() -> dial::Error;
        let cases: [(&str, [Lost; 3], bool, u8); 10] = [
            ("all away", [away, away, away], false, 50),
            ("one away, two denied", [away, denied, denied], false, 51),
            ("two away, one denied", [away, away, denied], false, 50),
            ("one away, two of another build", [away, not_believed, not_believed], true, 53),
            ("two away, one of another build", [away, away, not_believed], false, 50),
            ("two expired", [expired, expired, away], true, 56),
            ("two without collateral", [bare, bare, away], false, 57),
            ("one without collateral, two away", [bare, away, away], false, 50),
            ("no quote", [no_quote, no_quote, away], false, 54),
            ("two that answer nonsense", [spoiled, spoiled, away], true, 50),
        ];
        for (name, errors, hopeless, code) in cases {
            let policy = policy();
            let vaults = &policy.data.as_ref().unwrap().vaults;
            let collector = Collector::new(Threshold::new(2, 3).unwrap(), Rule::Disk);
            let mut outcome = Outcome::new(vaults, &vaults.handle, &policy.tcb, collector.needed());
            for (index, error) in errors.iter().enumerate() {
                let error = error();
                outcome.lost(index, &error, error.may_pass());
            }
            assert_eq!(outcome.is_hopeless(&collector), hopeless, "{name}");
            assert_eq!(outcome.failure(&collector).code(), code, "{name}");
        }
    }

    #[test]
    fn receipt_has_addresses_and_reasons_and_no_state_of_ours() {
        let policy = policy();
        let vaults = &policy.data.as_ref().unwrap().vaults;
        let mut outcome = Outcome::new(vaults, &vaults.handle, &policy.tcb, 2);
        outcome.lost(1, &not_believed(), false);
        let json = serde_json::to_value(&outcome).unwrap();
        assert_eq!(json["vaults"][1]["verdict"], "forged");
        assert_eq!(json["vaults"][1]["reason"], "challenge: node not believed: mrenclave is not on the list");
        assert_eq!(json["vaults"][0]["verdict"], "slow");
        let mut fields: Vec<&String> = json["vaults"][1].as_object().unwrap().keys().collect();
        fields.sort();
        let want = [
            "address",
            "advisories",
            "key_expires",
            "mrenclave",
            "platform",
            "quote_time",
            "reason",
            "tcb_status",
            "valid_from",
            "valid_until",
            "verdict",
        ];
        assert_eq!(fields, want);
    }
}
