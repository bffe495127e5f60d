//! Client of a PCCS, a cache of collateral with the paths of Intel's PCS v4, over any stream. Collateral is signed by Intel, so neither
//! the cache nor the connection is trusted.
//!
//! Source: Intel PCCS design guide, revision 3.22, section 4; the paths of api.trustedservices.intel.com, version 4.

use std::io::{self, Read, Write};
use std::time::Instant;

use attest::{ClaimedPlatform, Collateral, CollateralError, PcsParts, Tee};

use ratls::{Timed, Transport};

#[cfg(fuzzing)]
pub mod fuzzing;
mod unverified_tls;

pub use unverified_tls::UnverifiedTls;

/// The longest answer, in bytes, head included: TCB info is about 20 KiB.
const ANSWER_MAX: usize = 160 << 10;
/// The most headers in it.
const HEADERS_MAX: usize = 48;

/// The address of a cache.
#[derive(Debug, Clone)]
pub struct Pccs {
    host: String,
}

/// Why a cache gave no collateral. Messages contain no text of the cache.
#[derive(Debug, thiserror::Error)]
pub enum PccsError {
    /// The connection failed or timed out.
    #[error("{0}: {1}")]
    Stream(&'static str, std::io::ErrorKind),
    /// The cache answered with another status than 200.
    #[error("{0}: http status {1}")]
    Status(&'static str, u16),
    /// The answer is malformed.
    #[error("{0}: {1}")]
    Answer(&'static str, &'static str),
    /// The answers together are not collateral.
    #[error(transparent)]
    Collateral(#[from] CollateralError),
}

/// An answer: the decoded chain of the requested header, and the body.
pub(crate) struct Served {
    chain: String,
    body: Vec<u8>,
}

impl Pccs {
    /// A cache at `host`, the value of the Host header: name or address, and port.
    #[must_use]
    pub fn at(host: impl Into<String>) -> Self {
        Self { host: host.into() }
    }

    /// Fetches the collateral for a platform until `deadline`. `connect` opens a stream for each part.
    ///
    /// # Errors
    /// [`PccsError`] names the first part that could not be fetched.
    pub fn fetch<T: Transport>(
        &self,
        claimed: &ClaimedPlatform,
        connect: impl Fn(Instant) -> io::Result<T>,
        deadline: Instant,
    ) -> Result<Collateral, PccsError> {
        let tee = match claimed.tee {
            Tee::Sgx => "sgx",
            Tee::Tdx => "tdx",
        };
        let fmspc: String = claimed.fmspc.iter().map(|byte| format!("{byte:02X}")).collect();
        let get = |part, path: &str, chain: &[&str]| self.get(part, path, chain, &connect, deadline);
        let info_chain = &["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"];
        let info = get("TCB info", &format!("/{tee}/certification/v4/tcb?fmspc={fmspc}"), info_chain)?;
        let identity_chain = &["SGX-Enclave-Identity-Issuer-Chain"];
        let identity = get("QE identity", &format!("/{tee}/certification/v4/qe/identity"), identity_chain)?;
        let ca = claimed.authority.as_str();
        let crl = get("PCK CRL", &format!("/sgx/certification/v4/pckcrl?ca={ca}&encoding=der"), &["SGX-PCK-CRL-Issuer-Chain"])?;
        let root = get("root CRL", "/sgx/certification/v4/rootcacrl", &[])?;
        Ok(Collateral::from_pcs(&PcsParts {
            tcb_info: info.body,
            tcb_info_issuer_chain: info.chain,
            qe_identity: identity.body,
            qe_identity_issuer_chain: identity.chain,
            pck_crl: crl.body,
            pck_crl_issuer_chain: crl.chain,
            root_ca_crl: root.body,
        })?)
    }

    fn get<T: Transport>(
        &self,
        part: &'static str,
        path: &str,
        chain: &[&str],
        connect: impl Fn(Instant) -> io::Result<T>,
        deadline: Instant,
    ) -> Result<Served, PccsError> {
        let failed = |error: io::Error| PccsError::Stream(part, error.kind());
        let mut stream = Timed { inner: connect(deadline).map_err(failed)?, deadline };
        // HTTP/1.0: the answer ends with the connection and is not chunked.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\nAccept: */*\r\n\r\n", self.host);
        stream.write_all(request.as_bytes()).map_err(failed)?;
        let mut answer = Vec::new();
        let limit = u64::try_from(ANSWER_MAX).unwrap_or(u64::MAX);
        (&mut stream).take(limit + 1).read_to_end(&mut answer).map_err(failed)?;
        if answer.len() > ANSWER_MAX {
            return Err(PccsError::Answer(part, "answer longer than 160 KiB"));
        }
        served(part, &answer, chain)
    }
}

pub(crate) fn served(part: &'static str, answer: &[u8], chain: &[&str]) -> Result<Served, PccsError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(start)) = response.parse(answer) else {
        return Err(PccsError::Answer(part, "answer is not HTTP"));
    };
    let status = response.code.unwrap_or(0);
    if status != 200 {
        return Err(PccsError::Status(part, status));
    }
    let named = |name: &str| response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    if named("transfer-encoding").is_some() {
        return Err(PccsError::Answer(part, "answer with a transfer encoding"));
    }
    let body = answer.get(start..).unwrap_or_default();
    let length = named("content-length").map(|header| std::str::from_utf8(header.value).ok().and_then(|text| text.parse().ok()));
    if length.is_some_and(|length| length != Some(body.len())) {
        return Err(PccsError::Answer(part, "answer has another length than its Content-Length"));
    }
    let chain = match chain.iter().find_map(|name| named(name)) {
        Some(header) => url_decoded(header.value).ok_or(PccsError::Answer(part, "issuer chain malformed"))?,
        None if chain.is_empty() => String::new(),
        None => return Err(PccsError::Answer(part, "answer without an issuer chain")),
    };
    Ok(Served { chain, body: body.to_vec() })
}

/// Decodes percent encoding (RFC 3986) of a PEM chain.
fn url_decoded(text: &[u8]) -> Option<String> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut bytes = text.iter().copied();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' { digit(bytes.next()?)? << 4 | digit(bytes.next()?)? } else { byte });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuer_chains_are_decoded() {
        let cases: [(&str, Option<&str>); 5] = [
            ("-----BEGIN%20CERTIFICATE-----%0AAA%2B%3d", Some("-----BEGIN CERTIFICATE-----\nAA+=")),
            ("", Some("")),
            ("%4", None),
            ("%zz", None),
            ("%ff", None),
        ];
        for (text, want) in cases {
            assert_eq!(url_decoded(text.as_bytes()).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn incomplete_answers_are_refused() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nX-Chain: a%20b\r\n\r\nbody", Ok(("a b", "body"))),
            ("HTTP/1.1 200 OK\r\nX-Chain: a\r\nContent-Length: 4\r\n\r\nbody", Ok(("a", "body"))),
            (
                "HTTP/1.1 200 OK\r\nX-Chain: a\r\nContent-Length: 5\r\n\r\nbody",
                Err("part: answer has another length than its Content-Length"),
            ),
            ("HTTP/1.1 200 OK\r\n\r\nbody", Err("part: answer without an issuer chain")),
            ("HTTP/1.1 404 Not Found\r\n\r\n", Err("part: http status 404")),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Err("part: answer with a transfer encoding")),
            ("HTTP/1.1 200 OK\r\n", Err("part: answer is not HTTP")),
            ("nonsense\r\n\r\n", Err("part: answer is not HTTP")),
        ];
        for (answer, want) in cases {
            let got = served("part", answer.as_bytes(), &["X-Chain"]).map(|s| (s.chain, s.body)).map_err(|e| e.to_string());
            let want = want.map(|(chain, body)| (chain.to_owned(), body.as_bytes().to_vec())).map_err(str::to_owned);
            assert_eq!(got, want, "{answer}");
        }
    }
}
