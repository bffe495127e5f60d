//! The SGX extension of a PCK certificate: the platform's ids and patch level.

use crate::der::{boolean, enumerated, integer, octets, sequence, sgx_oid};

/// The content of extension 1.2.840.113741.1.13.1.
///
/// Source: Intel SGX PCK Certificate and CRL Profile Specification, revision 1.5, section 1.3.5.
#[derive(Clone, Debug)]
pub struct PckExtension {
    /// Platform provisioning id; 16 bytes in a valid one.
    pub ppid: Vec<u8>,
    /// The 16 component SVNs.
    pub components: [u8; 16],
    /// The raw CPUSVN; `None`: equal to the components, as on every platform seen so far.
    pub cpu_svn: Option<[u8; 16]>,
    /// The provisioning enclave's SVN.
    pub pce_svn: u16,
    /// The provisioning enclave's id; 2 bytes in a valid one.
    pub pce_id: Vec<u8>,
    /// Family, model, stepping, platform type, custom SKU; 6 bytes in a valid one.
    pub fmspc: Vec<u8>,
    /// 0 standard, 1 scalable, 2 scalable with integrity.
    pub sgx_type: u8,
    /// Platform instance id, 16 bytes; only leaves of the Platform CA contain it and the flags.
    pub platform_instance: Option<Vec<u8>>,
    /// Dynamic platform, cached keys, SMT enabled.
    pub flags: [bool; 3],
}

impl PckExtension {
    /// A fourth-generation Xeon with ids derived from `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self {
            ppid: id_of("ppid", name),
            components: [3, 3, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0],
            cpu_svn: None,
            pce_svn: 13,
            pce_id: vec![0, 0],
            fmspc: vec![0xb0, 0xc0, 0x6f, 0, 0, 0],
            sgx_type: 1,
            platform_instance: Some(id_of("platform instance", name)),
            flags: [true, false, true],
        }
    }

    /// The extension's value as DER.
    #[must_use]
    pub fn der(&self) -> Vec<u8> {
        let cpu_svn = self.cpu_svn.unwrap_or(self.components);
        let mut tcb: Vec<Vec<u8>> = (1..).zip(self.components).map(|(arc, svn)| entry(&[2, arc], integer(svn.into()))).collect();
        tcb.push(entry(&[2, 17], integer(self.pce_svn.into())));
        tcb.push(entry(&[2, 18], octets(&cpu_svn)));
        let mut parts = vec![
            entry(&[1], octets(&self.ppid)),
            entry(&[2], sequence(&tcb)),
            entry(&[3], octets(&self.pce_id)),
            entry(&[4], octets(&self.fmspc)),
            entry(&[5], enumerated(self.sgx_type)),
        ];
        if let Some(instance) = &self.platform_instance {
            let flags: Vec<Vec<u8>> = (1..).zip(self.flags).map(|(arc, flag)| entry(&[7, arc], boolean(flag))).collect();
            parts.push(entry(&[6], octets(instance)));
            parts.push(entry(&[7], sequence(&flags)));
        }
        sequence(&parts)
    }
}

fn entry(arcs: &[u8], value: Vec<u8>) -> Vec<u8> {
    sequence(&[sgx_oid(arcs), value])
}

/// 16 bytes derived from `name`, the same in every process.
fn id_of(what: &str, name: &str) -> Vec<u8> {
    crate::sha256(format!("simulated {what} of {name}").as_bytes()).into_iter().take(16).collect()
}
