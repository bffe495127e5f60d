//! EFI variables as firmware measures them: `UEFI_VARIABLE_DATA`.
//!
//! Source: TCG PC Client Platform Firmware Profile 1.06, section 10.4.5; edk2 `SecurityPkg/Tcg/Tcg2Dxe`, `MeasureVariable`.

use encoding::fields::{array, le_u64};

/// `EFI_GLOBAL_VARIABLE`, `8be4df61-93ca-11d2-aa0d-00e098032b8c`: SecureBoot, PK, KEK, BootOrder, Boot0000 and others.
pub const GLOBAL: [u8; 16] = [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
/// `EFI_IMAGE_SECURITY_DATABASE_GUID`, `d719b2cb-3d3a-4596-a3bc-dad00e67656f`: db and dbx.
pub const IMAGE_SECURITY: [u8; 16] =
    [0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f];
/// shim's GUID, `605dab50-e046-4300-abb6-3dd810dd8b23`: SbatLevel, MokListRT and others.
pub const SHIM_LOCK: [u8; 16] = [0x50, 0xab, 0x5d, 0x60, 0x46, 0xe0, 0x00, 0x43, 0xab, 0xb6, 0x3d, 0xd8, 0x10, 0xdd, 0x8b, 0x23];
/// The longest name, in characters: the longest of the specifications has 21.
const NAME_MAX: usize = 128;
/// The length of the GUID and the two lengths, in bytes.
const HEADER_LEN: usize = 32;

/// A variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable<'a> {
    /// The GUID of the name's owner, in the byte order of UEFI.
    pub guid: [u8; 16],
    /// The name in UTF-16, little-endian, without a NUL.
    name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

impl<'a> Variable<'a> {
    /// Decodes `UEFI_VARIABLE_DATA`. `None` unless the two lengths fill `data` and the name is printable ASCII, 1 to 128 characters.
    #[must_use]
    pub fn decode(data: &'a [u8]) -> Option<Self> {
        let guid = array(data, 0)?;
        let units = usize::try_from(le_u64(data, 16)?).ok().filter(|units| (1..=NAME_MAX).contains(units))?;
        let length = usize::try_from(le_u64(data, 24)?).ok()?;
        let (name, value) = data.get(HEADER_LEN..)?.split_at_checked(2 * units)?;
        let is_printable = name.as_chunks::<2>().0.iter().all(|unit| matches!(unit, [b' '..=b'~', 0]));
        (is_printable && value.len() == length).then_some(Self { guid, name, value })
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.as_chunks::<2>().0.iter().map(|[low, _]| char::from(*low)).collect()
    }
}

/// Encodes `UEFI_VARIABLE_DATA`, all of which is hashed for `EV_EFI_VARIABLE_DRIVER_CONFIG`. A variable that does not exist has an empty
/// value.
#[must_use]
pub fn encode(guid: [u8; 16], name: &str, value: &[u8]) -> Vec<u8> {
    let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let lengths = [wide.len() / 2, value.len()].map(|length| u64::try_from(length).unwrap_or(u64::MAX).to_le_bytes());
    [&guid[..], lengths.as_flattened(), &wide, value].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rtmr0::golden::sha384;

    /// Digests in public logs of trust domains: dstack `cc-eventlog/samples/ccel.bin` (commit 312dc605, Apache-2.0) for variables that do
    /// not exist; google/go-eventlog `CCEL_unpadded.data.bin` (commit b9c4e7a1, Apache-2.0) for SecureBoot = 0; trustee
    /// `CCEL_data_grub` (commit 78962cd4, Apache-2.0) for SecureBoot = 1.
    #[test]
    fn digests_are_those_of_public_logs() {
        let cases: [([u8; 16], &str, &[u8], &str); 7] = [
            (
                GLOBAL,
                "SecureBoot",
                &[],
                "9dc3a1f80bcec915391dcda5ffbb15e7419f77eab462bbf72b42166fb70d50325e37b36f93537a863769bcf9bedae6fb",
            ),
            (
                GLOBAL,
                "SecureBoot",
                &[0],
                "cfa4e2c606f572627bf06d5669cc2ab1128358d27b45bc63ee9ea56ec109cfafb7194006f847a6a74b5eaed6b73332ec",
            ),
            (
                GLOBAL,
                "SecureBoot",
                &[1],
                "2cded0c6f453d4c6f59c5e14ec61abc6b018314540a2367cba326a52aa2b315ccc08ce68a816ce09c6ef2ac7e514ae1f",
            ),
            (
                GLOBAL,
                "PK",
                &[],
                "6f2e3cbc14f9def86980f5f66fd85e99d63e69a73014ed8a5633ce56eca5b64b692108c56110e22acadcef58c3250f1b",
            ),
            (
                GLOBAL,
                "KEK",
                &[],
                "d607c0efb41c0d757d69bca0615c3a9ac0b1db06c557d992e906c6b7dee40e0e031640c7bfd7bcd35844ef9edeadc6f9",
            ),
            (
                IMAGE_SECURITY,
                "db",
                &[],
                "08a74f8963b337acb6c93682f934496373679dd26af1089cb4eaf0c30cf260a12e814856385ab8843e56a9acea19e127",
            ),
            (
                IMAGE_SECURITY,
                "dbx",
                &[],
                "18cc6e01f0c6ea99aa23f8a280423e94ad81d96d0aeb5180504fc0f7a40cb3619dd39bd6a95ec1680a86ed6ab0f9828d",
            ),
        ];
        for (guid, name, value, want) in cases {
            assert_eq!(sha384(&encode(guid, name, value)), want, "{name} {value:?}");
        }
    }

    #[test]
    fn only_whole_variables_with_printable_names_are_read() {
        let good = encode(GLOBAL, "BootOrder", &[1, 0]);
        let variable = Variable::decode(&good).unwrap();
        assert_eq!((variable.guid, variable.name().as_str(), variable.value), (GLOBAL, "BootOrder", &[1, 0][..]));
        let changed = |at: usize, to: u8| {
            let mut bytes = good.clone();
            bytes[at] = to;
            bytes
        };
        for (what, bytes) in [
            ("one byte less", good[..good.len() - 1].to_vec()),
            ("one byte more", [&good[..], &[0]].concat()),
            ("no name", encode(GLOBAL, "", &[1])),
            ("a name of 2^56 characters", changed(23, 1)),
            ("a value of 2^56 bytes", changed(31, 1)),
            ("an escape in the name", changed(32, 0x1b)),
            ("a letter above ASCII", changed(33, 1)),
            ("a long name", encode(GLOBAL, &"x".repeat(129), &[])),
        ] {
            assert_eq!(Variable::decode(&bytes), None, "{what}");
        }
    }

    proptest! {
        #[test]
        fn encoded_variables_are_read_back(name in "[ -~]{1,128}", value: Vec<u8>) {
            let bytes = encode(SHIM_LOCK, &name, &value);
            let read = Variable::decode(&bytes).unwrap();
            prop_assert_eq!((read.guid, read.name(), read.value), (SHIM_LOCK, name, &value[..]));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            drop(Variable::decode(&bytes).map(|variable| variable.name()));
        }
    }
}
