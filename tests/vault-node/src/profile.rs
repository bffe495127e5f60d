//! Attestation profiles: the requirements for a guest to be a principal of a policy.
//!
//! Source: key-server-protocol.md, section 5.3; for the rest, types.rs of the vault crate (texts.rs).

use serde::{Deserialize, Serialize};

use crate::{Error, Extensions};

/// The requirements for one principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AttestationProfile {
    pub(crate) name: String,
    /// One of them must match.
    pub(crate) measurements: Vec<Measurement>,
    /// Each of them must accept the quote; without any, nothing is accepted.
    pub(crate) attestation_servers: Vec<Server>,
    #[serde(default)]
    pub(crate) required_oids: Vec<RequiredOid>,
    #[serde(default)]
    pub(crate) acceptable_tcb_statuses: Option<Vec<String>>,
}

/// All fields that are present must match. Real nodes have neither `rtmr0`, `rtmr3` nor `SevSnp` (`Extensions`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Measurement {
    Mrenclave(String),
    Tdx {
        mrtd: String,
        rtmr1: String,
        rtmr2: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rtmr0: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rtmr3: Option<String>,
    },
    SevSnp {
        measurement: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) pinned_spki_sha256_hex: Option<String>,
}

/// An extension of the guest's certificate with this value, in hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequiredOid {
    pub(crate) oid: String,
    pub(crate) value: String,
}

impl AttestationProfile {
    /// Converts hex to lower case, and drops fields that a node without the extension does not store.
    pub(crate) fn normalise(&mut self, extensions: &Extensions) -> Result<(), Error> {
        for measurement in &mut self.measurements {
            match measurement {
                Measurement::Mrenclave(mrenclave) => mrenclave.make_ascii_lowercase(),
                Measurement::Tdx { mrtd, rtmr1, rtmr2, rtmr0, rtmr3 } => {
                    if !extensions.match_rtmr0_rtmr3 {
                        (*rtmr0, *rtmr3) = (None, None);
                    }
                    let registers = [Some(mrtd), Some(rtmr1), Some(rtmr2), rtmr0.as_mut(), rtmr3.as_mut()];
                    registers.into_iter().flatten().for_each(|register| register.make_ascii_lowercase());
                }
                Measurement::SevSnp { .. } if extensions.snp_chip.is_none() => {
                    return Err(Error::Policy("unknown variant `SevSnp`".to_owned()));
                }
                Measurement::SevSnp { measurement } => measurement.make_ascii_lowercase(),
            }
        }
        self.required_oids.iter_mut().for_each(|oid| oid.value.make_ascii_lowercase());
        for pin in self.attestation_servers.iter_mut().filter_map(|server| server.pinned_spki_sha256_hex.as_mut()) {
            pin.make_ascii_lowercase();
        }
        Ok(())
    }
}
