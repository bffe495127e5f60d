//! The material of a share, 49 bytes: set id (16) || X (1) || data (32). Source: key-server-protocol.md, section 6.

use std::num::NonZeroU8;

use zeroize::Zeroizing;

const SET_ID_BYTES: usize = 16;
const DATA_BYTES: usize = 32;
const MATERIAL_BYTES: usize = SET_ID_BYTES + 1 + DATA_BYTES;

/// Why material is not a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// Not 49 bytes.
    #[error("share of {0} bytes, not 49")]
    Length(usize),
    /// X is zero, where the polynomials have the secret itself.
    #[error("share at x = 0")]
    ZeroX,
}

/// The parts of a share, as `quorum::Share::new` takes them. They stay where the material is, so nothing more needs to be wiped.
pub struct ShareMaterial<'a> {
    /// Which dealing the share is of.
    pub set_id: &'a [u8; SET_ID_BYTES],
    /// Where on the polynomials it lies.
    pub x: NonZeroU8,
    /// The values of the polynomials at `x`.
    pub data: &'a [u8; DATA_BYTES],
}

impl<'a> ShareMaterial<'a> {
    /// Parses what a vault sent.
    ///
    /// # Errors
    /// [`ShareError`].
    pub fn parse(material: &'a [u8]) -> Result<Self, ShareError> {
        let wrong = ShareError::Length(material.len());
        let (set_id, point) = material.split_first_chunk().ok_or(wrong)?;
        let (x, data) = point.split_first().ok_or(wrong)?;
        let data = data.try_into().map_err(|_| wrong)?;
        Ok(Self { set_id, x: NonZeroU8::new(*x).ok_or(ShareError::ZeroX)?, data })
    }

    /// The 49 bytes that a vault stores, wiped on drop.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // Of its final size from the start: a buffer that grows leaves secrets behind where it was.
        let mut material = Zeroizing::new(Vec::with_capacity(MATERIAL_BYTES));
        material.extend_from_slice(self.set_id);
        material.push(self.x.get());
        material.extend_from_slice(self.data);
        material
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn material_is_49_bytes_with_x_not_zero() {
        let cases: [(&str, Vec<u8>, Option<ShareError>); 5] = [
            ("empty", vec![], Some(ShareError::Length(0))),
            ("short", vec![1; 48], Some(ShareError::Length(48))),
            ("long", vec![1; 50], Some(ShareError::Length(50))),
            ("x = 0", [vec![1; 16], vec![0], vec![1; 32]].concat(), Some(ShareError::ZeroX)),
            ("good", vec![1; 49], None),
        ];
        for (name, material, want) in cases {
            assert_eq!(ShareMaterial::parse(&material).err(), want, "{name}");
        }
    }

    #[test]
    fn material_of_a_parsed_share_is_the_same() {
        let material: Vec<u8> = (1..=49).collect();
        let share = ShareMaterial::parse(&material).ok().unwrap();
        assert_eq!((share.set_id[0], share.x.get(), share.data[0]), (1, 17, 18));
        assert_eq!(*share.to_bytes(), material);
    }
}
