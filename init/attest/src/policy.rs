//! What is demanded. Data, from the measured command line and the measured trust files.

use dcap_qvl::tcb_info::TcbStatus as DcapStatus;
use serde::Deserialize;

pub use cmdline::TcbStatus;

/// The root certificate that every chain must end in, byte for byte (DER).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor(pub(crate) Vec<u8>);

impl Anchor {
    /// Takes a DER certificate as it stands in the initrd.
    #[must_use]
    pub fn from_der(der: Vec<u8>) -> Self {
        Self(der)
    }
}

/// What an image brings along to judge platforms by (`/etc/cvm-init/floors.json`): what was already public when it was built
/// cannot be rolled back behind it, and what its builder does not want is refused.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floors {
    /// When the image was built, Unix seconds: no clock is believed that says earlier.
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
    /// Properties of platforms that are not accepted.
    #[serde(default)]
    pub platforms_denied: Vec<PlatformProperty>,
    /// Who may have signed the quoting enclave where no collateral says it: MRSIGNER, hex. Empty: anyone, which means nothing.
    #[serde(default, deserialize_with = "measurements")]
    pub qe_signers: Vec<[u8; 32]>,
}

impl Default for Floors {
    /// Nothing is too old, nothing is denied.
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
    /// Reads `floors.json`. An unknown field is an error: its writer counts on it.
    ///
    /// # Errors
    /// As `serde_json`.
    pub fn from_json(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }
}

/// What a PCK certificate says of its platform, where it does (Platform CA only).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlatformProperty {
    /// Hyperthreading is on.
    Smt,
    /// Packages can be added later.
    Dynamic,
    /// Intel's registration service keeps the platform's root keys.
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

/// Which TCBs are good enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TcbDemand {
    /// Collateral must say one of these.
    Statuses(Vec<TcbStatus>),
    /// Signatures up to the anchor, and no word on revocation or TCB: collateral is not looked at.
    Signature,
}

/// Which platforms are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Which TCBs.
    pub tcb: TcbDemand,
    /// What the image brings along.
    pub floors: Floors,
    /// Platform instance ids or PPIDs, 16 bytes each; empty: any platform.
    pub platforms: Vec<Vec<u8>>,
    /// What an SGX enclave must be; says nothing of trust domains.
    pub sgx: SgxPolicy,
    /// What a trust domain must be; says nothing of enclaves.
    pub td: TdPolicy,
}

impl Policy {
    /// Vault nodes of these builds (MRENCLAVE).
    #[must_use]
    pub fn of_nodes(mrenclaves: Vec<[u8; 32]>, tcb: TcbDemand, floors: Floors) -> Self {
        let sgx = SgxPolicy { mrenclaves: Some(mrenclaves), ..SgxPolicy::default() };
        Self { tcb, floors, platforms: Vec::new(), sgx, td: TdPolicy::default() }
    }
}

/// What an SGX enclave must be. Never a debug one, never one with provisioning or launch keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SgxPolicy {
    /// The builds; `None` compares none, and is not what a [`crate::VerifiedNode`] can be made with.
    pub mrenclaves: Option<Vec<[u8; 32]>>,
    /// CONFIGID, which the host chooses when it starts an enclave with key separation and sharing; zero without.
    pub config_id: [u8; 64],
}

impl Default for SgxPolicy {
    fn default() -> Self {
        Self { mrenclaves: None, config_id: [0; 64] }
    }
}

/// What a trust domain must be. Never in debug or profiling mode, migratable, or bound to a service domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TdPolicy {
    /// Attributes that are accepted besides SEPT_VE_DISABLE: PKS, KL, PERFMON and others, as bits of TDATTRIBUTES.
    pub attributes_allowed: u64,
    /// SHA-384 each; absent: not compared.
    pub mrseam: Option<[u8; 48]>,
    /// What was loaded when the domain was built.
    pub mrtd: Option<[u8; 48]>,
    /// The four registers that software extends.
    pub rtmrs: [Option<[u8; 48]>; 4],
    /// What the host wrote at creation.
    pub mrconfigid: Option<[u8; 48]>,
    /// What the host wrote at creation.
    pub mrowner: Option<[u8; 48]>,
    /// What the host wrote at creation.
    pub mrownerconfig: Option<[u8; 48]>,
}

fn measurements<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<[u8; 32]>, D::Error> {
    let texts: Vec<String> = Vec::deserialize(deserializer)?;
    let parse = |text: &String| hex32(text).ok_or_else(|| serde::de::Error::custom("MRSIGNER is not 64 hex digits"));
    texts.iter().map(parse).collect()
}

fn hex32(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
