//! `vault-node`: one node in the foreground, for the demo and for scenarios in a VM.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sim_dcap::Pki;
use vault_node::{Issuer, Misbehaviour, Node, NodeConfig, NodeHandle};

const USAGE: &str = "vault-node --pki DIR --listen ADDR --mrenclave HEX --issuer FILE [--state DIR] [--name MACHINE]
           [--misbehave NAME[=VALUE]] [--clock-offset SECONDS] [--no-staple]

Prints `listening ADDR` and serves until killed. DIR and FILE are made if absent.";

struct Arguments {
    pki: PathBuf,
    listen: SocketAddr,
    mrenclave: [u8; 32],
    issuer: PathBuf,
    state: Option<PathBuf>,
    name: Option<String>,
    misbehaviour: Misbehaviour,
    clock_offset: i64,
    staple: bool,
}

fn main() -> ExitCode {
    match start() {
        Ok(node) => {
            let mut out = std::io::stdout();
            if writeln!(out, "listening {}", node.addr()).and_then(|()| out.flush()).is_err() {
                return ExitCode::FAILURE;
            }
            loop {
                std::thread::park();
            }
        }
        Err(message) => {
            writeln!(std::io::stderr(), "vault-node: {message}").ok();
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<NodeHandle, String> {
    let arguments = parse(std::env::args().skip(1))?;
    let say = |error: vault_node::Error| format!("{error}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let pki = Pki::load_or_mint(&arguments.pki, now).map_err(|error| error.to_string())?;
    let name = arguments.name.unwrap_or_else(|| format!("vault at {}", arguments.listen));
    let issuer = Issuer::load_or_make(&arguments.issuer).map_err(say)?;
    let mut config = NodeConfig::honest(Arc::new(pki), &name, arguments.mrenclave, issuer).map_err(say)?;
    config.listen = arguments.listen;
    config.state = arguments.state;
    config.misbehaviour = arguments.misbehaviour;
    config.clock_offset = arguments.clock_offset;
    config.staple = arguments.staple;
    Node::start(config).map_err(say)
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let (mut pki, mut listen, mut mrenclave, mut issuer) = (None, None, None, None);
    let (mut state, mut name, mut misbehaviour) = (None, None, Misbehaviour::None);
    let (mut clock_offset, mut staple) = (0, true);
    while let Some(word) = words.next() {
        if word == "--no-staple" {
            staple = false;
            continue;
        }
        let value = words.next().ok_or(USAGE)?;
        let wrong = || format!("{word} {value}?\n{USAGE}");
        match word.as_str() {
            "--pki" => pki = Some(PathBuf::from(value)),
            "--listen" => listen = Some(value.parse().map_err(|_| wrong())?),
            "--mrenclave" => {
                let bytes = hex::decode(&value).map_err(|_| wrong())?;
                mrenclave = Some(bytes.try_into().map_err(|_| wrong())?);
            }
            "--issuer" => issuer = Some(PathBuf::from(value)),
            "--state" => state = Some(PathBuf::from(value)),
            "--name" => name = Some(value),
            "--misbehave" => misbehaviour = value.parse().map_err(|_| wrong())?,
            "--clock-offset" => clock_offset = value.parse().map_err(|_| wrong())?,
            _ => return Err(wrong()),
        }
    }
    Ok(Arguments {
        pki: pki.ok_or(USAGE)?,
        listen: listen.ok_or(USAGE)?,
        mrenclave: mrenclave.ok_or(USAGE)?,
        issuer: issuer.ok_or(USAGE)?,
        state,
        name,
        misbehaviour,
        clock_offset,
        staple,
    })
}
