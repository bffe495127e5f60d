//! One connection of a guest to a node, and what the guest verifies on it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use dcap::{Key, TdQuote, sha256};
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteCollateralV3, QuotePolicy};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConnection, DigitallySignedStruct, Error as TlsError, SignatureScheme, StreamOwned};
use serde_json::{Value, json};
use vault_node::{CLIENT_LABEL, NODE_LABEL, binding};

use crate::guest::{Guest, MRENCLAVE, now};

pub(crate) struct Link<'a> {
    pub(crate) guest: &'a Guest,
    pub(crate) tls: StreamOwned<ClientConnection, TcpStream>,
    /// The node's certificates in DER, the leaf first.
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) node_spki: Vec<u8>,
    /// The last time that the node sent; the guest puts the same into its own evidence.
    pub(crate) quote_time: String,
}

impl Link<'_> {
    pub(crate) fn post(&mut self, path: &str, body: &[u8], bearer: Option<&str>) -> Result<(u16, Vec<u8>), String> {
        let authorization = bearer.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        let head = format!("POST {path} HTTP/1.1\r\nHost: vault\r\n{authorization}Content-Length: {}\r\n\r\n", body.len());
        self.tls.write_all(&[head.as_bytes(), body].concat()).map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        loop {
            let mut chunk = [0; 4096];
            let read = self.tls.read(&mut chunk).map_err(|error| error.to_string())?;
            if read == 0 {
                return Err("closed".to_owned());
            }
            answer.extend_from_slice(&chunk[..read]);
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let mut parsed = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(head) = parsed.parse(&answer).map_err(|error| error.to_string())? {
                let length = parsed.headers.iter().find(|header| header.name == "Content-Length");
                let length: usize = length.map_or(0, |header| String::from_utf8_lossy(header.value).parse().unwrap());
                if length > 128 * 1024 {
                    return Err("oversize".to_owned());
                }
                if answer.len() >= head + length {
                    return Ok((parsed.code.unwrap(), answer[head..].to_vec()));
                }
            }
        }
    }

    pub(crate) fn attest(&mut self, body: &Value) -> Result<(u16, Value), String> {
        let (status, body) = self.post("/__privasys/attest", &serde_json::to_vec(body).unwrap(), None)?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    pub(crate) fn challenge(&mut self, context: &[u8; 32]) -> Result<(u16, Value), String> {
        let leaf = BASE64URL.encode(sha256(&self.node_spki));
        let answer = self.attest(&json!({ "v": 2, "mode": "challenge", "leaf": leaf, "context": BASE64URL.encode(context) }))?;
        answer.1["quote_time"].as_str().unwrap_or_default().clone_into(&mut self.quote_time);
        Ok(answer)
    }

    /// Challenges the node and verifies its answer. Returns the context of the node's challenge.
    pub(crate) fn attest_node(&mut self) -> Result<[u8; 32], String> {
        let context = sha256(&Key::generate().unwrap().spki());
        let (status, evidence) = self.challenge(&context)?;
        if status != 200 {
            return Err(format!("challenge: {status}"));
        }
        self.check(&evidence, &context)?;
        let text = evidence["client_context"].as_str().ok_or("nothing asked of the guest")?;
        Ok(BASE64URL.decode(text).unwrap().try_into().unwrap())
    }

    fn check(&self, evidence: &Value, context: &[u8; 32]) -> Result<(), String> {
        let quote = BASE64URL.decode(evidence["quote"].as_str().unwrap()).unwrap();
        let own = || serde_json::to_value(&self.guest.collateral).unwrap();
        let collateral = evidence.get("collateral").cloned().unwrap_or_else(own);
        let collateral: QuoteCollateralV3 = serde_json::from_value(collateral).unwrap();
        let policy = QuotePolicy::strict(now()).allow_smt(true).allow_dynamic_platform(true);
        let claims = QuoteVerifier::new(self.guest.root.clone())
            .verify_with_policy(&quote, collateral, now(), &policy)
            .map_err(|error| format!("{error:#}"))?;
        let report = claims.report.as_sgx().ok_or("no enclave's quote")?;
        if report.mr_enclave != MRENCLAVE {
            return Err("another enclave".to_owned());
        }
        let hctx = self.tls.conn.export_keying_material([0; 32], NODE_LABEL, Some(context)).unwrap();
        if report.report_data != binding(&self.node_spki, context, &hctx) {
            return Err("another binding".to_owned());
        }
        Ok(())
    }

    /// The report data of this guest's quote for `context` on this connection.
    pub(crate) fn report_data(&self, context: &[u8; 32]) -> [u8; 64] {
        let hctx = self.tls.conn.export_keying_material([0; 32], CLIENT_LABEL, Some(context)).unwrap();
        binding(&self.guest.key.spki(), context, &hctx)
    }

    /// This guest's quote for `context` on this connection.
    pub(crate) fn quote(&self, context: &[u8; 32]) -> Vec<u8> {
        let td = TdQuote { report_data: self.report_data(context), ..self.guest.td.clone() };
        td.sign(&self.guest.machine).unwrap()
    }

    pub(crate) fn present(&mut self, context: &[u8; 32], quote: &[u8]) -> (u16, Value) {
        self.present_as("tdx", context, quote)
    }

    pub(crate) fn present_as(&mut self, tee: &str, context: &[u8; 32], quote: &[u8]) -> (u16, Value) {
        self.attest(&json!({
            "v": 2, "mode": "present", "context": BASE64URL.encode(context), "tee": tee,
            "quote": BASE64URL.encode(quote), "gpu_evidence": null, "quote_time": self.quote_time,
        }))
        .unwrap()
    }

    pub(crate) fn data(&mut self, request: &Value, bearer: Option<&str>) -> Value {
        let (status, body) = self.post("/data", &serde_json::to_vec(request).unwrap(), bearer).unwrap();
        if status == 200 { serde_json::from_slice(&body).unwrap() } else { json!(status) }
    }

    pub(crate) fn export(&mut self, handle: &str) -> Value {
        self.data(&json!({ "ExportKey": { "handle": handle, "approvals": [] } }), None)
    }
}

/// The share in an answer to `ExportKey`.
pub(crate) fn material(answer: &Value) -> Vec<u8> {
    serde_json::from_value(answer["KeyMaterial"]["material"].clone()).unwrap_or_else(|_| panic!("no material: {answer}"))
}

/// Accepts any certificate: the node's quote proves its identity.
#[derive(Debug)]
pub(crate) struct AnyNode;

impl ServerCertVerifier for AnyNode {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::General("TLS 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, leaf, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
