//! Policy of verification. Its values come from the measured command line and the measured files of the initrd.

use dcap_qvl::tcb_info::TcbStatus as DcapStatus;
use encoding::hex;
use serde::Deserialize;

pub use cmdline::TcbStatus;

/// The root certificate in which every chain must end (DER).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor(pub(crate) Vec<u8>);

impl Anchor {
    /// Takes a DER certificate, as the initrd contains it.
    #[must_use]
    pub fn from_der(der: Vec<u8>) -> Self {
        Self(der)
    }
}

/// Lower bounds and denials that an image contains (`/etc/cvm-init/floors.json`): an attacker cannot present older collateral than was
/// public when the image was built, and platforms with properties that the builder denies are refused.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floors {
    /// When the image was built, Unix seconds: an earlier time on any clock is wrong.
    pub built: u64,
    /// Lowest `tcbEvaluationDataNumber` of TCB info and QE identity.
    pub tcb_evaluation: u32,
    /// Lowest number of the root's revocation list.
    pub root_crl: u32,
    /// Lowest number of the PCK authority's revocation list.
    pub pck_crl: u32,
    /// Advisories that must not apply to a platform, such as `INTEL-SA-00960`.
    #[serde(default)]
    pub advisories_denied: Vec<String>,
    /// Platform properties that are not accepted.
    #[serde(default)]
    pub platforms_denied: Vec<PlatformProperty>,
    /// Accepted signers of the quoting enclave for verification without collateral: MRSIGNER, hex. Empty: any signer, which gives no
    /// protection.
    #[serde(default, deserialize_with = "measurements")]
    pub qe_signers: Vec<[u8; 32]>,
}

impl Default for Floors {
    /// No lower bounds and no denials.
    fn default() -> Self {
        Self {
            built: 0,
            tcb_evaluation: 0,
            root_crl: 0,
            pck_crl: 0,
            advisories_denied: Vec::new(),
            platforms_denied: Vec::new(),
            qe_signers: Vec::new(),
        }
    }
}

impl Floors {
    /// Parses `floors.json`. An unknown field is an error, since it may be a restriction.
    ///
    /// # Errors
    /// As `serde_json`.
    pub fn from_json(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }
}

/// A property of a platform in its PCK certificate (Platform CA only).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlatformProperty {
    /// Hyperthreading is on.
    Smt,
    /// Packages can be added later.
    Dynamic,
    /// Intel's registration service stores the platform's root keys.
    CachedKeys,
}

/// Translates dcap-qvl's status; `None` for `Revoked`, which no policy may accept.
pub(crate) const fn acceptable(status: DcapStatus) -> Option<TcbStatus> {
    Some(match status {
        DcapStatus::UpToDate => TcbStatus::UpToDate,
        DcapStatus::SWHardeningNeeded => TcbStatus::SwHardeningNeeded,
        DcapStatus::ConfigurationNeeded => TcbStatus::ConfigurationNeeded,
        DcapStatus::ConfigurationAndSWHardeningNeeded => TcbStatus::ConfigurationAndSwHardeningNeeded,
        DcapStatus::OutOfDate => TcbStatus::OutOfDate,
        DcapStatus::OutOfDateConfigurationNeeded => TcbStatus::OutOfDateConfigurationNeeded,
        DcapStatus::TDRelaunchAdvised => TcbStatus::TdRelaunchAdvised,
        DcapStatus::TDRelaunchAdvisedConfigurationNeeded => TcbStatus::TdRelaunchAdvisedConfigurationNeeded,
        DcapStatus::Revoked => return None,
    })
}

/// Which TCBs are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TcbDemand {
    /// Collateral must give one of these statuses.
    Statuses(Vec<TcbStatus>),
    /// Signatures up to the anchor only. Collateral is not used, so revocation and TCB are unknown.
    Signature,
}

/// Which platforms, enclaves and trust domains are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Accepted TCBs.
    pub tcb: TcbDemand,
    /// Lower bounds and denials of the image.
    pub floors: Floors,
    /// Accepted platform instance ids or PPIDs, 16 bytes each; empty: any platform.
    pub platforms: Vec<Vec<u8>>,
    /// Rules for SGX enclaves.
    pub sgx: SgxPolicy,
    /// Rules for trust domains.
    pub td: TdPolicy,
}

impl Policy {
    /// The policy for vault nodes of these builds (MRENCLAVE).
    #[must_use]
    pub fn of_nodes(mrenclaves: Vec<[u8; 32]>, tcb: TcbDemand, floors: Floors) -> Self {
        let sgx = SgxPolicy { mrenclaves: Some(mrenclaves), ..SgxPolicy::default() };
        Self { tcb, floors, platforms: Vec::new(), sgx, td: TdPolicy::default() }
    }
}

/// Rules for SGX enclaves. Enclaves in debug mode or with access to provisioning or launch keys are always refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SgxPolicy {
    /// Accepted builds; `None`: any, which [`crate::verify_node`] refuses.
    pub mrenclaves: Option<Vec<[u8; 32]>>,
    /// CONFIGID, which the host chooses when it starts an enclave with Key Separation and Sharing; zero without it.
    pub config_id: [u8; 64],
}

impl Default for SgxPolicy {
    fn default() -> Self {
        Self { mrenclaves: None, config_id: [0; 64] }
    }
}

/// Rules for trust domains. Those in debug or profiling mode, migratable ones, and those bound to a service TD are always refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TdPolicy {
    /// Bits of TDATTRIBUTES that are accepted beside SEPT_VE_DISABLE: KL, PERFMON and others.
    pub attributes_allowed: u64,
    /// Measurement of the TDX module. This and the following: SHA-384; absent: not compared.
    pub mrseam: Option<[u8; 48]>,
    /// Measurement of the initial contents.
    pub mrtd: Option<[u8; 48]>,
    /// The runtime measurement registers RTMR0 to RTMR3.
    pub rtmrs: [Option<[u8; 48]>; 4],
    /// Set by the host at creation.
    pub mrconfigid: Option<[u8; 48]>,
    /// Set by the host at creation.
    pub mrowner: Option<[u8; 48]>,
    /// Set by the host at creation.
    pub mrownerconfig: Option<[u8; 48]>,
}

fn measurements<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<[u8; 32]>, D::Error> {
    let texts: Vec<String> = Vec::deserialize(deserializer)?;
    let parse = |text: &String| {
        hex::decode_any_case(text.as_bytes())
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| serde::de::Error::custom("MRSIGNER: expected 64 hexadecimal digits"))
    };
    texts.iter().map(parse).collect()
}
