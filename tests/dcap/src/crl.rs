//! Certificate revocation lists.

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};

use crate::cert::date;
use crate::{DAY, Error, Identity};

/// The content of a CRL. It always contains its number and the authority key identifier.
#[derive(Clone, Debug)]
pub struct CrlSpec {
    /// The issuer; `None`: the CA that signs this list by default.
    pub issuer: Option<Identity>,
    /// `thisUpdate`.
    pub this_update: u64,
    /// `nextUpdate`; must be later than `this_update`.
    pub next_update: u64,
    /// The CRL number.
    pub number: u32,
    /// Serial numbers of revoked certificates ([`Identity::serial`]).
    pub revoked: Vec<Vec<u8>>,
}

impl CrlSpec {
    /// An empty list issued three days before `now`, valid for thirty.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self {
            issuer: None,
            this_update: now.saturating_sub(3 * DAY),
            next_update: now.saturating_add(27 * DAY),
            number: 1,
            revoked: Vec::new(),
        }
    }

    /// Signs the list with `usual`, unless another issuer is set. Returns DER.
    pub fn sign(&self, usual: &Identity) -> Result<Vec<u8>, Error> {
        let issuer = self.issuer.as_ref().unwrap_or(usual);
        let revocation_time = date(self.this_update)?;
        let params = CertificateRevocationListParams {
            this_update: revocation_time,
            next_update: date(self.next_update)?,
            crl_number: SerialNumber::from_slice(&self.number.to_be_bytes()),
            issuing_distribution_point: None,
            revoked_certs: self
                .revoked
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(serial),
                    revocation_time,
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let names = issuer.spec.params(&issuer.key)?;
        Ok(params.signed_by(&rcgen::Issuer::from_params(&names, &*issuer.key.pair))?.der().to_vec())
    }
}
