//! The exchange, one type a state: what may be sent is what the type can do, and a step consumes the state before it.
//!
//! [`Handshaken`] -> challenge -> [`Challenged`] (the node is proved) -> present -> [`Session`] -> requests.

use std::time::{Duration, Instant};

use attest::VerifiedNode;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{ClientConnection, StreamOwned};

use crate::message::{self, ClientEvidence};
use crate::transport::{Timed, Transport};
use crate::{Error, Expectation, Identity, NodeCa, QuoteTime, Reply, Step, binding, http, tls};

/// The longest answer to a challenge, in bytes: a quote and stapled collateral are about 40 KiB.
const EVIDENCE_MAX: usize = 128 << 10;
/// The longest answer to anything else, in bytes.
const ANSWER_MAX: usize = 64 << 10;

const PATH_ATTEST: &str = "/__privasys/attest";

/// Our quote and its wrapping. What time it says is not in it: [`Challenged::present`] says the node's own.
pub struct OwnEvidence {
    /// The quote without padding.
    pub quote: Vec<u8>,
    /// `tdx` or `sev-snp`.
    pub tee: &'static str,
}

type Stream<T> = StreamOwned<ClientConnection, Timed<T>>;

/// TLS stands; nobody has proved anything.
pub struct Handshaken<T: Transport> {
    stream: Stream<T>,
    node_spki: Vec<u8>,
    own_spki: Vec<u8>,
    /// The window of the node's leaf and of those who signed it, where the fleet's authority vouches for it.
    window: Option<(u64, u64)>,
}

/// The node is proved; we are not.
pub struct Challenged<T: Transport> {
    stream: Stream<T>,
    node_key: [u8; 32],
    own_spki: Vec<u8>,
    node: VerifiedNode,
    quote_time: QuoteTime,
    wanted: ClientEvidence,
}

/// Both ends are proved: requests may be made.
pub struct Session<T: Transport>(Stream<T>);

impl<T: Transport> Handshaken<T> {
    /// Runs the TLS handshake over a connected `transport` until `deadline`.
    ///
    /// # Errors
    /// [`Error::Tls`] when the peer does not speak TLS 1.3 with a P-256 leaf of its own; [`Error::Deadline`], [`Error::Stream`].
    pub fn connect(transport: T, identity: &Identity, deadline: Instant) -> Result<Self, Error> {
        Self::connect_within(&NodeCa::default(), transport, identity, deadline)
    }

    /// The same with a node that must be of `fleet`.
    ///
    /// # Errors
    /// As [`Handshaken::connect`]; [`Error::Tls`] also when the fleet's authority did not sign the node's leaf.
    pub fn connect_within(node_ca: &NodeCa, transport: T, identity: &Identity, deadline: Instant) -> Result<Self, Error> {
        // Peers are dialled by address; the name is not checked and not sent.
        let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        let mut connection = ClientConnection::new(tls::config(identity, node_ca)?, name).map_err(Error::Tls)?;
        let mut transport = Timed { inner: transport, deadline };
        while connection.is_handshaking() {
            connection.complete_io(&mut transport).map_err(|e| Error::stream(Step::Handshake, &e))?;
        }
        let chain = connection.peer_certificates().and_then(<[_]>::split_first);
        let (leaf, intermediates) = chain.ok_or(Error::Protocol(Step::Handshake, "no leaf"))?;
        let node_spki = tls::p256_spki(leaf).map_err(|_| Error::Protocol(Step::Handshake, "leaf key is not P-256"))?;
        // The verifier accepted the chain at the start of the handshake. If it does not verify now, its window is unknown: refuse it.
        let window = node_ca.window(leaf, intermediates, UnixTime::now());
        if window.is_none() && !node_ca.is_unrestricted() {
            return Err(Error::Tls(rustls::Error::InvalidCertificate(rustls::CertificateError::Expired)));
        }
        Ok(Self { stream: StreamOwned::new(connection, transport), node_spki, own_spki: identity.spki().to_vec(), window })
    }

    /// Challenges the node with `context`, 32 bytes that were never used before, and verifies what it answers.
    ///
    /// # Errors
    /// [`Error::Node`] when the evidence is not believed, [`Error::Collateral`] when none came with it, and what the wire gives.
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
    /// The node that was proved.
    #[must_use]
    pub fn node(&self) -> &VerifiedNode {
        &self.node
    }

    /// SHA-256 of the node's SubjectPublicKeyInfo: what tells this node from another.
    #[must_use]
    pub fn node_key(&self) -> &[u8; 32] {
        &self.node_key
    }

    /// The node's clock when it answered.
    #[must_use]
    pub fn quote_time(&self) -> QuoteTime {
        self.quote_time
    }

    /// Shows our own evidence: `quote` is asked for one over exactly these 64 bytes, and once it is there the node has `step` to
    /// judge it. Its `quote_time` is that of the node's own quote: the node holds it against its own trusted time, and the only other
    /// clock here is the host's.
    ///
    /// # Errors
    /// [`Error::OwnQuote`] as `quote` says, [`Error::EvidenceMalformed`] on a 400, [`Error::EvidenceRefused`] on a 403, and any other
    /// status as it is: 503 is a node without trusted time; a node that wants no evidence of a guest is
    /// [`Error::Protocol`], since it would grant nothing either.
    pub fn present(
        mut self,
        quote: impl FnOnce(&[u8; 64]) -> Result<OwnEvidence, Error>,
        step: Duration,
    ) -> Result<Session<T>, Error> {
        let ClientEvidence::Required(context) = self.wanted else {
            return Err(Error::Protocol(Step::Present, "the node wants no evidence"));
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

    /// Goes on without evidence, as an operator. Builds of the first v2 node ask every client certificate for evidence; without it they
    /// grant no TEE principal, and an operator needs none.
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
