//! The node's TLS certificates: a leaf with a new key every 24 hours, under the node's own CA.

use std::sync::Arc;
use std::time::Duration;

use dcap::{DAY, Key, sha256};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

use crate::{Error, tls};

/// Lifetime of a leaf's key, in seconds. Source: key-server-protocol.md, section 1.2.
const TURN: u64 = DAY;
/// How long a challenge may name the previous leaf, in seconds. Source: key-server-protocol.md, section 1.2.
const GRACE: u64 = 15 * 60;
/// How long before its creation a leaf is valid, in seconds: clocks differ.
const SKEW: u64 = 5 * 60;
/// 1.3.6.1.4.1.65230, the arc of nodes' configuration hashes.
const ARC: [u64; 7] = [1, 3, 6, 1, 4, 1, 65_230];

/// One leaf.
struct Leaf {
    key: Key,
    tls: Arc<ServerConfig>,
    made_at: u64,
}

/// The current leaf, the previous one, and their CA.
pub(crate) struct Leaves {
    ca: Key,
    ca_der: CertificateDer<'static>,
    workload_oid: bool,
    current: Leaf,
    /// With the time of its replacement.
    previous: Option<(Leaf, u64)>,
}

impl Leaves {
    /// Makes a CA with its first leaf at Unix time `now`.
    pub(crate) fn make(now: u64, workload_oid: bool) -> Result<Self, Error> {
        let ca = Key::generate()?;
        let ca_der = ca_params().self_signed(&pair(&ca)?)?.der().clone();
        let current = Leaf::make(&ca, &ca_der, now, workload_oid)?;
        Ok(Self { ca, ca_der, workload_oid, current, previous: None })
    }

    /// DER of the CA certificate.
    pub(crate) fn ca_der(&self) -> &[u8] {
        &self.ca_der
    }

    /// The TLS configuration of a connection that is accepted at `now`.
    pub(crate) fn serving(&mut self, now: u64) -> Result<Arc<ServerConfig>, Error> {
        if now >= self.current.made_at.saturating_add(TURN) {
            self.rotate(now)?;
        }
        Ok(self.current.tls.clone())
    }

    /// Replaces the leaf at `now`.
    pub(crate) fn rotate(&mut self, now: u64) -> Result<(), Error> {
        let next = Leaf::make(&self.ca, &self.ca_der, now, self.workload_oid)?;
        self.previous = Some((std::mem::replace(&mut self.current, next), now));
        Ok(())
    }

    /// The SubjectPublicKeyInfo with this hash, if a challenge may name it at `now`.
    pub(crate) fn find(&self, hash: &[u8], now: u64) -> Option<Vec<u8>> {
        let previous = self.previous.as_ref().filter(|(_, replaced_at)| now <= replaced_at.saturating_add(GRACE));
        let keys = [Some(&self.current), previous.map(|(leaf, _)| leaf)];
        keys.into_iter().flatten().map(|leaf| leaf.key.spki()).find(|spki| sha256(spki) == hash)
    }
}

impl Leaf {
    fn make(ca: &Key, ca_der: &CertificateDer<'static>, now: u64, workload_oid: bool) -> Result<Self, Error> {
        let key = Key::generate()?;
        let (params, signer) = (ca_params(), pair(ca)?);
        let issuer = rcgen::Issuer::from_params(&params, &signer);
        let der = leaf_params(now, workload_oid).signed_by(&pair(&key)?, &issuer)?.der().clone();
        Ok(Self { tls: tls::server(vec![der, ca_der.clone()], &key)?, key, made_at: now })
    }
}

fn pair(key: &Key) -> Result<KeyPair, Error> {
    Ok(KeyPair::try_from(key.pkcs8().as_slice())?)
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn ca_params() -> CertificateParams {
    let mut params = named("simulated vault CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

/// Like real leaves: valid as long as a challenge may name it, with configuration hashes under 2.1 to 2.3, and the root of the
/// workload's configuration, if any, under 5.1.
fn leaf_params(now: u64, workload_oid: bool) -> CertificateParams {
    let mut params = named("simulated vault");
    let at = |seconds: u64| OffsetDateTime::UNIX_EPOCH + Duration::from_secs(seconds);
    (params.not_before, params.not_after) = (at(now.saturating_sub(SKEW)), at(now.saturating_add(TURN + GRACE)));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let workload: &[[u64; 2]] = if workload_oid { &[[5, 1]] } else { &[] };
    let hashes = [[2, 1], [2, 2], [2, 3]].iter().chain(workload).map(|last| {
        let oid = [&ARC[..], last].concat();
        CustomExtension::from_oid_content(&oid, sha256(format!("configuration {last:?}").as_bytes()).to_vec())
    });
    params.custom_extensions = hashes.collect();
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_leaf_answers_for_fifteen_minutes() {
        let mut leaves = Leaves::make(1000, false).unwrap();
        let hash = |leaves: &Leaves| sha256(&leaves.current.key.spki());
        let first = hash(&leaves);
        leaves.serving(1000 + TURN - 1).unwrap();
        assert_eq!(hash(&leaves), first, "a day is not over");
        leaves.serving(1000 + TURN).unwrap();
        let second = hash(&leaves);
        assert_ne!(second, first);
        for (hash, late, want) in [(first, 0, true), (first, GRACE, true), (first, GRACE + 1, false), (second, GRACE + 1, true)] {
            assert_eq!(leaves.find(&hash, 1000 + TURN + late).is_some(), want, "{late} s after the turn");
        }
        assert!(leaves.find(&[0; 32], 1000).is_none());
    }
}
