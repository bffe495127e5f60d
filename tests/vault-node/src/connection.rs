//! One connection from accept to close.

use std::io::{self, Read as _};
use std::net::TcpStream;

use rustls::{ServerConnection, StreamOwned};
use serde_json::Value;

use crate::guest::GuestEvidence;
use crate::http::{self, Answer};
use crate::node::Shared;
use crate::tls::{self, ClientLeaf};
use crate::{Misbehaviour, attest, data, texts};

/// The length of an oversized answer.
const OVERSIZE: usize = 1 << 20;

/// What the connection has proved.
pub(crate) struct Session<'a> {
    pub(crate) node: &'a Shared,
    /// Set at accept: a node's misbehaviour does not change within a connection.
    pub(crate) misbehaviour: Misbehaviour,
    pub(crate) leaf: Option<ClientLeaf>,
    /// The context of the challenge that the client has not answered.
    pub(crate) pending: Option<[u8; 32]>,
    /// The client's last evidence with a correct binding.
    pub(crate) evidence: Option<GuestEvidence>,
}

impl Session<'_> {
    /// The node's time for evidence, bearer tokens, grants and key lifetimes.
    pub(crate) fn now(&self) -> u64 {
        self.node.time(self.misbehaviour)
    }
}

/// Serves until the peer closes the connection, sends an invalid request or is refused.
pub(crate) fn serve(node: &Shared, mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(node.config.idle_timeout))?;
    stream.set_nodelay(true)?;
    let misbehaviour = node.misbehaviour();
    match misbehaviour {
        Misbehaviour::Down => return Ok(()),
        Misbehaviour::HangAfterAccept => return swallow(stream),
        Misbehaviour::Tls12 => return tls::answer_in_tls12(&mut stream),
        _ => {}
    }
    let config = node.serving_config().map_err(io::Error::other)?;
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut tls = StreamOwned::new(connection, stream);
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock)?;
    }
    if misbehaviour == Misbehaviour::HangAfterHandshake {
        return swallow(tls.sock);
    }
    let leaf = tls.conn.peer_certificates().and_then(<[_]>::first).and_then(|leaf| ClientLeaf::read(leaf));
    let mut session = Session { node, misbehaviour, leaf, pending: None, evidence: None };
    let mut rest = Vec::new();
    while let Some(request) = http::read(&mut tls, &mut rest)? {
        let is_data = request.path == "/data";
        let mut answer = {
            // A node serves one request at a time: a slow one delays all others.
            let _turn = node.one_at_a_time();
            let answer = route(&mut session, request, &tls.conn);
            if matches!(misbehaviour, Misbehaviour::Slow(delay) if node.stopped_within(delay)) {
                return Ok(());
            }
            answer
        };
        match misbehaviour {
            Misbehaviour::HangAfterPresent if is_data => return swallow(tls.sock),
            Misbehaviour::Oversize => answer.body.resize(OVERSIZE.max(answer.body.len()), b' '),
            _ => {}
        }
        answer.write(&mut tls)?;
    }
    tls.conn.send_close_notify();
    tls.conn.complete_io(&mut tls.sock).map(drop)
}

fn route(session: &mut Session<'_>, request: http::Request, connection: &ServerConnection) -> Answer {
    if request.method != "POST" {
        return Answer::refusal(texts::NO_SUCH_PATH);
    }
    match request.path.as_str() {
        "/__privasys/attest" => attest::answer(session, &request.body, |label, context| {
            connection.export_keying_material([0; 32], label, Some(context)).ok()
        }),
        "/data" => match bearer(session, request.bearer.as_deref()) {
            Ok(oidc) => data::answer(session, request.body, oidc.as_ref()),
            Err(why) => {
                session.node.refused(&format!("bearer: {why}"));
                Answer::refusal(texts::BEARER)
            }
        },
        _ => Answer::refusal(texts::NO_SUCH_PATH),
    }
}

/// The claims of the bearer token, if one was sent. An invalid one is an error for every request.
fn bearer(session: &Session<'_>, header: Option<&str>) -> Result<Option<Value>, &'static str> {
    let Some(header) = header else { return Ok(None) };
    let token = header.strip_prefix("Bearer ").ok_or("scheme")?;
    let config = &session.node.config;
    config.issuer.check_bearer(token, &config.bearer_audience, session.now()).map(Some)
}

/// Reads without answering until the peer closes the connection or the node stops.
fn swallow(mut stream: TcpStream) -> io::Result<()> {
    let mut sink = [0; 4096];
    while stream.read(&mut sink)? > 0 {}
    Ok(())
}
