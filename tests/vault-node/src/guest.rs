//! Parses a guest's quote before anything is verified.

/// A quote bound to a connection. Its signature and measurements are not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GuestEvidence {
    pub(crate) quote: Vec<u8>,
    pub(crate) measurements: Measurements,
}

/// The measurements that policies are compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Measurements {
    /// An enclave.
    Sgx { mrenclave: [u8; 32] },
    /// A TD: the measurement of its initial memory, and RTMR0 to RTMR3.
    Td { mrtd: [u8; 48], rtmr: [[u8; 48]; 4] },
    /// The launch measurement of an SEV-SNP guest: firmware and the digests of kernel, initrd and command line.
    Snp { measurement: [u8; 48] },
}

/// Length of the header before either body.
const HEADER: usize = 48;
/// TEE_TYPE of a TDX quote.
const TDX: u32 = 0x81;

impl GuestEvidence {
    /// Parses an SGX quote of version 3, a TDX quote of version 4, or with `is_snp` an SEV-SNP report; returns also the report
    /// data. Like the node's parser, refuses a TDX quote of version 5.
    ///
    /// Source: key-server-protocol.md, section 2.6; `sgx_quote_3.h`, `sgx_quote_4.h`; AMD 56860, ATTESTATION_REPORT.
    pub(crate) fn read(quote: Vec<u8>, is_snp: bool) -> Option<(Self, [u8; 64])> {
        let version = u16::from_le_bytes(field(&quote, 0)?);
        let (measurements, report_data) = match version {
            _ if is_snp => (Measurements::Snp { measurement: field(&quote, 0x90)? }, field(&quote, 0x50)?),
            3 => (Measurements::Sgx { mrenclave: field(&quote, HEADER + 64)? }, field(&quote, HEADER + 320)?),
            4 if u32::from_le_bytes(field(&quote, 4)?) == TDX => {
                let register = |index: usize| field(&quote, HEADER + 328 + 48 * index);
                let rtmr = [register(0)?, register(1)?, register(2)?, register(3)?];
                (Measurements::Td { mrtd: field(&quote, HEADER + 136)?, rtmr }, field(&quote, HEADER + 520)?)
            }
            _ => return None,
        };
        Some((Self { quote, measurements }, report_data))
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use dcap::{Pki, SgxQuote, SnpChip, SnpReport, TdLayout, TdQuote};

    use super::*;

    #[test]
    fn quotes_are_read_of_versions_3_and_4_and_others_are_not() {
        let platform = Pki::mint(1_790_000_000).unwrap().platform("guest").unwrap();
        let td = TdQuote { mrtd: [1; 48], rtmr: [[2; 48], [3; 48], [4; 48], [5; 48]], ..TdQuote::new([7; 64]) };
        let snp = SnpReport::new([7; 64], [9; 48]).sign(&SnpChip::generate().unwrap()).unwrap();
        let sgx = SgxQuote::new([6; 32], [7; 64]).sign(&platform).unwrap();
        let measured = Measurements::Td { mrtd: td.mrtd, rtmr: td.rtmr };
        let v4 = td.sign(&platform).unwrap();
        let v5 = |layout| TdQuote { layout, ..td.clone() }.sign(&platform).unwrap();
        let cases = [
            ("TDX 4", v4.clone(), false, Some(measured)),
            ("SGX 3", sgx, false, Some(Measurements::Sgx { mrenclave: [6; 32] })),
            ("SEV-SNP where it is taken", snp.clone(), true, Some(Measurements::Snp { measurement: [9; 48] })),
            ("SEV-SNP", snp, false, None),
            ("TDX 5, TD 1.0", v5(TdLayout::V5Td10), false, None),
            ("TDX 5, TD 1.5", v5(TdLayout::V5Td15), false, None),
            ("cut in the report data", v4[..HEADER + 583].to_vec(), false, None),
            ("empty", Vec::new(), false, None),
        ];
        for (name, quote, is_snp, want) in cases {
            let read = GuestEvidence::read(quote, is_snp);
            assert_eq!(read.as_ref().map(|(evidence, _)| &evidence.measurements), want.as_ref(), "{name}");
            assert!(read.is_none_or(|(_, report_data)| report_data == [7; 64]), "{name}");
        }
    }
}
