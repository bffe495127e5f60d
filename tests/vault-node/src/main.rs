//! `vault-node`: runs one node in the foreground, for tests of the command line and for manual use.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dcap::Pki;
use encoding::hex;
use vault_node::{EvidenceRule, Extensions, Issuer, Misbehaviour, Node, NodeConfig, NodeHandle};

const USAGE: &str = "vault-node --pki DIR --listen ADDR --mrenclave HEX --issuer FILE [--state DIR] [--name MACHINE]
           [--misbehave NAME[=VALUE]] [--clock-offset SECONDS] [--audience NAME] [--idle SECONDS]
           [--first-build] [--workload-oid] [--staple] [--match-rtmr0-rtmr3] [--refuse-debug]

Prints `listening ADDR` and serves until killed. DIR and FILE are made if absent. The node is as real ones are; the last three
switch on what real ones cannot do.";

struct Arguments {
    pki: PathBuf,
    listen: SocketAddr,
    mrenclave: [u8; 32],
    issuer: PathBuf,
    state: Option<PathBuf>,
    name: Option<String>,
    misbehaviour: Misbehaviour,
    clock_offset: i64,
    audience: Option<String>,
    idle: Option<Duration>,
    rule: EvidenceRule,
    workload_oid: bool,
    extensions: Extensions,
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
    config.bearer_audience = arguments.audience.unwrap_or(config.bearer_audience);
    config.idle_timeout = arguments.idle.unwrap_or(config.idle_timeout);
    config.evidence_rule = arguments.rule;
    config.workload_oid = arguments.workload_oid;
    config.extensions = arguments.extensions;
    Node::start(config).map_err(say)
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let (mut pki, mut listen, mut mrenclave, mut issuer) = (None, None, None, None);
    let (mut state, mut name, mut misbehaviour, mut clock_offset) = (None, None, Misbehaviour::None, 0);
    let (mut audience, mut idle) = (None, None);
    let (mut rule, mut workload_oid, mut extensions) = (EvidenceRule::default(), false, Extensions::default());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--first-build" => rule = EvidenceRule::AnyCertificate,
            "--workload-oid" => workload_oid = true,
            "--staple" => extensions.staple_collateral = true,
            "--match-rtmr0-rtmr3" => extensions.match_rtmr0_rtmr3 = true,
            "--refuse-debug" => extensions.refuse_debug = true,
            _ => {
                let value = arguments.next().ok_or(USAGE)?;
                let wrong = || format!("cannot parse {argument} {value}\n{USAGE}");
                match argument.as_str() {
                    "--pki" => pki = Some(PathBuf::from(value)),
                    "--listen" => listen = Some(value.parse().map_err(|_| wrong())?),
                    "--mrenclave" => {
                        let bytes = hex::decode_any_case(value.as_bytes()).ok_or_else(wrong)?;
                        mrenclave = Some(bytes.try_into().map_err(|_| wrong())?);
                    }
                    "--issuer" => issuer = Some(PathBuf::from(value)),
                    "--state" => state = Some(PathBuf::from(value)),
                    "--name" => name = Some(value),
                    "--misbehave" => misbehaviour = value.parse().map_err(|error: vault_node::Error| error.to_string())?,
                    "--clock-offset" => clock_offset = value.parse().map_err(|_| wrong())?,
                    "--audience" => audience = Some(value),
                    "--idle" => idle = Some(Duration::from_secs(value.parse().map_err(|_| wrong())?)),
                    _ => return Err(wrong()),
                }
            }
        }
    }
    let (pki, listen) = (pki.ok_or(USAGE)?, listen.ok_or(USAGE)?);
    let (mrenclave, issuer) = (mrenclave.ok_or(USAGE)?, issuer.ok_or(USAGE)?);
    Ok(Arguments {
        pki,
        listen,
        mrenclave,
        issuer,
        state,
        name,
        misbehaviour,
        clock_offset,
        audience,
        idle,
        rule,
        workload_oid,
        extensions,
    })
}
