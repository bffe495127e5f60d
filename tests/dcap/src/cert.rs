//! Certificates of the simulated chain, and their keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, CustomExtension, DistinguishedName, DnType, IsCa, KeyUsagePurpose,
    SerialNumber,
};
use time::OffsetDateTime;

use crate::{DAY, Error, Key, sha256};

/// Intel's OID for the SGX extension of a PCK certificate.
const SGX_EXTENSION: [u64; 7] = [1, 2, 840, 113_741, 1, 13, 1];

/// The content of a certificate. Extensions come in rcgen's order: AKI, key usage, CRL, SKI, constraints, then custom.
#[derive(Clone, Debug)]
pub struct CertSpec {
    /// Common name. Verifiers check it: a PCK leaf is "Intel SGX PCK Certificate".
    pub common_name: String,
    /// Organisation; the simulated one contains "SIMULATED".
    pub organization: String,
    /// First second of validity.
    pub not_before: u64,
    /// Last second of validity.
    pub not_after: u64,
    /// At most 20 bytes; `None`: the first 20 of SHA-256 over the key, made positive.
    pub serial: Option<Vec<u8>>,
    /// `Some(length)` makes a CA with that path length and a CA's key usage.
    pub ca: Option<u8>,
    /// The DER of each SGX extension: one in a PCK leaf, none elsewhere.
    pub sgx_extensions: Vec<Vec<u8>>,
}

impl CertSpec {
    /// A certificate valid for seven years around `now`.
    #[must_use]
    pub fn new(common_name: &str, now: u64) -> Self {
        Self {
            common_name: common_name.to_owned(),
            organization: "SIMULATED not Intel".to_owned(),
            not_before: now.saturating_sub(100 * DAY),
            not_after: now.saturating_add(2_456 * DAY),
            serial: None,
            ca: None,
            sgx_extensions: Vec::new(),
        }
    }

    pub(crate) fn params(&self, key: &Key) -> Result<CertificateParams, Error> {
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, self.common_name.as_str());
        name.push(DnType::OrganizationName, self.organization.as_str());
        name.push(DnType::LocalityName, "Santa Clara");
        name.push(DnType::StateOrProvinceName, "CA");
        name.push(DnType::CountryName, "US");
        let mut params = CertificateParams::default();
        params.distinguished_name = name;
        params.not_before = date(self.not_before)?;
        params.not_after = date(self.not_after)?;
        params.serial_number = Some(SerialNumber::from_slice(&self.serial(key)));
        params.use_authority_key_identifier_extension = true;
        params.crl_distribution_points =
            vec![CrlDistributionPoint { uris: vec!["http://simulated.invalid/root.crl".to_owned()] }];
        if let Some(length) = self.ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(length));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        } else {
            params.is_ca = IsCa::ExplicitNoCa;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment];
        }
        params.custom_extensions =
            self.sgx_extensions.iter().map(|der| CustomExtension::from_oid_content(&SGX_EXTENSION, der.clone())).collect();
        Ok(params)
    }

    fn serial(&self, key: &Key) -> Vec<u8> {
        self.serial.clone().unwrap_or_else(|| {
            let mut bytes: Vec<u8> = sha256(&key.public()).into_iter().take(20).collect();
            if let Some(first) = bytes.first_mut() {
                *first = *first & 0x3f | 0x40;
            }
            bytes
        })
    }
}

/// A key and its certificate: of a CA, a signer or a platform.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The key pair.
    pub key: Key,
    /// The certificate's content; an issuer's name and key usage are taken from it.
    pub spec: CertSpec,
    /// The certificate.
    pub der: Vec<u8>,
}

impl Identity {
    /// Makes a self-signed root.
    pub fn self_signed(spec: CertSpec, key: Key) -> Result<Self, Error> {
        let der = spec.params(&key)?.self_signed(&*key.pair)?.der().to_vec();
        Ok(Self { key, spec, der })
    }

    /// Signs a certificate for `key`. The issuer need not be a CA: tests make invalid chains too.
    pub fn issue(&self, spec: CertSpec, key: Key) -> Result<Self, Error> {
        let params = self.spec.params(&self.key)?;
        let issuer = rcgen::Issuer::from_params(&params, &*self.key.pair);
        let der = spec.params(&key)?.signed_by(&*key.pair, &issuer)?.der().to_vec();
        Ok(Self { key, spec, der })
    }

    /// The serial number, big-endian, as a CRL lists it.
    #[must_use]
    pub fn serial(&self) -> Vec<u8> {
        self.spec.serial(&self.key)
    }

    /// The certificate as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }
}

/// `der` in PEM armour, 64 columns, a newline at the end.
#[must_use]
pub fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out + &format!("-----END {label}-----\n")
}

pub(crate) fn date(seconds: u64) -> Result<OffsetDateTime, Error> {
    i64::try_from(seconds).ok().and_then(|signed| OffsetDateTime::from_unix_timestamp(signed).ok()).ok_or(Error::Time(seconds))
}
