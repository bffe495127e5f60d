//! A DER writer for the SGX extension; it does not check the values.

/// One tag, length, value.
pub(crate) fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(value.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let length: Vec<u8> = value.len().to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            out.push(0x80 | u8::try_from(length.len()).unwrap_or(0x7f));
            out.extend(length);
        }
    }
    out.extend_from_slice(value);
    out
}

/// `SEQUENCE` of parts already encoded.
pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

/// `OCTET STRING`.
pub(crate) fn octets(value: &[u8]) -> Vec<u8> {
    tlv(0x04, value)
}

/// `BOOLEAN`.
pub(crate) fn boolean(value: bool) -> Vec<u8> {
    tlv(0x01, &[if value { 0xff } else { 0 }])
}

/// `ENUMERATED` of one byte.
pub(crate) fn enumerated(value: u8) -> Vec<u8> {
    tlv(0x0a, &[value])
}

/// A non-negative `INTEGER`.
pub(crate) fn integer(value: u32) -> Vec<u8> {
    let mut bytes: Vec<u8> = value.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    if bytes.first().is_none_or(|first| *first >= 0x80) {
        bytes.insert(0, 0);
    }
    tlv(0x02, &bytes)
}

/// `OBJECT IDENTIFIER` under `1.2.840.113741.1.13.1`, Intel's arc for the SGX extension.
pub(crate) fn sgx_oid(arcs: &[u8]) -> Vec<u8> {
    let mut body = vec![0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];
    body.extend_from_slice(arcs);
    tlv(0x06, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_integers_that_stay_positive() {
        for (value, want) in [(0, "020100"), (13, "02010d"), (0x80, "02020080"), (0x1234, "02021234")] {
            assert_eq!(hex::encode(integer(value)), want, "{value}");
        }
    }

    #[test]
    fn writes_long_lengths_in_the_shortest_form() {
        assert_eq!(&tlv(4, &[0; 0x7f])[..2], &[4, 0x7f]);
        assert_eq!(&tlv(4, &[0; 0x80])[..3], &[4, 0x81, 0x80]);
        assert_eq!(&tlv(4, &[0; 0x1234])[..4], &[4, 0x82, 0x12, 0x34]);
    }
}
