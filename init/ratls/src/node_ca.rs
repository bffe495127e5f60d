//! The CA of the operator's nodes. If the measured anchors contain one, a node needs a certificate of it beside its quote.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// The most intermediate certificates that are used.
const INTERMEDIATES_MAX: usize = 3;

/// The CAs of which one must have issued a node's certificate. Without any, a node is proved by its quote alone.
#[derive(Debug, Clone, Default)]
pub struct NodeCa(Vec<CertificateDer<'static>>);

impl NodeCa {
    /// Takes CA certificates (DER).
    #[must_use]
    pub fn of(authorities: Vec<Vec<u8>>) -> Self {
        Self(authorities.into_iter().map(CertificateDer::from).collect())
    }

    /// First and last second in which the leaf and its intermediate certificates are all valid, Unix time. `None` if there is no CA or
    /// none of them issued the leaf.
    ///
    /// The chain is verified at a possible time: the host's (`now`), or the start of the leaf's validity. The end of validity is checked
    /// together with that of the node's evidence, at the time on which the vaults agree.
    pub(crate) fn window(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Option<(u64, u64)> {
        let began = window_of(leaf).map(|(from, _)| UnixTime::since_unix_epoch(Duration::from_secs(from)));
        [Some(now), began].into_iter().flatten().find_map(|time| self.window_at(leaf, intermediates, time))
    }

    /// Whether no CA is configured, so that any leaf is accepted.
    pub(crate) fn is_unrestricted(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a node with this leaf is accepted.
    pub(crate) fn admits(&self, leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], now: UnixTime) -> bool {
        self.is_unrestricted() || self.window(leaf, intermediates, now).is_some()
    }

    fn window_at(&self, leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], time: UnixTime) -> Option<(u64, u64)> {
        let anchors: Vec<_> = self.0.iter().filter_map(|authority| anchor_from_trusted_cert(authority).ok()).collect();
        let intermediates = intermediates.get(..intermediates.len().min(INTERMEDIATES_MAX)).unwrap_or_default();
        let algorithms = &[webpki::ring::ECDSA_P256_SHA256];
        let end = EndEntityCert::try_from(leaf).ok()?;
        let path = end.verify_for_usage(algorithms, &anchors, intermediates, time, KeyUsage::server_auth(), None, None).ok()?;
        path.intermediate_certificates().try_fold(window_of(leaf)?, |(from, until), certificate| {
            let (begins, ends) = window_of(&certificate.der())?;
            Some((from.max(begins), until.min(ends)))
        })
    }
}

/// First and last second of a certificate's validity, Unix time.
fn window_of(certificate: &CertificateDer<'_>) -> Option<(u64, u64)> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let validity = certificate.tbs_certificate().validity();
    Some((validity.not_before.to_unix_duration().as_secs(), validity.not_after.to_unix_duration().as_secs()))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};

    use super::*;

    /// September 2026.
    const IN_TIME: u64 = 1_790_000_000;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

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
    fn leaf_must_be_issued_by_the_ca_if_there_is_one() {
        let (ours, others) = (authority(), authority());
        let (own, foreign) = (leaf(&ours.0, &ours.1), leaf(&others.0, &others.1));
        let node_ca = NodeCa::of(vec![ours.2.clone()]);
        assert!(node_ca.admits(&own, &[], at(IN_TIME)) && !node_ca.admits(&foreign, &[], at(IN_TIME)));
        assert!(node_ca.admits(&own, &[], at(IN_TIME + 31_536_000)), "a host's clock that is ahead excludes no node");
        assert_eq!(node_ca.window(&own, &[], at(IN_TIME)), Some((1_767_225_600, 1_798_675_200)), "2026-01-01 to 2026-12-31");
        assert_eq!(NodeCa::default().window(&own, &[], at(IN_TIME)), None);
        assert_eq!(node_ca.window(&CertificateDer::from(vec![1]), &[], at(IN_TIME)), None);
        assert!(NodeCa::default().admits(&foreign, &[], at(IN_TIME)));
        assert!(NodeCa::of(vec![others.2, ours.2]).admits(&own, &[], at(IN_TIME)), "one of two");
        assert!(!NodeCa::of(vec![b"not a certificate".to_vec()]).admits(&own, &[], at(IN_TIME)));
    }

    /// An attacker with the key of an expired intermediate CA can issue a leaf with any dates.
    #[test]
    fn validity_of_a_leaf_is_cut_to_that_of_its_intermediate_ca() {
        let (key, params, root) = authority();
        let between = KeyPair::generate().unwrap();
        let mut old = params.clone();
        old.distinguished_name.push(rcgen::DnType::CommonName, "between");
        (old.not_before, old.not_after) = (rcgen::date_time_ymd(2026, 1, 1), rcgen::date_time_ymd(2026, 2, 1));
        let old_der = old.signed_by(&between, &Issuer::from_params(&params, &key)).unwrap().der().clone();
        let leaf = leaf(&between, &old);
        let window = NodeCa::of(vec![root]).window(&leaf, &[old_der], at(IN_TIME));
        assert_eq!(window, Some((1_767_225_600, 1_769_904_000)), "2026-01-01 to 2026-02-01");
    }
}
