//! The messages of Intel's quoting service, and two messages of this project in the same format.
//!
//! Frame: length of the message in 4 bytes, big endian. Message: header {u16 major 1, u16 minor, u32 type, u32 size with the
//! header, u32 error code}, then the body; packed, little endian.
//!
//! Source: Intel SGXDataCenterAttestationPrimitives, `QuoteGeneration/quote_wrapper/qgs_msg_lib/inc/qgs_msg_lib.h`.

use std::io::{self, Read};

use crate::measurement::TD_INFO_LEN;

/// Length of a TDREPORT in bytes.
pub const TD_REPORT_LEN: usize = 1024;
/// Longest accepted message in bytes: the largest quote buffer of a TD, and headers.
pub const MESSAGE_MAX: usize = 128 * 1024 + 64;
/// `QGS_MSG_ERROR_UNEXPECTED`.
pub const ERROR_UNEXPECTED: u32 = 0x0001_2001;
/// `QGS_MSG_ERROR_INVALID_TYPE`.
pub const ERROR_INVALID_TYPE: u32 = 0x0001_2005;

const HEADER_LEN: usize = 16;
const GET_QUOTE_REQ: u32 = 0;
const GET_QUOTE_RESP: u32 = 1;
/// Types of this project, far from Intel's small numbers: the guest's driver asks for TDINFO when it loads.
const TD_INFO_REQ: u32 = 0x8000_0001;
const TD_INFO_RESP: u32 = 0x8000_0002;

/// A request of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A quote over this TDREPORT.
    Quote(Box<[u8; TD_REPORT_LEN]>),
    /// This project's own: the TDINFO of this machine.
    TdInfo,
    /// A message of an unknown type, or of a known type with a wrong body.
    Other(u32),
}

/// Why a message is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The frame's length is below a header or above [`MESSAGE_MAX`], in bytes.
    #[error("message of {0} bytes")]
    Length(usize),
    /// The header's size is not the frame's, or its version is not 1.
    #[error("message header contradicts its frame")]
    Header,
    /// The service reported an error code.
    #[error("quoting service error {0:#x}")]
    Service(u32),
}

/// Reads one frame; returns the message without the length.
///
/// # Errors
/// `InvalidData` when the length is out of bounds, before anything is allocated for it; `UnexpectedEof` when the peer closed the
/// connection.
pub fn read_frame(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if !(HEADER_LEN..=MESSAGE_MAX).contains(&length) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, Error::Length(length)));
    }
    let mut message = vec![0; length];
    from.read_exact(&mut message)?;
    Ok(message)
}

/// Parses a message of the guest.
pub fn parse_request(message: &[u8]) -> Result<Request, Error> {
    let (kind, _, body) = split(message)?;
    Ok(match kind {
        GET_QUOTE_REQ => quote_request(body).map_or(Request::Other(kind), Request::Quote),
        TD_INFO_REQ if body.is_empty() => Request::TdInfo,
        _ => Request::Other(kind),
    })
}

/// Body: u32 report size, u32 id list size, the report, the ids. The ids select an attestation key; this service has one.
fn quote_request(body: &[u8]) -> Option<Box<[u8; TD_REPORT_LEN]>> {
    let (report_len, rest) = body.split_first_chunk()?;
    let (ids_len, rest) = rest.split_first_chunk()?;
    let (report, ids) = rest.split_first_chunk::<TD_REPORT_LEN>()?;
    let fits = usize::try_from(u32::from_le_bytes(*report_len)) == Ok(TD_REPORT_LEN)
        && usize::try_from(u32::from_le_bytes(*ids_len)) == Ok(ids.len());
    fits.then(|| Box::new(*report))
}

/// Parses a quoting service's answer to a request for a quote; returns the quote.
pub fn parse_quote_response(message: &[u8]) -> Result<Vec<u8>, Error> {
    let (kind, error, body) = split(message)?;
    if error != 0 {
        return Err(Error::Service(error));
    }
    let lengths = body.split_first_chunk().and_then(|(id, rest)| Some((id, rest.split_first_chunk()?)));
    let Some((id_len, (quote_len, rest))) = lengths.filter(|_| kind == GET_QUOTE_RESP) else {
        return Err(Error::Header);
    };
    let id_len = usize::try_from(u32::from_le_bytes(*id_len)).unwrap_or(usize::MAX);
    let quote = rest.get(id_len..).ok_or(Error::Header)?;
    if usize::try_from(u32::from_le_bytes(*quote_len)) != Ok(quote.len()) {
        return Err(Error::Header);
    }
    Ok(quote.to_vec())
}

/// Type, error code and body of a message.
fn split(message: &[u8]) -> Result<(u32, u32, &[u8]), Error> {
    let fields = || {
        let (version, rest) = message.split_first_chunk::<4>()?;
        let (kind, rest) = rest.split_first_chunk()?;
        let (size, rest) = rest.split_first_chunk()?;
        let (error, body) = rest.split_first_chunk()?;
        Some((version, u32::from_le_bytes(*kind), u32::from_le_bytes(*size), u32::from_le_bytes(*error), body))
    };
    let (version, kind, size, error, body) = fields().ok_or(Error::Length(message.len()))?;
    // Major 1; older services use minor 0.
    if !version.starts_with(&[1, 0]) || usize::try_from(size) != Ok(message.len()) {
        return Err(Error::Header);
    }
    Ok((kind, error, body))
}

/// The frame of a TD's request for a quote.
#[must_use]
pub fn quote_request_frame(report: &[u8; TD_REPORT_LEN]) -> Vec<u8> {
    let lengths = [length(TD_REPORT_LEN).to_le_bytes(), 0u32.to_le_bytes()].concat();
    frame(GET_QUOTE_REQ, 0, &[&lengths, report])
}

/// The frame of a quote.
#[must_use]
pub fn quote_frame(quote: &[u8]) -> Vec<u8> {
    let lengths = [0u32.to_le_bytes(), length(quote.len()).to_le_bytes()].concat();
    frame(GET_QUOTE_RESP, 0, &[&lengths, quote])
}

/// The frame of a refusal with one of Intel's error codes, 0x12001 to 0x12007.
#[must_use]
pub fn error_frame(code: u32) -> Vec<u8> {
    frame(GET_QUOTE_RESP, code, &[&[0; 8]])
}

/// The frame of the TDINFO answer: 512 bytes, and the driver's quirks if any (polling interval in milliseconds, timeout in
/// seconds, 1 for an empty blob instead of an error).
#[must_use]
pub fn td_info_frame(td_info: &[u8; TD_INFO_LEN], quirks: Option<[u32; 3]>) -> Vec<u8> {
    let quirks: Vec<u8> = quirks.into_iter().flatten().flat_map(u32::to_le_bytes).collect();
    frame(TD_INFO_RESP, 0, &[td_info, &quirks])
}

fn frame(kind: u32, error: u32, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let size = length(HEADER_LEN + body.len());
    let mut frame = size.to_be_bytes().to_vec();
    frame.extend([1, 0, 1, 0]);
    for field in [kind, size, error] {
        frame.extend(field.to_le_bytes());
    }
    frame.extend(body);
    frame
}

/// A length in a message. For a quote above 4 GiB, which a test may request, it is wrong.
fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by hand from `qgs_msg_lib.h`.
    const QUOTE_REQUEST_HEAD: [u8; 28] = [
        0, 0, 0x04, 0x18, // 1048, big endian
        1, 0, 1, 0, 0, 0, 0, 0, 0x18, 0x04, 0, 0, 0, 0, 0, 0, // 1.1, GET_QUOTE_REQ, 1048, no error
        0, 4, 0, 0, 0, 0, 0, 0, // a report of 1024, no ids
    ];

    fn message(frame: &[u8]) -> Vec<u8> {
        read_frame(&mut &frame[..]).unwrap()
    }

    #[test]
    fn quote_request_is_intels_bytes() {
        let report = [7; TD_REPORT_LEN];
        let frame = quote_request_frame(&report);
        assert_eq!(frame[..28], QUOTE_REQUEST_HEAD);
        assert_eq!(parse_request(&message(&frame)), Ok(Request::Quote(Box::new(report))));
    }

    #[test]
    fn quote_response_is_intels_bytes() {
        let frame = quote_frame(b"QUO");
        let want = [&[0, 0, 0, 27][..], &[1, 0, 1, 0, 1, 0, 0, 0, 27, 0, 0, 0, 0, 0, 0, 0], &[0, 0, 0, 0, 3, 0, 0, 0], b"QUO"];
        assert_eq!(frame, want.concat());
        assert_eq!(parse_quote_response(&message(&frame)), Ok(b"QUO".to_vec()));
    }

    #[test]
    fn quote_response_tells_the_services_error() {
        let frame = error_frame(ERROR_UNEXPECTED);
        assert_eq!(parse_quote_response(&message(&frame)), Err(Error::Service(0x12001)));
    }

    #[test]
    fn td_info_answer_is_512_bytes_and_habits() {
        assert_eq!(td_info_frame(&[9; 512], None).len(), 4 + 16 + 512);
        let frame = td_info_frame(&[9; 512], Some([1000, 30, 1]));
        assert_eq!(frame[..12], [0, 0, 2, 0x1c, 1, 0, 1, 0, 2, 0, 0, 0x80]);
        assert_eq!(frame[4 + 16 + 512..], [0xe8, 3, 0, 0, 30, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn request_parser_takes_only_whole_messages_it_knows() {
        let request = message(&quote_request_frame(&[0; TD_REPORT_LEN]));
        let with = |at: usize, byte: u8| {
            let mut message = request.clone();
            message[at] = byte;
            message
        };
        let cases = [
            ("type of a collateral request", with(4, 2), Ok(Request::Other(2))),
            ("report size off by one", with(16, 1), Ok(Request::Other(0))),
            ("ids announced, none sent", with(20, 1), Ok(Request::Other(0))),
            ("header size off by one", with(8, 0x19), Err(Error::Header)),
            ("major version 2", with(0, 2), Err(Error::Header)),
            ("no body", message(&frame(TD_INFO_REQ, 0, &[])), Ok(Request::TdInfo)),
            ("unwanted body", message(&frame(TD_INFO_REQ, 0, &[b"x"])), Ok(Request::Other(TD_INFO_REQ))),
            ("half a header", request[..12].to_vec(), Err(Error::Length(12))),
        ];
        for (name, message, want) in cases {
            assert_eq!(parse_request(&message), want, "{name}");
        }
    }

    #[test]
    fn frame_reader_refuses_a_length_before_it_allocates() {
        for length in [15, u32::try_from(MESSAGE_MAX).unwrap() + 1, u32::MAX] {
            let error = read_frame(&mut &length.to_be_bytes()[..]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{length}");
        }
    }
}
