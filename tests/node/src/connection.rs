//! One connection from accept to close.

use std::io::{self, Read as _};
use std::net::TcpStream;
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};
use serde_json::Value;

use crate::http::{self, Answer};
use crate::issuer::OWNER_AUDIENCE;
use crate::node::Shared;
use crate::tls::{self, ClientLeaf};
use crate::{Measurements, Misbehaviour, attest, clock, data};

/// A peer that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(120);
/// How long an oversize answer is.
const OVERSIZE: usize = 1 << 20;

/// What this connection has proved so far.
pub(crate) struct Session<'a> {
    pub(crate) node: &'a Shared,
    /// Fixed at accept: a node does not change its mind within a connection.
    pub(crate) misbehaviour: Misbehaviour,
    pub(crate) leaf: Option<ClientLeaf>,
    /// The context the guest was asked to answer with.
    pub(crate) asked: Option<[u8; 32]>,
    pub(crate) tee: Option<Measurements>,
}

/// Serves until the peer closes, errs or is refused.
pub(crate) fn serve(node: &Shared, mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_nodelay(true)?;
    let misbehaviour = node.misbehaviour();
    match misbehaviour {
        Misbehaviour::Down => return Ok(()),
        Misbehaviour::HangAfterAccept => return swallow(stream),
        Misbehaviour::Tls12 => return tls::answer_in_tls12(&mut stream),
        _ => {}
    }
    let connection = ServerConnection::new(node.tls.clone()).map_err(io::Error::other)?;
    let mut tls = StreamOwned::new(connection, stream);
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock)?;
    }
    if misbehaviour == Misbehaviour::HangAfterHandshake {
        return swallow(tls.sock);
    }
    let leaf = tls.conn.peer_certificates().and_then(<[_]>::first).and_then(|leaf| ClientLeaf::read(leaf));
    let mut session = Session { node, misbehaviour, leaf, asked: None, tee: None };
    let mut rest = Vec::new();
    while let Some(request) = http::read(&mut tls, &mut rest)? {
        let is_data = request.path == "/data";
        let mut answer = route(&mut session, request, &tls.conn);
        match misbehaviour {
            Misbehaviour::Slow(delay) if node.stopped_within(delay) => return Ok(()),
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
        return Answer::refusal(404, "not found");
    }
    match request.path.as_str() {
        "/__privasys/attest" => attest::answer(session, &request.body, |label, context| {
            connection.export_keying_material([0; 32], label, Some(context)).ok()
        }),
        "/data" => match bearer(session.node, request.bearer.as_deref()) {
            Ok(oidc) => data::answer(session, request.body, oidc.as_ref()),
            Err(why) => Answer::refusal(401, why),
        },
        _ => Answer::refusal(404, "not found"),
    }
}

/// The claims of the bearer, if one was sent. One that is sent and wrong is an error, whatever was asked.
fn bearer(node: &Shared, header: Option<&str>) -> Result<Option<Value>, &'static str> {
    let Some(header) = header else { return Ok(None) };
    let token = header.strip_prefix("Bearer ").ok_or("scheme")?;
    node.config.issuer.check(token, OWNER_AUDIENCE, clock::now(node.config.clock_offset)).map(Some)
}

/// Reads and says nothing, until the peer gives up or the node stops.
fn swallow(mut stream: TcpStream) -> io::Result<()> {
    let mut sink = [0; 4096];
    while stream.read(&mut sink)? > 0 {}
    Ok(())
}
