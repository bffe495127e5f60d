//! The exchange, with a type for each state. Each step consumes the state before it, so a step cannot be skipped or repeated.
//!
//! [`Handshaken`] -> challenge -> [`Challenged`] (the node is verified) -> present -> [`Session`] -> requests.

use std::time::{Duration, Instant};

use attest::VerifiedNode;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{ClientConnection, StreamOwned};

use crate::message::{self, ClientEvidence};
use crate::tls::LeafError;
use crate::transport::{Timed, Transport};
use crate::{Error, Expectation, Identity, NodeCa, QuoteTime, Reply, Step, binding, http, tls};

/// The longest answer to a challenge, in bytes: a quote and stapled collateral are about 40 KiB.
const EVIDENCE_MAX: usize = 128 << 10;
/// The longest answer to anything else, in bytes.
const ANSWER_MAX: usize = 64 << 10;

const PATH_ATTEST: &str = "/__privasys/attest";

/// The client's quote. Its time is not included: [`Challenged::present`] repeats the node's.
pub struct OwnEvidence {
    /// The quote without padding.
    pub quote: Vec<u8>,
    /// `tdx` or `sev-snp`.
    pub tee: &'static str,
}

type TlsStream<T> = StreamOwned<ClientConnection, Timed<T>>;

/// State after the TLS handshake: neither end is verified.
pub struct Handshaken<T: Transport> {
    stream: TlsStream<T>,
    node_spki: Vec<u8>,
    own_spki: Vec<u8>,
    /// Validity of the node's leaf and intermediate certificates, if a node CA issued it.
    window: Option<(u64, u64)>,
}

/// State after the challenge: the node is verified, the client is not.
pub struct Challenged<T: Transport> {
    stream: TlsStream<T>,
    node_key: [u8; 32],
    own_spki: Vec<u8>,
    node: VerifiedNode,
    quote_time: QuoteTime,
    wanted: ClientEvidence,
}

/// State after the client presented its evidence, or needs none: requests can be sent.
pub struct Session<T: Transport>(TlsStream<T>);

impl<T: Transport> Handshaken<T> {
    /// Runs the TLS handshake over a connected `transport` until `deadline`.
    ///
    /// # Errors
    /// [`Error::Tls`] when the peer does not use TLS 1.3 or does not prove possession of its leaf's key; [`Error::Leaf`] when the leaf is
    /// not a P-256 certificate without evidence; [`Error::Deadline`], [`Error::Stream`].
    pub fn connect(transport: T, identity: &Identity, deadline: Instant) -> Result<Self, Error> {
        Self::connect_within(&NodeCa::default(), transport, identity, deadline)
    }

    /// Runs the handshake with a node whose leaf must be issued by `node_ca`.
    ///
    /// # Errors
    /// As [`Handshaken::connect`]; [`Error::Leaf`] when no CA of `node_ca` issued the node's leaf.
    pub fn connect_within(node_ca: &NodeCa, transport: T, identity: &Identity, deadline: Instant) -> Result<Self, Error> {
        // The client connects to an address. The name is neither checked nor sent.
        let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        let mut connection = ClientConnection::new(tls::config(identity, node_ca)?, name).map_err(Error::Tls)?;
        let mut transport = Timed { inner: transport, deadline };
        while connection.is_handshaking() {
            connection.complete_io(&mut transport).map_err(|e| Error::stream(Step::Handshake, &e))?;
        }
        let chain = connection.peer_certificates().and_then(<[_]>::split_first);
        let (leaf, intermediates) = chain.ok_or(Error::Protocol(Step::Handshake, "no certificate"))?;
        let node_spki = tls::p256_spki(leaf).map_err(|_| Error::Protocol(Step::Handshake, "leaf key is not P-256"))?;
        // The verifier accepted the chain during the handshake. If it does not verify now, its validity is unknown: refuse it.
        let window = node_ca.window(leaf, intermediates, UnixTime::now());
        if window.is_none() && !node_ca.is_unrestricted() {
            return Err(Error::Leaf(LeafError::NodeCa));
        }
        Ok(Self { stream: StreamOwned::new(connection, transport), node_spki, own_spki: identity.spki().to_vec(), window })
    }

    /// Challenges the node with `context`, 32 fresh random bytes, and verifies its evidence.
    ///
    /// # Errors
    /// [`Error::Node`] when verification fails, [`Error::Collateral`] when there is no collateral, [`Error::Leaf`] when a node CA issued
    /// the leaf and it is not valid at the time of a trusted clock; errors of the connection.
    pub fn challenge(
        mut self,
        context: &[u8; 32],
        expected: &Expectation<'_>,
        deadline: Instant,
    ) -> Result<Challenged<T>, Error> {
        self.stream.sock.deadline = deadline;
        let body = message::challenge(&binding::spki_hash(&self.node_spki), context)?;
        let reply = http::post(&mut self.stream, Step::Challenge, PATH_ATTEST, None, &body, EVIDENCE_MAX)?;
        if reply.status != 200 {
            return Err(Error::Status(Step::Challenge, reply.status));
        }
        let evidence = message::evidence(&reply.body)?;
        let hctx = exporter(&self.stream.conn, binding::LABEL_NODE, context)?;
        let report_data = binding::report_data(&self.node_spki, context, &hctx);
        let node = expected.verify(&evidence, &report_data, deadline)?;
        let node = if let Some(window) = self.window { node.within(window) } else { node };
        // A guest does not trust its clock: it checks this at the time on which the vaults agree.
        if expected.clock.is_trusted && !node.is_valid_at(expected.clock.machine) {
            return Err(Error::Leaf(LeafError::Validity));
        }
        Ok(Challenged {
            stream: self.stream,
            node_key: binding::spki_hash(&self.node_spki),
            own_spki: self.own_spki,
            node,
            quote_time: evidence.quote_time,
            wanted: evidence.client,
        })
    }
}

impl<T: Transport> Challenged<T> {
    /// The verified node.
    #[must_use]
    pub fn node(&self) -> &VerifiedNode {
        &self.node
    }

    /// SHA-256 of the node's SubjectPublicKeyInfo, which identifies the node.
    #[must_use]
    pub fn node_key(&self) -> &[u8; 32] {
        &self.node_key
    }

    /// The node's clock when it answered.
    #[must_use]
    pub fn quote_time(&self) -> QuoteTime {
        self.quote_time
    }

    /// Presents the client's evidence. `quote` makes a quote over the given 64 bytes; then the node has `step` to answer. The message
    /// repeats the node's own `quote_time`: the node compares it with its trusted time, and the client has no other clock than the host's.
    ///
    /// # Errors
    /// [`Error::OwnQuote`] from `quote`, [`Error::EvidenceMalformed`] for status 400, [`Error::EvidenceRefused`] for 403,
    /// [`Error::Status`] for others (503: the node has no trusted time). [`Error::Protocol`] if the node demands no evidence: it
    /// would not grant a guest anything.
    pub fn present(
        mut self,
        quote: impl FnOnce(&[u8; 64]) -> Result<OwnEvidence, Error>,
        step: Duration,
    ) -> Result<Session<T>, Error> {
        let ClientEvidence::Required(context) = self.wanted else {
            return Err(Error::Protocol(Step::Present, "the node demands no evidence, although the client is a guest"));
        };
        let hctx = exporter(&self.stream.conn, binding::LABEL_CLIENT, &context)?;
        let own = quote(&binding::report_data(&self.own_spki, &context, &hctx))?;
        let body = message::present(&context, own.tee, &own.quote, &self.quote_time.to_string())?;
        self.stream.sock.deadline = Instant::now() + step;
        let reply = http::post(&mut self.stream, Step::Present, PATH_ATTEST, None, &body, ANSWER_MAX)?;
        match reply.status {
            204 => Ok(Session(self.stream)),
            400 => Err(Error::EvidenceMalformed),
            403 => Err(Error::EvidenceRefused),
            status => Err(Error::Status(Step::Present, status)),
        }
    }

    /// Continues without evidence, as an operator. The first builds of the v2 node demand evidence of every client with a certificate;
    /// without it they grant no TEE principal, which an operator does not need.
    #[must_use]
    pub fn unattested(self) -> Session<T> {
        Session(self.stream)
    }
}

impl<T: Transport> Session<T> {
    /// Posts the `body` of a request to `path`, with an owner's `bearer` token where one is given, and reads an answer of at most `limit`
    /// bytes.
    ///
    /// # Errors
    /// [`Error::Stream`], [`Error::Deadline`], [`Error::Tls`]; [`Error::Protocol`] when the answer is not HTTP as nodes speak it.
    pub fn post(
        &mut self,
        path: &str,
        bearer: Option<&[u8]>,
        body: &[u8],
        limit: usize,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        self.0.sock.deadline = deadline;
        http::post(&mut self.0, Step::Request, path, bearer, body, limit)
    }
}

fn exporter(connection: &ClientConnection, label: &[u8], context: &[u8; 32]) -> Result<[u8; 32], Error> {
    connection.export_keying_material([0; 32], label, Some(context)).map_err(Error::Tls)
}
