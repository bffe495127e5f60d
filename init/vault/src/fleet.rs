//! The fleet's own authority, where a measured anchor names it: one more thing that a node must have, beside its quote.

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// The longest chain that is looked at, above the leaf.
const INTERMEDIATES_MAX: usize = 3;

/// Whose nodes are spoken to. Without an authority any node may answer: its quote is what proves it.
#[derive(Debug, Clone, Default)]
pub struct Fleet(Vec<CertificateDer<'static>>);

impl Fleet {
    /// Nodes whose leaf one of these authorities signed (DER).
    #[must_use]
    pub fn of(authorities: Vec<Vec<u8>>) -> Self {
        Self(authorities.into_iter().map(CertificateDer::from).collect())
    }

    /// From when until when, both included, a leaf that an authority signed is valid: Unix seconds. `None` without an authority: then
    /// nobody vouches for what a leaf says.
    pub(crate) fn window(&self, leaf: &CertificateDer<'_>) -> Option<(u64, u64)> {
        let leaf = Certificate::from_der(leaf).ok().filter(|_| !self.0.is_empty())?;
        let validity = leaf.tbs_certificate().validity();
        Some((validity.not_before.to_unix_duration().as_secs(), validity.not_after.to_unix_duration().as_secs()))
    }

    /// Whether an authority signed the leaf, at a time that may be: the host's, or else when the leaf began. Its end is judged with
    /// that of the node's evidence, at the time that the vaults agree on ([`Fleet::window`]).
    pub(crate) fn has_signed(&self, leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let began = Certificate::from_der(leaf).map(|leaf| leaf.tbs_certificate().validity().not_before.to_unix_duration());
        let times = [Some(now), began.ok().map(UnixTime::since_unix_epoch)];
        self.0.is_empty() || times.into_iter().flatten().any(|time| self.signs(leaf, intermediates, time))
    }

    fn signs(&self, leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], time: UnixTime) -> bool {
        let anchors: Vec<_> = self.0.iter().filter_map(|authority| anchor_from_trusted_cert(authority).ok()).collect();
        let intermediates = intermediates.get(..intermediates.len().min(INTERMEDIATES_MAX)).unwrap_or_default();
        let algorithms = &[webpki::ring::ECDSA_P256_SHA256];
        EndEntityCert::try_from(leaf).is_ok_and(|leaf| {
            leaf.verify_for_usage(algorithms, &anchors, intermediates, time, KeyUsage::server_auth(), None, None).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};

    use super::*;

    fn authority() -> (KeyPair, CertificateParams, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let der = params.self_signed(&key).unwrap().der().to_vec();
        (key, params, der)
    }

    fn leaf(key: &KeyPair, params: &CertificateParams) -> CertificateDer<'static> {
        let mut leaf = CertificateParams::default();
        leaf.not_before = rcgen::date_time_ymd(2026, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(2026, 12, 31);
        leaf.signed_by(&KeyPair::generate().unwrap(), &Issuer::from_params(params, key)).unwrap().der().clone()
    }

    #[test]
    fn leaf_must_be_signed_by_the_authority_if_there_is_one() {
        let (ours, others) = (authority(), authority());
        let (own, foreign) = (leaf(&ours.0, &ours.1), leaf(&others.0, &others.1));
        let at = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let fleet = Fleet::of(vec![ours.2.clone()]);
        let in_time = 1_790_000_000; // September 2026
        assert!(fleet.has_signed(&own, &[], at(in_time)) && !fleet.has_signed(&foreign, &[], at(in_time)));
        assert!(fleet.has_signed(&own, &[], at(in_time + 31_536_000)), "a host's clock ahead keeps nobody out");
        assert_eq!(fleet.window(&own), Some((1_767_225_600, 1_798_675_200)), "2026-01-01 to 2026-12-31");
        assert_eq!((Fleet::default().window(&own), fleet.window(&CertificateDer::from(vec![1]))), (None, None));
        assert!(Fleet::default().has_signed(&foreign, &[], at(in_time)));
        assert!(Fleet::of(vec![others.2, ours.2]).has_signed(&own, &[], at(in_time)), "one of two");
        assert!(!Fleet::of(vec![b"not a certificate".to_vec()]).has_signed(&own, &[], at(in_time)));
    }
}
