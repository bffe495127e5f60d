//! Commands that write policies or connect to vaults: arguments to library calls, results to output.

mod key;
mod secrets;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ctl::collateral::Sources;
use ctl::policy::{self, Facts, Image, Owner, Terms, refused_attributes};
use ctl::{Credentials, Floors, Nodes, promote, provision};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::args::{FactArgs, GuestArgs, ImageArgs, NodeArgs, OwnerArgs, Policy, Promote, Provision, TermArgs};
use crate::run::{self, Error, floors, read};
use crate::{log, show};

pub(crate) use key::{key, profile};
pub(crate) use secrets::client_key;

pub(crate) fn provision(args: Provision) -> Result<ExitCode, Error> {
    check_machine(&args.images.guest)?;
    let credentials = secrets::credentials(&args.credentials, args.grant_fd)?;
    let request = provision::Request {
        nodes: nodes(args.nodes)?,
        threshold: args.threshold,
        handle: args.handle,
        policy: key_policy(args.policy.as_deref(), args.images, args.owner, &credentials)?,
        facts: facts(args.facts),
        credentials,
        client_key: secrets::identity(&args.client)?,
        now: now(),
    };
    if request.nodes.platforms.is_empty() && request.nodes.node_ca.is_empty() {
        let any = "warning: any enclave of this build may hold a share: give --platform or --node-ca to restrict it to the owner's machines";
        show::problem(&[any.to_owned()])?;
    }
    forbid_core_dumps()?;
    let done = provision::provision(&request)?;
    // The commitment first, since it is not stored anywhere else.
    let written = if args.json { show::json(&done.to_json()) } else { show::lines(&done.parameters) };
    written.map_err(|source| Error::ParametersLost { parameters: done.parameters.join(" "), source })?;
    show::provisioned(&done)?;
    if request.facts.app.is_none() {
        show::problem(
            &["cvm.vault.app=UUID is required too: with --app UUID it is printed with the other arguments".to_owned()],
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn show_policy(args: Policy) -> Result<ExitCode, Error> {
    check_machine(&args.images.guest)?;
    let policy = policy::key_policy(&terms(args.images, owner(args.owner))?);
    let zeros = policy::zero_registers(&policy);
    if !zeros.is_empty() {
        return Err(ctl::Error::Policy(zeros).into());
    }
    show::problem(&warnings(&policy, &args.facts))?;
    show::json(&policy)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn promote(args: Promote) -> Result<ExitCode, Error> {
    check_machine(&args.guest)?;
    let request = promote::Request {
        nodes: nodes(args.nodes)?,
        handle: args.handle,
        policy: run::json(&args.policy)?,
        facts: facts(args.facts),
        credentials: secrets::credentials(&args.credentials, None)?,
        client_key: secrets::identity(&args.client)?,
    };
    forbid_core_dumps()?;
    let outcomes = promote::promote(&request)?;
    show::promoted(&outcomes, args.json)?;
    Ok(if outcomes.iter().all(Result::is_ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Disables core dumps, which could contain a key, a share or a token. Descriptors must be read before: a process that is not dumpable
/// cannot open its own /proc/self/fd.
fn forbid_core_dumps() -> Result<(), Error> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Error::Core)
}

/// Refuses machines whose attributes would leak the key. Vaults do not check attributes.
pub(crate) fn check_machine(args: &GuestArgs) -> Result<(), Error> {
    let quoted = args.td_quote.as_deref().map(log::td_attributes).transpose()?;
    match args.td_attributes.into_iter().chain(quoted).find_map(refused_attributes) {
        Some(why) => Err(Error::Attributes(why)),
        None => Ok(()),
    }
}

/// Warnings about a printed policy that `provision` and `promote` would refuse.
pub(crate) fn warnings(policy: &Value, args: &FactArgs) -> Vec<String> {
    let mut policy = policy.clone();
    let owner = policy.pointer_mut("/principals/owner").filter(|owner| owner.is_null());
    let is_open = owner.map(|owner| *owner = json!({ "Oidc": { "issuer": "-", "sub": "-" } })).is_some();
    let problems = policy::check(&policy, &Facts { app: args.app, matched: args.nodes_match.clone() });
    let open = is_open.then(|| "/principals/owner: null: fill it in, or give --issuer and --owner-sub".to_owned());
    let problems = open.into_iter().chain(problems.iter().map(ToString::to_string));
    problems.map(|problem| format!("warning: provision and promote would refuse this policy: {problem}")).collect()
}

fn facts(args: FactArgs) -> Facts {
    Facts { app: args.app, matched: args.nodes_match }
}

/// The policy: of the file, whose owner must equal the given one; of measurements; or of the grant.
fn key_policy(file: Option<&Path>, images: ImageArgs, named: OwnerArgs, credentials: &Credentials) -> Result<Value, Error> {
    let named = owner(named);
    let policy = match file {
        Some(file) => run::json(file)?,
        None if images.mrtd.is_empty() => credentials.granted_policy().ok_or(Error::NoPolicy)?,
        None => return Ok(policy::key_policy(&terms(images, Some(named.ok_or(Error::NoOwner)?))?)),
    };
    let owner = policy::owner(&policy);
    let same = |named: &Owner| owner.as_ref().is_some_and(|owner| (&owner.issuer, &owner.sub) == (&named.issuer, &named.sub));
    if named.is_some_and(|named| !same(&named)) {
        return Err(Error::AnotherOwner);
    }
    Ok(policy)
}

pub(crate) fn owner(args: OwnerArgs) -> Option<Owner> {
    Some(Owner { issuer: args.issuer?, sub: args.owner_sub?, roles: args.owner_roles })
}

fn terms(args: ImageArgs, owner: Option<Owner>) -> Result<Terms, Error> {
    let count = args.mrtd.len();
    // Without images, the policy admits no guest until images are promoted.
    if args.rtmr1.len() != count || args.rtmr2.len() != count || ![0, count].contains(&args.rtmr0.len()) {
        return Err(Error::Images);
    }
    let ImageArgs { mrtd, rtmr0, rtmr1, rtmr2, guest: _, terms: more } = args;
    let rtmr0 = rtmr0.into_iter().map(Some).chain(std::iter::repeat(None));
    let registers = mrtd.into_iter().zip(rtmr0).zip(rtmr1).zip(rtmr2);
    let images = registers.map(|(((mrtd, rtmr0), rtmr1), rtmr2)| Image { mrtd, rtmr0, rtmr1, rtmr2 });
    Ok(of_images(images.collect(), more, owner))
}

/// The terms of the policy for these images.
pub(crate) fn of_images(images: Vec<Image>, args: TermArgs, owner: Option<Owner>) -> Terms {
    Terms { name: args.name, images, owner, attestation_servers: args.attestation_servers, ttl_seconds: args.ttl }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Reads the certificates of a PEM file, or the one of a DER file.
fn authorities(path: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let bytes = read(path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes).flatten().map(|one| one.to_vec()).collect();
    Ok(if found.is_empty() { vec![bytes.to_vec()] } else { found })
}

fn nodes(args: NodeArgs) -> Result<Nodes, Error> {
    let floors = args.floors.as_deref().map_or(Ok(Floors::default()), floors)?;
    Ok(Nodes {
        vaults: args.vaults,
        anchor: read(&args.anchor)?.to_vec(),
        node_ca: args.node_ca.iter().map(|path| authorities(path)).collect::<Result<Vec<_>, _>>()?.concat(),
        platforms: args.platforms,
        mrenclaves: args.mrenclaves,
        statuses: args.statuses,
        at: args.at.unwrap_or_else(now).max(floors.built),
        floors,
        collateral: Arc::new(Sources::open(&args.collateral)?),
    })
}
