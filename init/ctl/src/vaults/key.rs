//! `cvmctl key` and `cvmctl profile`.

use std::process::ExitCode;

use ctl::keys::{self, Deleted};
use ctl::profiles::{self, Which};
use encoding::hex;
use quorum::Commitment;
use serde_json::{Value, json};
use vault::operator::{AuditEntry, KeyInfo, ListedKey, PendingProfile, ProfileSource};

use super::{facts, forbid_core_dumps, nodes, owner, secrets};
use crate::args::{Key, KeyAudit, KeyOf, Keys, Profile, ProfileOf, ProfileSourceName, ProfileStage};
use crate::header::passphrase;
use crate::run::{self, Error};
use crate::show::{self, date};

pub(crate) fn key(command: Key) -> Result<ExitCode, Error> {
    match command {
        Key::List(args) => {
            let (request, json) = request(args)?;
            show::answers(
                &keys::list(&request)?,
                json,
                |keys| keys.iter().map(listed_line).collect(),
                |keys| json!({ "keys": keys.iter().map(listed_json).collect::<Vec<_>>() }),
            )
        }
        Key::Info(args) => {
            let (request, json) = request(args.keys)?;
            let answers = keys::info(&request, &args.handle)?;
            show::answers(&answers, json, |info| vec![info_line(info)], info_json)
        }
        Key::Policy(args) => policy(args),
        Key::Commitment(args) => {
            let Commitment(hash) = passphrase(args.passphrase_fd)?.commitment();
            show::lines(&[hex::encode(&hash)])?;
            Ok(ExitCode::SUCCESS)
        }
        Key::Delete(args) => {
            let (request, json) = request(args.key.keys)?;
            let answers = keys::delete(&request, &args.key.handle, args.even_in_use)?;
            let line = |deleted: &Deleted| if *deleted == Deleted::Now { "deleted" } else { "absent" };
            show::answers(&answers, json, |deleted| vec![line(deleted).to_owned()], |deleted| json!({ "key": line(deleted) }))
        }
        Key::Audit(args) => audit(args),
    }
}

pub(crate) fn profile(command: Profile) -> Result<ExitCode, Error> {
    match command {
        Profile::Stage(args) => stage(args),
        Profile::List(args) => {
            let (request, json) = request(args.keys)?;
            let answers = profiles::list(&request, &args.handle)?;
            show::answers(
                &answers,
                json,
                |pending| pending.iter().map(pending_line).collect(),
                |pending| json!({ "pending": pending.iter().map(pending_json).collect::<Vec<_>>() }),
            )
        }
        Profile::Promote(args) => {
            let which = which(&args)?;
            let (request, json) = request(args.key.keys)?;
            let answers = profiles::promote(&request, &args.key.handle, &which, &facts(args.facts))?;
            let line = |version: &u64| vec![format!("policy version {version}")];
            show::answers(&answers, json, line, |version| json!({ "policy_version": version }))
        }
        Profile::Revoke(args) => {
            let which = which(&args)?;
            let (request, json) = request(args.key.keys)?;
            let answers = profiles::revoke(&request, &args.key.handle, &which)?;
            show::answers(&answers, json, |()| vec!["revoked".to_owned()], |()| json!({ "revoked": true }))
        }
    }
}

fn request(args: Keys) -> Result<(keys::Request, bool), Error> {
    let request = keys::Request {
        nodes: nodes(args.nodes)?,
        credentials: secrets::credentials(&args.credentials, None)?,
        owner: owner(args.owner),
        client_key: secrets::identity(&args.client)?,
    };
    forbid_core_dumps()?;
    Ok((request, args.json))
}

fn which(args: &ProfileOf) -> Result<Which, Error> {
    match (&args.profile, args.id) {
        (Some(path), _) => run::json(path).map(Which::Profile),
        (None, id) => Ok(Which::Number(id.unwrap_or_default())),
    }
}

/// Prints one policy on stdout, to be edited and given to `cvmctl promote`, and the version at each vault on stderr.
fn policy(args: KeyOf) -> Result<ExitCode, Error> {
    let (request, json) = request(args.keys)?;
    let answers = keys::policy(&request, &args.handle)?;
    if json {
        let value =
            |read: &vault::operator::PolicyInForce| json!({ "policy": read.policy, "policy_version": read.policy_version });
        return show::answers(&answers, true, |_| Vec::new(), value);
    }
    let lines: Vec<_> = answers
        .iter()
        .map(|answer| match answer {
            Ok((node, read)) => format!("{}: policy version {}", node.address, read.policy_version),
            Err(failure) => failure.to_string(),
        })
        .collect();
    show::problem(&lines)?;
    let mut policies = answers.iter().flatten().map(|(_, read)| &read.policy);
    let Some(first) = policies.next() else { return Ok(ExitCode::FAILURE) };
    if policies.any(|other| other != first) {
        return Err(Error::Policies);
    }
    show::json(first)?;
    Ok(show::exit_code(&answers))
}

fn audit(args: KeyAudit) -> Result<ExitCode, Error> {
    let (request, json) = request(args.key.keys)?;
    let answers = keys::audit(&request, &args.key.handle, args.since, args.limit)?;
    let lines = |log: &vault::operator::AuditLog| {
        let more = format!("next --since {}", log.next_seq);
        log.entries.iter().map(audit_line).chain(std::iter::once(more)).collect()
    };
    show::answers(
        &answers,
        json,
        lines,
        |log| json!({ "entries": log.entries.iter().map(audit_json).collect::<Vec<_>>(), "next_seq": log.next_seq }),
    )
}

fn stage(args: ProfileStage) -> Result<ExitCode, Error> {
    let profile = run::json(&args.profile)?;
    let (request, json) = request(args.key.keys)?;
    let source = match args.source {
        ProfileSourceName::PlatformBuild => ProfileSource::PlatformBuild,
        ProfileSourceName::ManualImport => ProfileSource::ManualImport,
    };
    let answers = profiles::stage(&request, &args.key.handle, &profile, source, &facts(args.facts))?;
    let line = |staged: &vault::operator::Staged| {
        vec![if staged.auto_promoted {
            format!("already in force, policy version {}", staged.policy_version)
        } else {
            format!("staged as {}", staged.pending_id)
        }]
    };
    show::answers(&answers, json, line, |staged| {
        json!({
            "id": (!staged.auto_promoted).then_some(staged.pending_id),
            "in_force": staged.auto_promoted,
            "policy_version": staged.policy_version,
        })
    })
}

fn listed_line(key: &ListedKey) -> String {
    format!("{} {} until {}", key.handle, key.key_type, date(key.expires_at))
}

fn listed_json(key: &ListedKey) -> Value {
    json!({ "handle": key.handle.as_str(), "key_type": key.key_type.as_str(), "expires_at": key.expires_at })
}

fn info_line(info: &KeyInfo) -> String {
    let exportable = if info.exportable { "exportable" } else { "not exportable" };
    let (made, end) = (date(info.created_at), date(info.expires_at));
    format!("{} {exportable}, made {made}, until {end}, policy version {}", info.key_type, info.policy_version)
}

fn info_json(info: &KeyInfo) -> Value {
    json!({
        "handle": info.handle.as_str(),
        "key_type": info.key_type.as_str(),
        "exportable": info.exportable,
        "created_at": info.created_at,
        "expires_at": info.expires_at,
        "policy_version": info.policy_version,
    })
}

fn audit_line(entry: &AuditEntry) -> String {
    let AuditEntry { seq, ts, op, caller, decision, reason } = entry;
    format!("{seq} {} {decision} {op} by {caller}: {reason}", date(*ts))
}

fn audit_json(entry: &AuditEntry) -> Value {
    json!({
        "seq": entry.seq,
        "ts": entry.ts,
        "op": entry.op.as_str(),
        "caller": entry.caller.as_str(),
        "decision": entry.decision.as_str(),
        "reason": entry.reason.as_str(),
    })
}

fn pending_line(pending: &PendingProfile) -> String {
    let platform = if pending.staged_by_platform { " (the platform, not the owner)" } else { "" };
    let name = ctl::NodeText::new(pending.profile.get("name").and_then(Value::as_str).unwrap_or_default());
    let (id, by, at) = (pending.id, &pending.staged_by_sub, date(pending.staged_at));
    format!("{id} {name}: staged {at} by {by}{platform}, source {}", pending.source)
}

fn pending_json(pending: &PendingProfile) -> Value {
    json!({
        "id": pending.id,
        "profile": pending.profile,
        "source": pending.source.as_str(),
        "staged_at": pending.staged_at,
        "staged_by_sub": pending.staged_by_sub.as_str(),
        "staged_by_platform": pending.staged_by_platform,
    })
}
