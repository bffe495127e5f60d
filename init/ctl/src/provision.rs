//! Dealing a fresh disk key to vaults: every node proves itself, then the key is made, then each node gets one share.
//!
//! Crash points. Before the first CreateKey nothing is anywhere. From then until the words are printed, vaults may hold shares of a key that
//! nobody knows: `cvmctl key delete` deletes them (with `--even-in-use` when every vault has its share already). A failure of a vault is
//! undone here, as far as the vaults answer. After the words are printed the key is in use.

mod undo;

use quorum::{Commitment, Dek, Generation, Share, Threshold};
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
use crate::{Cause, Credentials, Error, Node, Nodes, words};

use undo::{Held, Undo};

/// How far a node's clock may be off before the operator is told, in seconds.
const CLOCK_OFF: u64 = 300;

/// One key that shall come to be.
pub struct Request {
    /// The vaults, one share each, and what they must prove.
    pub nodes: Nodes,
    /// How many shares make the key.
    pub threshold: usize,
    /// The key's name at every vault.
    pub handle: String,
    /// The key policy (key-server-protocol.md, section 5); its owner is whom the grant is for.
    pub policy: Value,
    /// What the policy is for.
    pub facts: Facts,
    /// What grants the key, and what speaks for its owner.
    pub credentials: Credentials,
    /// The client key that is kept, and that a given grant is bound to; a fresh one otherwise.
    pub client_key: Option<Identity>,
    /// The operator's clock, Unix seconds: when the shares end is a node's to judge, and a wrong clock ends them early.
    pub now: u64,
}

/// A key that came to be. Nothing in it is secret.
#[derive(Clone, Debug)]
pub struct Provisioned {
    /// The key's name at every vault.
    pub handle: String,
    /// How many shares make the key.
    pub threshold: usize,
    /// What the key hashes to.
    pub commitment: Commitment,
    /// Which dealing this is.
    pub generation: Generation,
    /// The vaults, in the order of their shares' X.
    pub vaults: Vec<Holder>,
    /// The words of the guest's command line.
    pub words: Vec<String>,
}

/// A vault that holds a share.
#[derive(Clone, Debug)]
pub struct Holder {
    /// What it proved.
    pub node: Node,
    /// When it will forget the share, Unix seconds.
    pub expires_at: u64,
    /// How far its clock was ahead of the operator's, in seconds; negative: behind.
    pub clock_ahead: i64,
}

impl Holder {
    /// When it will forget the share by the operator's clock, Unix seconds, if its own clock is more than five minutes off.
    #[must_use]
    pub fn end_despite_clock(&self) -> Option<u64> {
        (self.clock_ahead.unsigned_abs() > CLOCK_OFF)
            .then(|| self.expires_at.saturating_add_signed(self.clock_ahead.saturating_neg()))
    }
}

/// One dealing: the shares, and what of them may be told. The key itself is gone by then.
struct Dealing {
    shares: Vec<Share>,
    commitment: Commitment,
    generation: Generation,
}

/// A proved vault without a key of this name, and what it will be shown.
struct Ready<'a> {
    vault: Proved,
    grant: Lent<'a>,
    bearer: Lent<'a>,
}

/// Makes a key and leaves one share at each vault. Each reads back as it was sent, or the dealing is undone.
///
/// # Errors
/// [`Error::NotReady`] when any vault is down, not verified or has the handle already: then no share was sent. After that,
/// [`Error::Unfinished`] says what was undone and what was not. The rest is about the request itself, before anyone is dialled.
pub fn provision(request: &Request) -> Result<Provisioned, Error> {
    let dealt = request.nodes.vaults.len();
    let threshold = Threshold::new(request.threshold, dealt).ok_or(Error::Threshold { needed: request.threshold, dealt })?;
    words::check(&request.nodes, &request.handle, request.threshold)?;
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
        words: words::guest(
            &request.nodes,
            &request.handle,
            request.threshold,
            &dealing.commitment.0,
            request.facts.app.as_ref(),
        ),
        handle: request.handle.clone(),
        threshold: request.threshold,
        commitment: dealing.commitment,
        generation: dealing.generation,
        vaults: holders,
    })
}

impl Provisioned {
    /// When the first vault forgets its share, Unix seconds.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.vaults.iter().map(|holder| holder.expires_at).min().unwrap_or(0)
    }

    /// The platforms that hold more than one share: whoever breaks one of them breaks as many.
    #[must_use]
    pub fn shared_platforms(&self) -> Vec<&[u8]> {
        let platforms: Vec<_> = self.vaults.iter().map(|holder| holder.node.platform.as_slice()).collect();
        let mut shared: Vec<_> =
            platforms.iter().copied().filter(|one| platforms.iter().filter(|other| *other == one).count() > 1).collect();
        shared.sort_unstable();
        shared.dedup();
        shared
    }

    /// All of it as one object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let vaults = self.vaults.iter().map(|holder| {
            json!({
                "address": holder.node.address,
                "mrenclave": hex::encode(holder.node.mrenclave),
                "tcb": holder.node.status(),
                "advisories": holder.node.advisories(),
                "platform": hex::encode(&holder.node.platform),
                "expires_at": holder.expires_at,
            })
        });
        json!({
            "commit": hex::encode(self.commitment.0),
            "handle": self.handle,
            "generation": hex::encode(self.generation.0),
            "threshold": self.threshold,
            "vaults": vaults.collect::<Vec<_>>(),
            "expires_at": self.expires_at(),
            "cmdline": self.words,
        })
    }
}

/// Every vault proved, and none with a key of this name; else all that is wrong, at every vault.
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

/// Refuses a node whose clock, `time`, is so far behind that the share is over by the operator's clock from the start: the operator would
/// take the printed end for a real one.
fn outlives(request: &Request, time: u64) -> Result<(), Cause> {
    let ttl = request.policy.pointer("/lifecycle/ttl_seconds").and_then(Value::as_u64).unwrap_or(0);
    if time.saturating_add(ttl) > request.now { Ok(()) } else { Err(Cause::ClockBehind { seconds: request.now - time, ttl }) }
}

/// Grant and bearer for a node whose clock says `time`.
fn tokens<'a>(request: &'a Request, owner: &Owner, granted: &Granted<'_>, time: u64) -> Result<(Lent<'a>, Lent<'a>), Cause> {
    Ok((request.credentials.grant(owner, granted, time)?, request.credentials.bearer(Some(owner), time)?))
}

/// Asks about the handle as the owner: a bearer that the node does not take is seen before a share is sent. A key that is there spares the
/// other vaults a share that would never be used; what keeps it from being overwritten is that CreateKey refuses to.
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

/// Makes a key from the operating system's generator and deals it; the key is wiped before this returns.
fn deal(threshold: Threshold) -> Result<Dealing, Error> {
    let random = SystemRandom::new();
    let dek = Dek::fill_with(|bytes| random.fill(bytes)).map_err(|_| Error::Random)?;
    let mut generation = Generation([0; 16]);
    random.fill(&mut generation.0).map_err(|_| Error::Random)?;
    let shares = quorum::split(&dek, threshold, generation).ok_or(Error::Random)?;
    Ok(Dealing { shares, commitment: dek.commitment(), generation })
}

/// One share each, in order, until one does not take it; then what was dealt is undone.
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

/// Gives a vault its share, and reads back under which policy it keeps it. What it holds if that fails, and why.
fn give(ready: &mut Ready<'_>, share: &Share, request: &Request) -> Result<u64, (Held, Cause)> {
    let material = ShareMaterial { set_id: &share.generation().0, x: share.x(), data: share.expose_data() }.to_bytes();
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
    fn two_dealings_share_neither_key_nor_generation() {
        let deal = || deal(Threshold::new(2, 3).unwrap()).unwrap();
        let (one, two) = (deal(), deal());
        assert_ne!(one.commitment, two.commitment);
        assert_ne!(one.generation, two.generation);
        assert_eq!(one.shares.iter().map(|share| share.x().get()).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(one.shares.iter().all(|share| share.generation() == one.generation));
    }
}
