//! HTTP/1.1 as nodes use it: Content-Length on both sides, keep-alive, nothing else.

use std::io::{self, Read, Write};

use crate::texts::HttpError;

/// Largest head that a node reads, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// Largest body that a node reads, in bytes.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// One request.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) bearer: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// An answer: a status, and a JSON body if any.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &impl serde::Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => Self { status, body },
            Err(_) => Self::empty(500),
        }
    }

    pub(crate) const fn empty(status: u16) -> Self {
        Self { status, body: Vec::new() }
    }

    /// An error status with its text.
    pub(crate) fn refusal(error: HttpError) -> Self {
        Self::json(error.status, &serde_json::json!({ "error": error.text }))
    }

    pub(crate) fn write(&self, stream: &mut impl Write) -> io::Result<()> {
        let reason = match self.status {
            200 => "OK",
            204 => "No Content",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            503 => "Service Unavailable",
            _ => "Bad Request",
        };
        write!(stream, "HTTP/1.1 {} {reason}\r\n", self.status)?;
        if self.status != 204 {
            write!(stream, "Content-Type: application/json\r\nContent-Length: {}\r\n", self.body.len())?;
        }
        stream.write_all(b"\r\n")?;
        stream.write_all(&self.body)?;
        stream.flush()
    }
}

/// Reads the next request; `None` when the peer closed the connection. `rest` keeps the bytes after the request.
pub(crate) fn read(stream: &mut impl Read, rest: &mut Vec<u8>) -> io::Result<Option<Request>> {
    loop {
        if let Some((mut request, head, length)) = parse(rest)? {
            while rest.len() < head + length {
                if !fill(stream, rest)? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            request.body = rest.drain(..head + length).skip(head).collect();
            return Ok(Some(request));
        }
        if rest.len() > MAX_HEAD {
            return Err(io::Error::other("a head without end"));
        }
        if !fill(stream, rest)? {
            return if rest.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    }
}

fn fill(stream: &mut impl Read, rest: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0; 4096];
    let read = stream.read(&mut chunk)?;
    rest.extend(chunk.iter().take(read));
    Ok(read > 0)
}

/// The request in `bytes` without its body, and the lengths of its head and body; `None` while the head is incomplete.
fn parse(bytes: &[u8]) -> io::Result<Option<(Request, usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = parsed.parse(bytes).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let header = |name: &str| {
        let found = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value).into_owned())
    };
    if header("transfer-encoding").is_some() {
        return Err(io::Error::other("chunked requests are not read here"));
    }
    let length = match header("content-length") {
        None => 0,
        Some(text) => text.trim().parse().map_err(io::Error::other)?,
    };
    if length > MAX_BODY {
        return Err(io::Error::other("body too long"));
    }
    let request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: parsed.path.unwrap_or_default().to_owned(),
        bearer: header("authorization"),
        body: Vec::new(),
    };
    Ok(Some((request, head, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_end_where_their_length_says() {
        let mut wire = &b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcPOST /b HTTP/1.1\r\n\r\n"[..];
        let mut rest = Vec::new();
        let first = read(&mut wire, &mut rest).unwrap().unwrap();
        let second = read(&mut wire, &mut rest).unwrap().unwrap();
        assert_eq!((first.path.as_str(), first.body.as_slice()), ("/a", &b"abc"[..]));
        assert_eq!((second.path.as_str(), second.body.as_slice()), ("/b", &b""[..]));
        assert!(read(&mut wire, &mut rest).unwrap().is_none());
    }

    #[test]
    fn chunked_requests_are_refused() {
        let mut wire = &b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"[..];
        assert!(read(&mut wire, &mut Vec::new()).is_err());
    }
}
