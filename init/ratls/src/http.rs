//! HTTP/1.1 as nodes use it: POST with Content-Length, never chunked, one answer for each request.

use std::io::{Read, Write};

use zeroize::Zeroizing;

use crate::{Error, Step};

/// The longest head of an answer, in bytes.
const HEAD_MAX: usize = 8 << 10;
/// The most headers in it.
const HEADERS_MAX: usize = 32;

/// The status and body of an answer. The body is wiped on drop, since it may contain a share.
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// At most as long as the request allowed.
    pub body: Zeroizing<Vec<u8>>,
}

/// Sends `body` to `path` and reads the answer, of at most `limit` bytes.
pub(crate) fn post(
    stream: &mut (impl Read + Write),
    step: Step,
    path: &str,
    bearer: Option<&[u8]>,
    body: &[u8],
    limit: usize,
) -> Result<Reply, Error> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: vault\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n");
    // Nodes answer 401 to a bearer that they cannot use, so the header is sent only with one.
    let authorization: [&[u8]; 3] = bearer.map_or([b""; 3], |token| [b"Authorization: Bearer ", token, b"\r\n"]);
    let parts = [&[head.as_bytes()], &authorization[..], &[b"\r\n", body]].concat();
    // Of its final size from the start: a buffer that grows leaves a copy of secrets behind.
    let mut request = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    for part in parts {
        request.extend_from_slice(part);
    }
    stream.write_all(&request).and_then(|()| stream.flush()).map_err(|e| Error::stream(step, &e))?;
    read_reply(stream, step, limit)
}

pub(crate) fn read_reply(stream: &mut impl Read, step: Step, limit: usize) -> Result<Reply, Error> {
    // Wiped and never grown: a buffer that moves leaves a copy behind.
    let mut buffer = Zeroizing::new(vec![0_u8; HEAD_MAX + limit]);
    let mut filled = 0;
    let (status, start, length) = loop {
        let head = buffer.get(..filled.min(HEAD_MAX)).unwrap_or_default();
        if let Some(found) = parse_head(head, step, limit)? {
            break found;
        }
        if filled >= HEAD_MAX {
            return Err(Error::Protocol(step, "head of the answer longer than 8 KiB"));
        }
        filled += read_some(stream, step, buffer.get_mut(filled..).unwrap_or_default())?;
    };
    while filled < start + length {
        filled += read_some(stream, step, buffer.get_mut(filled..start + length).unwrap_or_default())?;
    }
    // Only one request is outstanding, so bytes after its answer belong to no request.
    if filled != start + length {
        return Err(Error::Protocol(step, "unexpected bytes after the answer"));
    }
    let body = Zeroizing::new(buffer.get(start..start + length).unwrap_or_default().to_vec());
    Ok(Reply { status, body })
}

fn read_some(stream: &mut impl Read, step: Step, buffer: &mut [u8]) -> Result<usize, Error> {
    match stream.read(buffer) {
        Ok(0) => Err(Error::Stream(step, std::io::ErrorKind::UnexpectedEof)),
        Ok(count) => Ok(count),
        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(Error::stream(step, &error)),
    }
}

/// Status, start of the body and its length; `None` while the head is incomplete.
fn parse_head(bytes: &[u8], step: Step, limit: usize) -> Result<Option<(u16, usize, usize)>, Error> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let start = match response.parse(bytes) {
        Ok(httparse::Status::Complete(start)) => start,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Error::Protocol(step, "answer is not HTTP")),
    };
    let status = response.code.ok_or(Error::Protocol(step, "answer without a status"))?;
    let named =
        |name: &str| response.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).collect::<Vec<_>>();
    if !named("transfer-encoding").is_empty() {
        return Err(Error::Protocol(step, "answer with a transfer encoding"));
    }
    let length = match named("content-length").as_slice() {
        [header] => std::str::from_utf8(header.value).ok().and_then(|text| text.parse::<usize>().ok()),
        [] if status == 204 => Some(0),
        _ => None,
    };
    let length = length.ok_or(Error::Protocol(step, "expected one Content-Length"))?;
    if length > limit {
        return Err(Error::Protocol(step, "answer longer than the limit"));
    }
    Ok(Some((status, start, length)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<(u16, Vec<u8>), String> {
        read_reply(&mut &*bytes, Step::Request, 16).map(|reply| (reply.status, reply.body.to_vec())).map_err(|e| e.to_string())
    }

    #[test]
    fn answers_need_exactly_one_length() {
        let ok = |status, body: &str| Ok((status, body.as_bytes().to_vec()));
        let err = |text: &str| Err(text.to_owned());
        let cases = [
            ("plain", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", ok(200, "{}")),
            ("case", "HTTP/1.1 503 X\r\ncontent-LENGTH: 0\r\n\r\n", ok(503, "")),
            ("204 alone", "HTTP/1.1 204 No Content\r\n\r\n", ok(204, "")),
            ("no length", "HTTP/1.1 200 OK\r\n\r\n{}", err("request: expected one Content-Length")),
            (
                "two lengths",
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
                err("request: expected one Content-Length"),
            ),
            (
                "chunked",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
                err("request: answer with a transfer encoding"),
            ),
            ("too long", "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n", err("request: answer longer than the limit")),
            ("negative", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", err("request: expected one Content-Length")),
            ("cut", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", err("request: connection: unexpected end of file")),
            ("more", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}", err("request: unexpected bytes after the answer")),
            ("not http", "SSH-2.0-x\r\n", err("request: answer is not HTTP")),
        ];
        for (name, bytes, want) in cases {
            assert_eq!(read(bytes.as_bytes()), want, "{name}");
        }
    }

    #[test]
    fn endless_head_is_refused() {
        let mut bytes = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
        bytes.resize(HEAD_MAX + 100, b'a');
        assert_eq!(read(&bytes), Err("request: head of the answer longer than 8 KiB".to_owned()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(read(&bytes));
        }
    }
}
