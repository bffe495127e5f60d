//! F: malformed quotes.

use attest::{QuoteHeaderError, Role, VerifyError};
use dcap::pem;

use crate::world::Kind::{Sgx, Tdx, Tdx15, TdxV5};
use crate::world::{Case, NOW};

const fn header(error: QuoteHeaderError) -> VerifyError {
    VerifyError::QuoteHeader(error)
}

#[test]
fn malformed_quotes_are_refused() {
    let length = VerifyError::ChainLength(Role::PckLeaf);
    let unreadable = VerifyError::CertificateUnreadable(Role::PckLeaf);
    let cases: [Case; 44] = [
        ("F1", Sgx, "nothing", |p| p.quote = Vec::clear, header(QuoteHeaderError::Short)),
        (
            "F3",
            Sgx,
            "signature data one byte longer",
            |p| p.sgx.signature.length = Some(u32::MAX),
            header(QuoteHeaderError::Short),
        ),
        (
            "F3",
            Sgx,
            "auth length 31",
            |p| p.sgx.signature.auth_length = Some(31),
            header(QuoteHeaderError::AuthenticationData(31)),
        ),
        (
            "F3",
            Sgx,
            "auth length 33",
            |p| p.sgx.signature.auth_length = Some(33),
            header(QuoteHeaderError::AuthenticationData(33)),
        ),
        (
            "F3",
            Sgx,
            "auth length 65535",
            |p| p.sgx.signature.auth_length = Some(0xffff),
            header(QuoteHeaderError::AuthenticationData(0xffff)),
        ),
        ("F3", Sgx, "no auth data", |p| p.sgx.signature.auth_data.clear(), header(QuoteHeaderError::AuthenticationData(0))),
        ("F3", Sgx, "inner length 0", |p| p.sgx.signature.inner_length = Some(0), header(QuoteHeaderError::Length)),
        ("F3", Sgx, "inner length huge", |p| p.sgx.signature.inner_length = Some(u32::MAX), header(QuoteHeaderError::Length)),
        ("F3", Tdx, "outer length 0", |p| p.td.signature.outer_length = Some(0), header(QuoteHeaderError::Length)),
        ("F3", Tdx, "outer length huge", |p| p.td.signature.outer_length = Some(u32::MAX), header(QuoteHeaderError::Length)),
        ("F3", Tdx, "length 0", |p| p.td.signature.length = Some(0), header(QuoteHeaderError::Tail)),
        ("F4", Sgx, "version 0", |p| p.sgx.version = 0, header(QuoteHeaderError::Version(0))),
        ("F4", Sgx, "version 1", |p| p.sgx.version = 1, header(QuoteHeaderError::Version(1))),
        ("F4", Sgx, "version 2", |p| p.sgx.version = 2, header(QuoteHeaderError::Version(2))),
        ("F4", Sgx, "version 4", |p| p.sgx.version = 4, header(QuoteHeaderError::TeeType(0))),
        ("F4", Tdx, "version 3", |p| p.td.version = Some(3), header(QuoteHeaderError::TeeType(0x81))),
        ("F4", Tdx, "version 6", |p| p.td.version = Some(6), header(QuoteHeaderError::Version(6))),
        ("F4", Tdx, "version 65535", |p| p.td.version = Some(0xffff), header(QuoteHeaderError::Version(0xffff))),
        ("F5", Sgx, "key type 0", |p| p.sgx.key_type = 0, header(QuoteHeaderError::KeyType(0))),
        ("F5", Sgx, "key type 1", |p| p.sgx.key_type = 1, header(QuoteHeaderError::KeyType(1))),
        ("F5", Tdx, "key type 3, P-384", |p| p.td.key_type = 3, header(QuoteHeaderError::KeyType(3))),
        ("F6", Tdx, "tee type 0 with a domain's body", |p| p.td.tee_type = 0, header(QuoteHeaderError::TeeType(0))),
        ("F6", Tdx, "tee type 0x80", |p| p.td.tee_type = 0x80, header(QuoteHeaderError::TeeType(0x80))),
        ("F6", Tdx, "tee type 0x82", |p| p.td.tee_type = 0x82, header(QuoteHeaderError::TeeType(0x82))),
        ("F7", TdxV5, "body type 0", |p| p.td.body_type = Some(0), header(QuoteHeaderError::BodyType(0))),
        ("F7", TdxV5, "body type 1, an enclave's", |p| p.td.body_type = Some(1), header(QuoteHeaderError::BodyType(1))),
        ("F7", TdxV5, "body type 5", |p| p.td.body_type = Some(5), header(QuoteHeaderError::BodyType(5))),
        ("F7", TdxV5, "size of another type", |p| p.td.body_size = Some(648), header(QuoteHeaderError::BodyType(2))),
        ("F7", Tdx15, "size one more", |p| p.td.body_size = Some(649), header(QuoteHeaderError::BodyType(3))),
        ("F8", Sgx, "another vendor", |p| p.sgx.vendor[15] ^= 1, header(QuoteHeaderError::Vendor)),
        ("F9", Tdx, "outer type 5", |p| p.td.signature.outer_type = 5, header(QuoteHeaderError::CertificationType(5))),
        (
            "F9",
            Sgx,
            "inner type 1, PPID in clear",
            |p| p.sgx.signature.inner_type = 1,
            header(QuoteHeaderError::CertificationType(1)),
        ),
        (
            "F9",
            Sgx,
            "inner type 4, a leaf alone",
            |p| p.sgx.signature.inner_type = 4,
            header(QuoteHeaderError::CertificationType(4)),
        ),
        ("F9", Tdx, "inner type 7", |p| p.td.signature.inner_type = 7, header(QuoteHeaderError::CertificationType(7))),
        ("F10", Sgx, "a byte behind it", |p| p.sgx.signature.tail = vec![1], header(QuoteHeaderError::Tail)),
        ("F10", Tdx, "a byte behind the padding", |p| p.td.signature.tail[69] = 1, header(QuoteHeaderError::Tail)),
        ("F10", Tdx, "a mebibyte of zeros", |p| p.td.signature.tail = vec![0; 1 << 20], header(QuoteHeaderError::Tail)),
        ("F11", Tdx, "CBOR", |p| p.quote = |q| *q = vec![0xd9; 9000], header(QuoteHeaderError::Version(0xd9d9))),
        ("F13", Sgx, "no certificate", |p| p.sgx.signature.certification = Some(vec![0]), length.clone()),
        ("F13", Sgx, "one certificate", |p| p.platform.chain.truncate(1), length.clone()),
        ("F13", Sgx, "two certificates", |p| p.platform.chain.truncate(2), length.clone()),
        ("F13", Sgx, "fifty certificates", |p| p.platform.chain.resize(50, vec![0x30, 0]), length),
        (
            "F13",
            Sgx,
            "garbage between",
            |p| {
                let blocks: Vec<String> = p.platform.chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
                p.sgx.signature.certification = Some(blocks.join("garbage\n").into_bytes());
            },
            unreadable.clone(),
        ),
        ("F13", Sgx, "a leaf with a tail", |p| p.platform.chain[0].push(0), unreadable),
    ];
    crate::run(&cases);
}

#[test]
fn every_truncation_is_refused() {
    let platform = dcap::Pki::mint(NOW).unwrap().platform("node").unwrap();
    let mut td = dcap::TdQuote { layout: dcap::TdLayout::V5Td15, ..dcap::TdQuote::new([2; 64]) };
    td.signature.tail.clear();
    let quotes = [dcap::SgxQuote::new([1; 32], [2; 64]).sign(&platform).unwrap(), td.sign(&platform).unwrap()];
    for quote in quotes {
        assert!(attest::QuoteHeader::parse(&quote).is_ok());
        for end in 0..quote.len() {
            assert!(attest::QuoteHeader::parse(&quote[..end]).is_err(), "cut at {end}");
        }
    }
}
