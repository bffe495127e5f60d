//! Dealing a fresh disk key to vaults: every node proves itself, then the key is made, then each node gets one share.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use quorum::{Commitment, Dek, Generation, Share, Threshold};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Map, Value, json};
use vault::{Answer, Identity, Refused};
use zeroize::{Zeroize, Zeroizing};

use crate::nodes::Proved;
use crate::policy;
use crate::token::Signer;
use crate::{Cause, Error, Failure, Node, Nodes, words};

/// One key that shall come to be.
pub struct Request {
    /// The vaults, one share each, and what they must prove.
    pub nodes: Nodes,
    /// How many shares make the key.
    pub threshold: usize,
    /// The key's name at every vault.
    pub handle: String,
    /// The key policy (wire.md, section 3); its owner is whom the grant is for.
    pub policy: Value,
    /// The issuer's key that signs the grant: PKCS#8 of P-256, PEM or DER.
    pub issuer_key: Zeroizing<Vec<u8>>,
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
}

/// One dealing: the shares, and what of them may be told. The key itself is gone by then.
struct Dealing {
    shares: Vec<Share>,
    commitment: Commitment,
    generation: Generation,
}

/// Makes a key and leaves one share at each vault.
///
/// # Errors
/// [`Error::NotReady`] when any vault is down, not believed or has the handle already: then no share was sent. After that,
/// [`Error::Unfinished`] says where shares are. The rest is about the request itself, before anyone is dialled.
pub fn provision(request: &Request) -> Result<Provisioned, Error> {
    let dealt = request.nodes.vaults.len();
    let threshold = Threshold::new(request.threshold, dealt).ok_or(Error::Threshold { needed: request.threshold, dealt })?;
    words::check(&request.nodes, &request.handle, request.threshold)?;
    let owner = policy::owner(&request.policy).ok_or(Error::NoOwner)?;
    let signer = Signer::read(&request.issuer_key)?;
    let identity = Identity::operator().map_err(Error::Identity)?;

    let mut vaults = ready(request, &identity)?;
    let grant = signer.grant(&owner, &request.handle, &request.policy, identity.leaf())?;
    let dealing = deal(threshold)?;
    let holders = hand_out(&mut vaults, &dealing.shares, &request.handle, &grant)?;
    Ok(Provisioned {
        words: words::guest(&request.nodes, &request.handle, request.threshold, &dealing.commitment.0),
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
fn ready(request: &Request, identity: &Identity) -> Result<Vec<Proved>, Error> {
    let mut vaults = Vec::new();
    let mut failures = Vec::new();
    for proved in request.nodes.prove(identity) {
        match proved.and_then(|vault| vacant(vault, &request.handle)) {
            Ok(vault) => vaults.push(vault),
            Err(failure) => failures.push(failure),
        }
    }
    if failures.is_empty() { Ok(vaults) } else { Err(Error::NotReady(failures)) }
}

/// Asks about the handle as a stranger: a vault that has the key says that we are nobody to it. This only spares the other
/// vaults a share that would never be used; what keeps a key from being overwritten is that CreateKey refuses to.
fn vacant(mut vault: Proved, handle: &str) -> Result<Proved, Failure> {
    match vault.ask(&json!({ "GetKeyInfo": { "handle": handle } }), None) {
        Err(vault::Error::Refused(Refused::Absent | Refused::Unknown)) => Ok(vault),
        Ok(_) | Err(vault::Error::Refused(_)) => Err(vault.failed(Cause::Exists)),
        Err(error) => Err(vault.failed(error.into())),
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

/// One share each, in order, until one does not take it.
fn hand_out(vaults: &mut [Proved], shares: &[Share], handle: &str, grant: &str) -> Result<Vec<Holder>, Error> {
    let mut holders: Vec<Holder> = Vec::with_capacity(vaults.len());
    for (vault, share) in vaults.iter_mut().zip(shares) {
        match create(vault, share, handle, grant) {
            Ok(expires_at) => holders.push(Holder { node: vault.node.clone(), expires_at }),
            Err(cause) => {
                let created = holders.into_iter().map(|holder| holder.node.address).collect();
                return Err(Error::Unfinished { unknown: cause.leaves_doubt(), failure: vault.failed(cause), created });
            }
        }
    }
    Ok(holders)
}

fn create(vault: &mut Proved, share: &Share, handle: &str, grant: &str) -> Result<u64, Cause> {
    let request = CreateKey::new(share, handle, grant)?;
    match vault.ask(&request.0, None)? {
        Answer::Created { expires_at } => Ok(expires_at),
        _ => Err(Cause::Answer),
    }
}

/// The request that carries a share, wiped on drop.
struct CreateKey(Value);

impl CreateKey {
    const MATERIAL: &str = "/CreateKey/material_b64";

    /// The share goes into the memory that will be wiped and is moved from there on, never copied: `json!` would copy it.
    fn new(share: &Share, handle: &str, grant: &str) -> Result<Self, Cause> {
        let material = share.expose_material();
        let mut text = vec![0; material.len().div_ceil(3) * 4];
        let length = BASE64URL.encode_slice(&*material, &mut text).map_err(|_| Cause::Answer)?;
        text.truncate(length);
        let text = String::from_utf8(text).map_err(|_| Cause::Answer)?;
        let fields = Map::from_iter([
            ("handle".to_owned(), Value::from(handle)),
            ("material_b64".to_owned(), Value::String(text)),
            ("grant".to_owned(), Value::from(grant)),
        ]);
        Ok(Self(Value::Object(Map::from_iter([("CreateKey".to_owned(), Value::Object(fields))]))))
    }
}

impl Drop for CreateKey {
    fn drop(&mut self) {
        if let Some(Value::String(text)) = self.0.pointer_mut(Self::MATERIAL) {
            text.zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_carries_the_share_as_the_wire_says() {
        let dealing = deal(Threshold::new(2, 3).unwrap()).unwrap();
        let request = CreateKey::new(&dealing.shares[0], "apps/h", "a.b.c").unwrap();
        let material = BASE64URL.encode(&*dealing.shares[0].expose_material());
        assert_eq!(request.0, json!({ "CreateKey": { "handle": "apps/h", "material_b64": material, "grant": "a.b.c" } }));
    }

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
