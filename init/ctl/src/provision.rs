//! Dealing of a new disk key to vaults: verify every node, generate the key, give each node one share.
//!
//! Crash points. Before the first CreateKey no vault has changed. From then until the arguments are printed, vaults may hold shares of a key
//! that was never reported: `cvmctl key delete` deletes them (with `--even-in-use` if every vault has its share). If a vault fails, this
//! module deletes the shares at all vaults that answer. After the arguments are printed, the key is in use.

mod undo;

use encoding::hex;
use quorum::{Commitment, Dek, Share, ShareSetId, Threshold};
use ratls::Identity;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};
use vault::ShareMaterial;
use vault::operator::{KeyServer as _, NewKey};

use crate::credentials::Lent;
use crate::nodes::Proved;
use crate::policy::{self, Facts, Owner};
use crate::promote::in_force;
use crate::token::Granted;
use crate::{Cause, Credentials, Error, Node, Nodes, parameters};

use undo::{Held, Undo};

/// The largest difference of a node's clock without a warning, in seconds.
const CLOCK_OFF: u64 = 300;

/// A request for one new key.
pub struct Request {
    /// The vaults, one share each, and what they must prove.
    pub nodes: Nodes,
    /// Number of shares that recover the key.
    pub threshold: usize,
    /// Name of the key at every vault.
    pub handle: String,
    /// The key policy (key-server-protocol.md, section 5). The grant is for its owner.
    pub policy: Value,
    /// Facts about the policy's guests and nodes.
    pub facts: Facts,
    /// Sources of the grant and of the owner's bearer token.
    pub credentials: Credentials,
    /// The stored client key, to which a given grant is bound; `None`: a new one.
    pub client_key: Option<Identity>,
    /// The operator's clock, Unix seconds. Nodes decide by their own clocks when shares expire, so a wrong one can expire them early.
    pub now: u64,
}

/// The description of a new key. It contains no secret.
#[derive(Clone, Debug)]
pub struct Provisioned {
    /// Name of the key at every vault.
    pub handle: String,
    /// Number of shares that recover the key.
    pub threshold: usize,
    /// Commitment to the key.
    pub commitment: Commitment,
    /// Identifies the set of shares.
    pub share_set_id: ShareSetId,
    /// The vaults, ordered by the X of their shares.
    pub vaults: Vec<Holder>,
    /// Arguments for the guest's command line.
    pub parameters: Vec<String>,
}

/// A vault that holds a share.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The verified node.
    pub node: Node,
    /// When the share expires, Unix seconds by the node's clock.
    pub expires_at: u64,
    /// Its clock minus the operator's, in seconds.
    pub clock_ahead: i64,
}

impl Holder {
    /// When the share expires by the operator's clock, Unix seconds, if the clocks differ by more than five minutes.
    #[must_use]
    pub fn end_despite_clock(&self) -> Option<u64> {
        (self.clock_ahead.unsigned_abs() > CLOCK_OFF)
            .then(|| self.expires_at.saturating_add_signed(self.clock_ahead.saturating_neg()))
    }
}

/// The shares of a new key, and their public data. The key itself is already wiped.
struct Dealing {
    shares: Vec<Share>,
    commitment: Commitment,
    share_set_id: ShareSetId,
}

/// A verified vault without a key of this name, and the tokens for it.
struct Ready<'a> {
    vault: Proved,
    grant: Lent<'a>,
    bearer: Lent<'a>,
}

/// Generates a key and stores one share at each vault. If a policy does not read back as sent, all shares are deleted.
///
/// # Errors
/// [`Error::NotReady`] when any vault is down, not verified or has the handle already: then no share was sent. After that,
/// [`Error::Unfinished`] says what was undone and what was not. The rest is about the request itself, before anyone is dialled.
pub fn provision(request: &Request) -> Result<Provisioned, Error> {
    let dealt = request.nodes.vaults.len();
    let threshold = Threshold::new(request.threshold, dealt).ok_or(Error::Threshold { needed: request.threshold, dealt })?;
    parameters::check(&request.nodes, &request.handle, request.threshold)?;
    let owner = policy::owner(&request.policy).ok_or(Error::NoOwner)?;
    let problems = policy::check(&request.policy, &request.facts);
    if !problems.is_empty() {
        return Err(Error::Policy(problems));
    }
    request.credentials.check(true)?;
    let identity = crate::identity(request.client_key.as_ref())?;

    let vaults = ready(request, &identity, &owner)?;
    let dealing = deal(threshold)?;
    let undo = Undo { request, identity: &identity, owner: &owner };
    let holders = hand_out(vaults, &dealing.shares, &undo)?;
    Ok(Provisioned {
        parameters: parameters::guest(
            &request.nodes,
            &request.handle,
            request.threshold,
            &dealing.commitment.0,
            request.facts.app.as_ref(),
        ),
        handle: request.handle.clone(),
        threshold: request.threshold,
        commitment: dealing.commitment,
        share_set_id: dealing.share_set_id,
        vaults: holders,
    })
}

impl Provisioned {
    /// When the first share expires, Unix seconds.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.vaults.iter().map(|holder| holder.expires_at).min().unwrap_or(0)
    }

    /// Platforms with more than one share. An attacker who breaks such a platform gets all of its shares.
    #[must_use]
    pub fn shared_platforms(&self) -> Vec<&[u8]> {
        let platforms: Vec<_> = self.vaults.iter().map(|holder| holder.node.platform.as_slice()).collect();
        let mut shared: Vec<_> =
            platforms.iter().copied().filter(|one| platforms.iter().filter(|other| *other == one).count() > 1).collect();
        shared.sort_unstable();
        shared.dedup();
        shared
    }

    /// The description as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let vaults = self.vaults.iter().map(|holder| {
            json!({
                "address": holder.node.address,
                "mrenclave": hex::encode(&holder.node.mrenclave),
                "tcb": holder.node.status(),
                "advisories": holder.node.advisories(),
                "platform": hex::encode(&holder.node.platform),
                "expires_at": holder.expires_at,
            })
        });
        json!({
            "key_commitment": hex::encode(&self.commitment.0),
            "handle": self.handle,
            "share_set_id": hex::encode(&self.share_set_id.0),
            "threshold": self.threshold,
            "vaults": vaults.collect::<Vec<_>>(),
            "expires_at": self.expires_at(),
            "cmdline": self.parameters,
        })
    }
}

/// Verifies every vault and checks that none has a key of this name. The error lists the failures of all vaults.
fn ready<'a>(request: &'a Request, identity: &Identity, owner: &Owner) -> Result<Vec<Ready<'a>>, Error> {
    let mut vaults = Vec::new();
    let mut failures = Vec::new();
    let thumbprint = identity.thumbprint();
    let granted = Granted { handle: &request.handle, policy: &request.policy, thumbprint: &thumbprint };
    for proved in request.nodes.prove(identity) {
        let vault = proved.and_then(|mut vault| {
            outlives(request, vault.node.time).map_err(|cause| vault.failed(cause))?;
            let tokens = tokens(request, owner, &granted, vault.node.time).map_err(|cause| vault.failed(cause))?;
            vacant(&mut vault, &request.handle, &tokens.1).map_err(|cause| vault.failed(cause))?;
            Ok(Ready { vault, grant: tokens.0, bearer: tokens.1 })
        });
        match vault {
            Ok(vault) => vaults.push(vault),
            Err(failure) => failures.push(failure),
        }
    }
    if failures.is_empty() { Ok(vaults) } else { Err(Error::NotReady(failures)) }
}

/// Refuses a node whose clock, `time`, is so far behind that the share would expire before it is sent, by the operator's clock.
fn outlives(request: &Request, time: u64) -> Result<(), Cause> {
    let ttl = request.policy.pointer("/lifecycle/ttl_seconds").and_then(Value::as_u64).unwrap_or(0);
    if time.saturating_add(ttl) > request.now { Ok(()) } else { Err(Cause::ClockBehind { seconds: request.now - time, ttl }) }
}

/// Grant and bearer token for a node whose clock is at `time`.
fn tokens<'a>(request: &'a Request, owner: &Owner, granted: &Granted<'_>, time: u64) -> Result<(Lent<'a>, Lent<'a>), Cause> {
    Ok((request.credentials.grant(owner, granted, time)?, request.credentials.bearer(Some(owner), time)?))
}

/// Queries the handle as the owner, so that an unusable bearer token or an existing key is detected before any share is sent. CreateKey
/// itself never overwrites a key.
fn vacant(vault: &mut Proved, handle: &str, bearer: &vault::operator::Token) -> Result<(), Cause> {
    match vault.server.key_info(handle, bearer) {
        Err(error) if error.is_absent() => Ok(()),
        Ok(_) => Err(Cause::Exists),
        Err(error) => match error.refusal() {
            Some(vault::operator::Refusal::Key(vault::Refused::Denied)) => Err(Cause::Exists),
            _ => Err(error.into()),
        },
    }
}

/// Generates a key with the operating system's generator and splits it. The key is wiped before this returns.
fn deal(threshold: Threshold) -> Result<Dealing, Error> {
    let random = SystemRandom::new();
    let dek = Dek::fill_with(|bytes| random.fill(bytes)).map_err(|_| Error::Random)?;
    let mut share_set_id = ShareSetId([0; 16]);
    random.fill(&mut share_set_id.0).map_err(|_| Error::Random)?;
    let shares = quorum::split(&dek, threshold, share_set_id).ok_or(Error::Random)?;
    Ok(Dealing { shares, commitment: dek.commitment(), share_set_id })
}

/// Sends the shares in order. If a vault fails, deletes all shares that were sent.
fn hand_out(mut vaults: Vec<Ready<'_>>, shares: &[Share], undo: &Undo<'_>) -> Result<Vec<Holder>, Error> {
    let mut holders: Vec<Holder> = Vec::with_capacity(vaults.len());
    let mut failed = None;
    for (vault, share) in vaults.iter_mut().zip(shares) {
        match give(vault, share, undo.request) {
            Ok(expires_at) => {
                let node = vault.vault.node.clone();
                let clock_ahead = node.time.cast_signed().saturating_sub(undo.request.now.cast_signed());
                holders.push(Holder { node, expires_at, clock_ahead });
            }
            Err((held, cause)) => {
                failed = Some((held, Box::new(vault.vault.failed(cause))));
                break;
            }
        }
    }
    let Some((held, failure)) = failed else { return Ok(holders) };
    let state = |index: usize| match index.cmp(&holders.len()) {
        std::cmp::Ordering::Less => Held::Share,
        std::cmp::Ordering::Equal => held,
        std::cmp::Ordering::Greater => Held::Nothing,
    };
    let vaults = vaults.into_iter().enumerate().map(|(index, vault)| (vault, state(index))).collect();
    let (deleted, left) = undo.run(vaults);
    let undo = undo.command(left.len() == undo.request.nodes.vaults.len());
    Err(Error::Unfinished { failure, deleted, left, undo })
}

/// Sends a vault its share and reads the policy back. On failure, returns whether the vault may hold the share, and the reason.
fn give(ready: &mut Ready<'_>, share: &Share, request: &Request) -> Result<u64, (Held, Cause)> {
    let material = ShareMaterial { set_id: &share.share_set_id().0, x: share.x(), data: share.expose_data() }.to_bytes();
    let key = NewKey { handle: &request.handle, material: &material, grant: &ready.grant };
    let expires_at = ready.vault.server.create_key(&key).map_err(|error| {
        let cause = match error.refusal() {
            Some(vault::operator::Refusal::Exists) => Cause::Exists,
            _ => Cause::from(error),
        };
        (if cause.leaves_doubt() { Held::Perhaps } else { Held::Nothing }, cause)
    })?;
    in_force(&mut ready.vault, &request.handle, &request.policy, 1, &ready.bearer).map_err(|cause| (Held::Share, cause))?;
    Ok(expires_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_dealings_have_neither_key_nor_share_set_id_in_common() {
        let deal = || deal(Threshold::new(2, 3).unwrap()).unwrap();
        let (one, two) = (deal(), deal());
        assert_ne!(one.commitment, two.commitment);
        assert_ne!(one.share_set_id, two.share_set_id);
        assert_eq!(one.shares.iter().map(|share| share.x().get()).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(one.shares.iter().all(|share| share.share_set_id() == one.share_set_id));
    }
}
