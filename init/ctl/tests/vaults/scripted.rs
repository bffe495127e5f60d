//! A node with honest evidence that stores keys like a real one, and whose answers a test can change. It demands evidence of every client and
//! staples no collateral, like the first v2 build of the real node.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use dcap::{CertSpec, Identity, Key, Pki, Platform, SgxQuote, sha256};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::world::{MRENCLAVE, now};

/// The answer to one request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// HTTP 200 with this body.
    Body(Vec<u8>),
    Status(u16, Vec<u8>),
    /// Closes the connection without an answer.
    Close,
}

impl Reply {
    pub(crate) fn json(value: &Value) -> Self {
        Self::Body(value.to_string().into_bytes())
    }

    pub(crate) fn error(text: &str) -> Self {
        Self::json(&json!({ "Error": text }))
    }
}

/// Takes the request's name and fields and a real node's answer, and returns the answer to send.
type Script = dyn Fn(&str, &Value, Reply) -> Reply + Send + Sync;

struct StoredKey {
    policy: Value,
    version: u64,
    created_at: u64,
}

pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    platform: Platform,
    key: Key,
    keys: Mutex<BTreeMap<String, StoredKey>>,
    asked: Mutex<Vec<String>>,
    script: Box<Script>,
}

impl Scripted {
    /// A node under `pki` whose answers go through `script`.
    pub(crate) fn start(pki: &Pki, script: impl Fn(&str, &Value, Reply) -> Reply + Send + Sync + 'static) -> Self {
        let key = Key::generate().unwrap();
        let leaf = Identity::self_signed(CertSpec::new("scripted vault", now()), key.clone()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der.into()], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8())))
            .unwrap();
        let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
        let state = Arc::new(State {
            platform: pki.platform("scripted").unwrap(),
            key,
            keys: Mutex::default(),
            asked: Mutex::default(),
            script: Box::new(script),
        });
        let (address, shared) = (listener.local_addr().unwrap(), Arc::clone(&state));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (state, config) = (Arc::clone(&shared), Arc::clone(&config));
                thread::spawn(move || state.serve(stream, config));
            }
        });
        Self { address, state }
    }

    /// Names of the requests received so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state.asked.lock().unwrap().clone()
    }

    pub(crate) fn has(&self, handle: &str) -> bool {
        self.state.keys.lock().unwrap().contains_key(handle)
    }
}

impl State {
    fn serve(&self, stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
        let mut tls = BufReader::new(StreamOwned::new(ServerConnection::new(config).map_err(io::Error::other)?, stream));
        loop {
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if tls.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = value.trim().parse().map_err(io::Error::other)?;
                }
                if line == "\r\n" {
                    break;
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            tls.read_exact(&mut body)?;
            let reply = if head.starts_with("POST /data ") {
                self.answer(&body)
            } else {
                let mut context = [0; 32];
                let body: Value = serde_json::from_slice(&body)?;
                context.copy_from_slice(&BASE64URL.decode(body["context"].as_str().unwrap_or_default()).unwrap());
                let label = vault_node::NODE_LABEL;
                let hctx = tls.get_ref().conn.export_keying_material([0; 32], label, Some(&context)).unwrap();
                self.evidence(&context, &hctx)
            };
            let (status, body) = match reply {
                Reply::Close => return Ok(()),
                Reply::Body(body) => (200, body),
                Reply::Status(status, body) => (status, body),
            };
            let stream = tls.get_mut();
            write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len())?;
            stream.write_all(&body)?;
            stream.flush()?;
        }
    }

    fn evidence(&self, context: &[u8; 32], hctx: &[u8; 32]) -> Reply {
        let report_data = vault_node::binding(&self.key.spki(), context, hctx);
        let quote = SgxQuote::new(MRENCLAVE, report_data).sign(&self.platform).unwrap();
        Reply::json(&json!({
            "v": 2, "mode": "challenge", "tee": "sgx", "quote": BASE64URL.encode(quote), "gpu_evidence": null,
            "quote_time": ratls::QuoteTime::at(now()).to_string(),
            "client_evidence": "required", "client_context": BASE64URL.encode(sha256(context)),
        }))
    }

    fn answer(&self, body: &[u8]) -> Reply {
        let request: Value = serde_json::from_slice(body).unwrap();
        let (name, fields) = match &request {
            Value::String(name) => (name.clone(), Value::Null),
            tagged => tagged.as_object().and_then(|one| one.iter().next()).map(|(k, v)| (k.clone(), v.clone())).unwrap(),
        };
        self.asked.lock().unwrap().push(name.clone());
        (self.script)(&name, &fields, self.honest(&name, &fields))
    }

    /// The real node's answers to its owner. Tokens are not verified.
    fn honest(&self, name: &str, fields: &Value) -> Reply {
        let mut keys = self.keys.lock().unwrap();
        let handle = fields["handle"].as_str().unwrap_or_default().to_owned();
        if name == "CreateKey" {
            let claims = fields["grant"].as_str().unwrap().split('.').nth(1).unwrap();
            let claims: Value = serde_json::from_slice(&BASE64URL.decode(claims).unwrap()).unwrap();
            if keys.contains_key(&handle) {
                return Reply::error("handle already exists");
            }
            let policy = normalised(claims["policy"].clone());
            keys.insert(handle.clone(), StoredKey { policy, version: 1, created_at: now() });
            return Reply::json(&json!({ "KeyCreated": { "handle": handle, "expires_at": now() + 86_400 } }));
        }
        let Some(key) = keys.get_mut(&handle) else { return Reply::error("key not found") };
        match name {
            "GetKeyInfo" => Reply::json(&json!({ "KeyInfo": {
                "handle": handle, "key_type": "RawShare", "exportable": true, "created_at": key.created_at,
                "expires_at": key.created_at + 86_400, "policy_version": key.version, "public_key": null,
            } })),
            "GetPolicy" => Reply::json(&json!({ "Policy": { "policy": key.policy, "policy_version": key.version } })),
            "ReadAuditLog" => Reply::json(&json!({ "AuditLog": { "entries": [], "next_seq": 1 } })),
            "UpdatePolicy" => {
                key.policy = normalised(fields["new_policy"].clone());
                key.version += 1;
                Reply::json(&json!({ "PolicyUpdated": { "policy_version": key.version } }))
            }
            "DeleteKey" => {
                keys.remove(&handle);
                Reply::json(&json!("KeyDeleted"))
            }
            _ => Reply::Body(json!({ name: fields }).to_string().into_bytes()),
        }
    }
}

/// The policy after a real node's serde: unknown registers are dropped.
fn normalised(mut policy: Value) -> Value {
    let tees = policy.pointer_mut("/principals/tees").and_then(Value::as_array_mut);
    for tee in tees.into_iter().flatten() {
        for measurement in tee["Tee"]["measurements"].as_array_mut().into_iter().flatten() {
            if let Some(registers) = measurement["Tdx"].as_object_mut() {
                registers.retain(|name, _| ["mrtd", "rtmr1", "rtmr2"].contains(&name.as_str()));
            }
        }
    }
    policy
}
