//! What became of each vault: for the console, the failure line and the receipt. Names, counts and reasons; never a value.

mod measured;

use attest::Tcb;
use cmdline::{TcbPolicy, Vaults};
use failure::chain;
use quorum::{Fate, Generation, Rule};
use serde::Serialize;
use vault::Refused;

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
    /// It does not take our evidence as it stands, whatever is measured in it.
    Rejected,
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
            Self::Rejected => "rejected",
        }
    }

    /// What an error of its thread says about a vault.
    fn of(error: &dial::Error) -> Self {
        use ratls::Error as V;
        match error {
            dial::Error::Vault(vault::Error::Refused(Refused::Expired)) => Self::Expired,
            dial::Error::Vault(vault::Error::Refused(_)) => Self::Denied,
            dial::Error::Vault(vault::Error::Session(error)) => match error {
                V::OwnQuote(_) => Self::NoQuote,
                V::EvidenceMalformed | V::EvidenceRefused => Self::Rejected,
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
            dial::Error::Idle => Self::Ready,
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
    /// What was to be told when it gave the share that is here: another node may have proved itself at the address since.
    #[serde(skip)]
    gave: Option<Box<Self>>,
}

/// The unlock as a whole.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Outcome {
    handle: String,
    threshold: u8,
    /// `commitment`, or `disk` where policy has none: then nothing says whose the vaults are.
    key_proof: &'static str,
    /// `collateral`, or `signature` where policy asks for no word on revocation or TCB.
    tcb: &'static str,
    /// Hex of the dealing's 16 bytes, once the key was proved.
    generation: Option<String>,
    /// The earliest at which a vault will forget the key, Unix seconds.
    key_expires: Option<u64>,
    vaults: Vec<VaultOutcome>,
    /// How many shares are here, of vaults whose evidence is valid.
    #[serde(skip)]
    shares: usize,
    /// Nothing that may still arrive makes a key.
    #[serde(skip)]
    hopeless: bool,
}

impl Outcome {
    pub(super) fn new(vaults: &Vaults, tcb: &TcbPolicy, rule: Rule) -> Self {
        let entry = |address: &cmdline::VaultAddress| VaultOutcome { address: address.to_string(), ..VaultOutcome::default() };
        Self {
            handle: vaults.handle.as_str().to_owned(),
            threshold: vaults.threshold.get(),
            key_proof: match rule {
                Rule::Commitment(_) => "commitment",
                Rule::Disk => "disk",
            },
            tcb: if matches!(tcb, TcbPolicy::Signature) { "signature" } else { "collateral" },
            generation: None,
            key_expires: None,
            vaults: vaults.addresses.iter().map(entry).collect(),
            shares: 0,
            hopeless: false,
        }
    }

    /// Notes a node that proved itself.
    pub(super) fn verified(&mut self, index: usize, ready: &Ready) {
        let Ready { node, time, .. } = ready;
        let Some(vault) = self.vaults.get_mut(index) else { return };
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
    }

    /// Notes that a vault was asked: what it does not answer from now on, it was too slow for.
    pub(super) fn asked(&mut self, index: usize) {
        if let Some(vault) = self.vaults.get_mut(index) {
            vault.verdict = Verdict::Slow;
        }
    }

    pub(super) fn served(&mut self, index: usize, expires_at: u64) {
        let Some(vault) = self.vaults.get_mut(index) else { return };
        log::info!("vault {}: gave a share", vault.address);
        (vault.key_expires, vault.verdict, vault.gave) = (Some(expires_at), Verdict::Spare, None);
        vault.gave = Some(Box::new(vault.clone()));
    }

    /// Notes that a vault gave a share, and that its evidence is not valid at the time that is known by now.
    pub(super) fn stale(&mut self, index: usize) {
        let Some(vault) = self.vaults.get_mut(index).filter(|vault| vault.verdict != Verdict::Stale) else { return };
        let reason = chain(&dial::Error::Stale);
        log::warn!("vault {}: {}: {reason}", vault.address, Verdict::Stale.as_str());
        (vault.verdict, vault.reason) = (Verdict::Stale, Some(reason));
    }

    /// Notes that a vault's share makes no key with the others.
    pub(super) fn unfit(&self, index: usize) {
        if let Some(vault) = self.vaults.get(index) {
            log::warn!("vault {}: its share and the others make no key that fits; trying again", vault.address);
        }
    }

    /// Notes that a vault cannot be used now; `is_transient`: it is tried again.
    pub(super) fn lost(&mut self, index: usize, error: &dial::Error, is_transient: bool) {
        let Some(vault) = self.vaults.get_mut(index) else { return };
        vault.verdict = Verdict::of(error);
        let reason = chain(error);
        let again = if is_transient { "; trying again" } else { "" };
        log::warn!("vault {}: {}: {reason}{again}", vault.address, vault.verdict.as_str());
        vault.reason = Some(reason);
        if vault.verdict == Verdict::Expired {
            log::warn!("vault {}: the key's life is over there: deal a new one", vault.address);
        }
    }

    /// Whether nothing that may still arrive makes a key.
    pub(super) const fn is_hopeless(&self) -> bool {
        self.hopeless
    }

    /// The final word on each vault, from the collection that found the key, at `now` (Unix seconds).
    pub(super) fn proved(&mut self, fates: &[Fate], generation: Generation, now: u64) {
        self.generation = Some(hex(&generation.0));
        for (vault, fate) in self.vaults.iter_mut().zip(fates) {
            let verdict = match fate {
                Fate::Lost | Fate::Waiting | Fate::Asked => continue,
                Fate::Ready => Verdict::Ready,
                Fate::Served => Verdict::Served,
                Fate::Spare => Verdict::Spare,
                Fate::BadShare => Verdict::BadShare,
                Fate::Duplicate => Verdict::Duplicate,
            };
            if let Some(gave) = vault.gave.take().filter(|_| verdict != Verdict::Ready) {
                *vault = *gave;
            }
            vault.verdict = verdict;
            vault.reason = None; // of an earlier connection
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
    pub(super) fn progress(&mut self, shares: usize) -> String {
        self.shares = shares;
        let awaited = self.vaults.iter().filter(|vault| !matches!(vault.verdict, Verdict::Spare | Verdict::Served));
        let awaited: Vec<_> = awaited.map(|vault| vault.address.as_str()).collect();
        format!("{self}; awaited: {}", awaited.join(" "))
    }

    /// The reason that stands before the others: what would have to change for the unlock to succeed. `shares`: so many are here of vaults
    /// whose evidence is valid; `hopeless`: nothing that may still arrive makes a key.
    pub(super) fn failure(mut self, shares: usize, hopeless: bool) -> Error {
        (self.hopeless, self.shares) = (hopeless, shares);
        let needed = usize::from(self.threshold);
        let count = |verdicts: &[Verdict]| self.vaults.iter().filter(|vault| verdicts.contains(&vault.verdict)).count();
        let can_serve = |without: &[Verdict]| self.vaults.len() - count(without) >= needed;
        let stands_first = |verdict, others: &[Verdict]| count(&[verdict]) > 0 && !can_serve(others);
        if shares >= needed {
            Error::Unproved(Box::new(self))
        } else if stands_first(Verdict::Forged, &[Verdict::Forged]) {
            Error::NotBelieved(Box::new(self))
        } else if stands_first(Verdict::Expired, &[Verdict::Expired, Verdict::Forged]) {
            Error::Expired(Box::new(self))
        } else if stands_first(Verdict::Stale, &[Verdict::Stale, Verdict::Forged]) {
            Error::Stale(Box::new(self))
        } else if count(&[Verdict::NoQuote, Verdict::Rejected]) > 0 {
            Error::OwnQuote(Box::new(self))
        } else if count(&[Verdict::Denied]) > 0 && count(&[Verdict::Denied]) + shares >= needed {
            Error::Denied(Box::new(self))
        } else {
            Error::TooFew(Box::new(self))
        }
    }
}

impl std::fmt::Display for Outcome {
    /// `1 of 2 shares`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} shares", self.shares, self.threshold)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use cmdline::Policy;
    use quorum::{Commitment, Rule};

    use super::*;

    /// Three vaults, two of which are needed.
    fn policy() -> Policy {
        let words = "cvm.data=serial=data cvm.vault=10.0.2.2:1,10.0.2.2:2,10.0.2.2:3 cvm.vault.handle=h \
            cvm.vault.mrenclave=1111111111111111111111111111111111111111111111111111111111111111 \
            cvm.vault.app=00112233-4455-6677-8899-aabbccddeeff cvm.vault.commit=none";
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
        dial::Error::from(ratls::Error::Node(attest::VerifyError::Mrenclave([0xab; 32])))
    }

    fn bare() -> dial::Error {
        dial::Error::from(ratls::Error::Collateral(None))
    }

    fn no_quote() -> dial::Error {
        dial::Error::from(ratls::Error::OwnQuote("quoting service".to_owned()))
    }

    fn rejected() -> dial::Error {
        dial::Error::from(ratls::Error::EvidenceMalformed)
    }

    fn without_time() -> dial::Error {
        dial::Error::from(ratls::Error::Status(ratls::Step::Present, 503))
    }

    fn spoiled() -> dial::Error {
        dial::Error::from(ratls::Error::Protocol(ratls::Step::Request, "answer is not one of a vault"))
    }

    #[test]
    fn reason_is_what_would_have_to_change() {
        type Lost = fn() -> dial::Error;
        let cases: [(&str, [Lost; 3], u8); 12] = [
            ("all away", [away, away, away], 50),
            ("one away, two denied", [away, denied, denied], 51),
            ("two away, one denied", [away, away, denied], 50),
            ("one away, two of another build", [away, not_believed, not_believed], 53),
            ("two away, one of another build", [away, away, not_believed], 50),
            ("two expired", [expired, expired, away], 56),
            ("two without collateral", [bare, bare, away], 57),
            ("one without collateral, two away", [bare, away, away], 50),
            ("no quote", [no_quote, no_quote, away], 54),
            ("two that answer nonsense", [spoiled, spoiled, away], 50),
            ("the node cannot use our evidence", [rejected, rejected, away], 54),
            ("no node has trusted time", [without_time, without_time, without_time], 50),
        ];
        for (name, errors, code) in cases {
            let (policy, rule) = (policy(), Rule::Commitment(Commitment([0; 32])));
            let vaults = &policy.data.as_ref().unwrap().vaults;
            let mut outcome = Outcome::new(vaults, &policy.tcb, rule);
            for (index, error) in errors.iter().enumerate() {
                let error = error();
                outcome.lost(index, &error, error.is_transient());
            }
            let error = outcome.failure(0, false);
            // Whatever was answered: another may be the next to answer at that address.
            assert_eq!((error.code().number(), error.is_transient()), (code, true), "{name}");
        }
    }

    #[test]
    fn only_lost_hope_is_final() {
        let (policy, rule) = (policy(), Rule::Commitment(Commitment([0; 32])));
        let vaults = &policy.data.as_ref().unwrap().vaults;
        for (shares, hopeless, want) in [(0, false, (50, true)), (0, true, (50, false)), (2, false, (52, true))] {
            let outcome = Outcome::new(vaults, &policy.tcb, rule);
            let error = outcome.failure(shares, hopeless);
            assert_eq!((error.code().number(), error.is_transient()), want, "{shares} {hopeless}");
        }
    }

    /// A vault that gave its share; then another node proved itself at its address.
    #[test]
    fn what_is_told_of_a_share_is_what_the_node_was_that_gave_it() {
        let policy = policy();
        let vaults = &policy.data.as_ref().unwrap().vaults;
        let mut outcome = Outcome::new(vaults, &policy.tcb, Rule::Disk);
        let platform = |outcome: &mut Outcome, index: usize, platform: &str| {
            outcome.vaults[index].platform = Some(platform.to_owned());
        };
        for (index, name) in ["aa", "bb", "cc"].into_iter().enumerate() {
            platform(&mut outcome, index, name);
        }
        outcome.served(0, 1_000);
        outcome.served(1, 2_000);
        outcome.lost(0, &away(), true);
        platform(&mut outcome, 0, "ff");
        outcome.proved(&[Fate::Served, Fate::Served, Fate::Ready], Generation([0; 16]), 0);
        let told = outcome.measured();
        let vault = |index: usize| (told["vaults"][index]["verdict"].clone(), told["vaults"][index]["platform"].clone());
        assert_eq!(vault(0), ("served".into(), "aa".into()));
        assert_eq!(vault(1), ("served".into(), "bb".into()));
        assert_eq!((vault(2), outcome.key_expires), (("ready".into(), serde_json::Value::Null), Some(1_000)));
    }

    #[test]
    fn receipt_has_addresses_and_reasons_and_no_state_of_ours() {
        let policy = policy();
        let vaults = &policy.data.as_ref().unwrap().vaults;
        let mut outcome = Outcome::new(vaults, &policy.tcb, Rule::Disk);
        outcome.lost(1, &not_believed(), true);
        let json = serde_json::to_value(&outcome).unwrap();
        assert_eq!(json["vaults"][1]["verdict"], "forged");
        assert_eq!(
            json["vaults"][1]["reason"],
            format!(
                "challenge: node not verified: mrenclave {} is not in cvm.vault.mrenclave (cvmctl: --mrenclave)",
                "ab".repeat(32)
            )
        );
        assert_eq!(json["vaults"][0]["verdict"], "slow");
        assert_eq!(json["key_proof"], "disk");
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
