//! What is demanded of a node. Data, from the measured command line and the measured trust files.

pub use dcap_qvl::tcb_info::TcbStatus;

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

/// The lowest values that an image accepts: what was already public when it was built cannot be rolled back behind it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Floors {
    /// When the image was built, Unix seconds: no clock is believed that says earlier.
    pub built: u64,
    /// Lowest `tcbEvaluationDataNumber` of TCB info and QE identity.
    pub tcb_evaluation: u32,
    /// Lowest number of the root's revocation list.
    pub root_crl: u32,
    /// Lowest number of the PCK authority's revocation list.
    pub pck_crl: u32,
}

/// Which nodes are believed.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Builds that are vaults: MRENCLAVE, 32 bytes each.
    pub mrenclaves: Vec<[u8; 32]>,
    /// TCB statuses that are accepted besides none; `Revoked` never is.
    pub statuses: Vec<TcbStatus>,
    /// Rollback floors.
    pub floors: Floors,
}
