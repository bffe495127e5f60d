//! Keys that exist: what vaults say of them, and deleting them.

use ratls::Identity;
use vault::operator::{AuditLog, KeyInfo, KeyServer, ListedKey, PolicyInForce, Token};

use crate::nodes::Proved;
use crate::policy::Owner;
use crate::{Cause, Credentials, Error, Failure, Node, Nodes};

/// The most entries of a log that a node gives at once.
const LOG_MAX: u32 = 1024;

/// Whom to ask, and as whom.
pub struct Request {
    /// The vaults, and what they must prove before they see the owner's bearer.
    pub nodes: Nodes,
    /// What speaks for the owner.
    pub credentials: Credentials,
    /// The owner whom an issuer's key signs for; not needed with a bearer that was given.
    pub owner: Option<Owner>,
    /// The client key that is kept; a fresh one otherwise.
    pub client_key: Option<Identity>,
}

/// What each vault answered, in the order of the list.
pub type Answers<T> = Vec<Result<(Node, T), Failure>>;

/// A vault and the bearer that it will be shown.
struct Asked<'a> {
    vault: Proved,
    bearer: crate::credentials::Lent<'a>,
}

impl Request {
    /// Asks every vault. One that fails does not keep the others from answering.
    pub(crate) fn ask<T>(&self, question: impl Fn(&mut dyn KeyServer, &Token) -> Result<T, Cause>) -> Result<Answers<T>, Error> {
        Ok(self.prove()?.into_iter().map(|asked| answer(asked?, &question)).collect())
    }

    fn prove(&self) -> Result<Vec<Result<Asked<'_>, Failure>>, Error> {
        self.credentials.check(false)?;
        let identity = crate::identity(self.client_key.as_ref())?;
        let with_bearer = |vault: Proved| match self.credentials.bearer(self.owner.as_ref(), vault.node.time) {
            Ok(bearer) => Ok(Asked { vault, bearer }),
            Err(error) => Err(vault.failed(error.into())),
        };
        Ok(self.nodes.prove(&identity).into_iter().map(|proved| proved.and_then(with_bearer)).collect())
    }
}

fn answer<T>(
    mut asked: Asked<'_>,
    question: &impl Fn(&mut dyn KeyServer, &Token) -> Result<T, Cause>,
) -> Result<(Node, T), Failure> {
    match question(&mut asked.vault.server, &asked.bearer) {
        Ok(answer) => Ok((asked.vault.node, answer)),
        Err(cause) => Err(asked.vault.failed(cause)),
    }
}

/// The keys that the bearer owns at each vault.
///
/// # Errors
/// What is wrong with the request itself, before anyone is dialled; as in every function here.
pub fn list(request: &Request) -> Result<Answers<Vec<ListedKey>>, Error> {
    request.ask(|server, bearer| Ok(server.list_keys(bearer)?))
}

/// What each vault says of a key.
///
/// # Errors
/// As [`list`].
pub fn info(request: &Request, handle: &str) -> Result<Answers<KeyInfo>, Error> {
    request.ask(|server, bearer| Ok(server.key_info(handle, bearer)?))
}

/// The policy in force at each vault.
///
/// # Errors
/// As [`list`].
pub fn policy(request: &Request, handle: &str) -> Result<Answers<PolicyInForce>, Error> {
    request.ask(|server, bearer| Ok(server.policy(handle, bearer)?))
}

/// What was asked of a key at each vault, from entry `since` on, at most `limit` entries.
///
/// # Errors
/// As [`list`].
pub fn audit(request: &Request, handle: &str, since: u64, limit: u32) -> Result<Answers<AuditLog>, Error> {
    request.ask(|server, bearer| Ok(server.audit_log(handle, since, limit, bearer)?))
}

/// What became of a key at a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone.
    Now,
    /// It was not there.
    Absent,
}

/// Deletes a key. Unless `even_in_use`, only the rest of a dealing that ended halfway is deleted: every vault of the list must answer, one of
/// them must have no such key, and none may have given it out or have been told another policy. A vault that lost its share would else
/// make a key in use look like such a rest, and so would a vault that is down and gave the key out. Can be repeated until no vault has it.
///
/// # Errors
/// As [`list`].
pub fn delete(request: &Request, handle: &str, even_in_use: bool) -> Result<Answers<Deleted>, Error> {
    let looked: Vec<_> = request.prove()?.into_iter().map(|asked| look(asked?, handle)).collect();
    let kept = if even_in_use { None } else { why_kept(&looked) };
    let delete = |(mut asked, state): (Asked<'_>, State)| {
        if state == State::Absent {
            return Ok((asked.vault.node, Deleted::Absent));
        }
        if let Some(kept) = &kept {
            return Err(asked.vault.failed(kept.cause()));
        }
        match asked.vault.server.delete_key(handle, &asked.bearer) {
            Ok(()) => Ok((asked.vault.node, Deleted::Now)),
            Err(error) if error.is_absent() => Ok((asked.vault.node, Deleted::Absent)),
            Err(error) => Err(asked.vault.failed(error.into())),
        }
    };
    Ok(looked.into_iter().map(|looked| looked.and_then(delete)).collect())
}

/// Why a key is not taken for the rest of a dealing that ended halfway.
enum Kept {
    InUse,
    Unanswered(Vec<String>),
}

impl Kept {
    fn cause(&self) -> Cause {
        match self {
            Self::InUse => Cause::InUse,
            Self::Unanswered(vaults) => Cause::Unanswered(vaults.clone()),
        }
    }
}

/// Judges what all the vaults said. One that did not answer may be the one that gave the key out.
fn why_kept(looked: &[Result<(Asked<'_>, State), Failure>]) -> Option<Kept> {
    let is_somewhere = |wanted| looked.iter().flatten().any(|(_, state)| *state == wanted);
    if is_somewhere(State::Used) {
        return Some(Kept::InUse);
    }
    let silent: Vec<_> = looked.iter().filter_map(|looked| Some(looked.as_ref().err()?.vault.clone())).collect();
    if !silent.is_empty() {
        return Some(Kept::Unanswered(silent));
    }
    (!is_somewhere(State::Absent)).then_some(Kept::InUse)
}

/// What a vault says of a key that is to be deleted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Absent,
    /// Nothing was done with it since it was made.
    Fresh,
    Used,
}

/// Looks at a key and at its log. A log too long to be read whole is one of a key in use.
fn look<'a>(mut asked: Asked<'a>, handle: &str) -> Result<(Asked<'a>, State), Failure> {
    let server = &mut asked.vault.server;
    let looked = match server.key_info(handle, &asked.bearer) {
        Err(error) if error.is_absent() => Ok(State::Absent),
        Err(error) => Err(error),
        Ok(info) if info.policy_version != 1 => Ok(State::Used),
        Ok(_) => server.audit_log(handle, 0, LOG_MAX, &asked.bearer).map(|log| {
            let gave_out = log.entries.iter().any(|entry| entry.op.is("ExportKey") && entry.decision.is("Allowed"));
            if gave_out || log.next_seq >= LOG_MAX.into() { State::Used } else { State::Fresh }
        }),
    };
    match looked {
        Ok(state) => Ok((asked, state)),
        Err(error) => Err(asked.vault.failed(error.into())),
    }
}
