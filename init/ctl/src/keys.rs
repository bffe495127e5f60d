//! Queries about existing keys, and their deletion.

use ratls::Identity;
use vault::operator::{AuditLog, KeyInfo, KeyServer, ListedKey, PolicyInForce, Token};

use crate::nodes::Proved;
use crate::policy::Owner;
use crate::{Cause, Credentials, Error, Failure, Node, Nodes};

/// The most log entries in one answer of a node.
const LOG_MAX: u32 = 1024;

/// The vaults, and the credentials for them.
pub struct Request {
    /// The vaults, and what they must prove before the owner's bearer token is sent.
    pub nodes: Nodes,
    /// Credentials of the owner.
    pub credentials: Credentials,
    /// The owner in signed bearer tokens; not needed with a given token.
    pub owner: Option<Owner>,
    /// The stored client key; `None`: a new one.
    pub client_key: Option<Identity>,
}

/// The answers of the vaults, in the order of the list.
pub type Answers<T> = Vec<Result<(Node, T), Failure>>;

/// A vault and the bearer token for it.
struct Asked<'a> {
    vault: Proved,
    bearer: crate::credentials::Lent<'a>,
}

impl Request {
    /// Sends the request to every vault, also after one fails.
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

/// Lists the keys of the bearer token's owner at each vault.
///
/// # Errors
/// Errors in the request itself, before any connection.
pub fn list(request: &Request) -> Result<Answers<Vec<ListedKey>>, Error> {
    request.ask(|server, bearer| Ok(server.list_keys(bearer)?))
}

/// Queries a key at each vault.
///
/// # Errors
/// As [`list`].
pub fn info(request: &Request, handle: &str) -> Result<Answers<KeyInfo>, Error> {
    request.ask(|server, bearer| Ok(server.key_info(handle, bearer)?))
}

/// Queries the policy in force at each vault.
///
/// # Errors
/// As [`list`].
pub fn policy(request: &Request, handle: &str) -> Result<Answers<PolicyInForce>, Error> {
    request.ask(|server, bearer| Ok(server.policy(handle, bearer)?))
}

/// Queries the audit log of a key at each vault: from entry `since` on, at most `limit` entries.
///
/// # Errors
/// As [`list`].
pub fn audit(request: &Request, handle: &str, since: u64, limit: u32) -> Result<Answers<AuditLog>, Error> {
    request.ask(|server, bearer| Ok(server.audit_log(handle, since, limit, bearer)?))
}

/// The result of a deletion at a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The key was deleted.
    Now,
    /// The key was absent.
    Absent,
}

/// Deletes a key. Unless `even_in_use`, only the remainder of an incomplete `provision` is deleted: all vaults of the list answer, at
/// least one lacks the key, none exported it, and all have the first policy. Otherwise, a vault that lost its share or does not answer
/// could make a key in use look like such a remainder. Can be repeated until no vault has the key.
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

/// Why a key is not the remainder of an incomplete `provision`.
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

/// Decides from the answers of all vaults. A vault that did not answer may have exported the key.
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

/// The state of a key that is to be deleted, at one vault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Absent,
    /// Not used since it was created.
    Fresh,
    Used,
}

/// Queries a key and its log. A log that is too long for one answer means that the key is in use.
fn look<'a>(mut asked: Asked<'a>, handle: &str) -> Result<(Asked<'a>, State), Failure> {
    let server = &mut asked.vault.server;
    let looked = match server.key_info(handle, &asked.bearer) {
        Err(error) if error.is_absent() => Ok(State::Absent),
        Err(error) => Err(error),
        Ok(info) if info.policy_version != 1 => Ok(State::Used),
        Ok(_) => server.audit_log(handle, 0, LOG_MAX, &asked.bearer).map(|log| {
            let exported = log.entries.iter().any(|entry| entry.op.is("ExportKey") && entry.decision.is("Allowed"));
            if exported || log.next_seq >= LOG_MAX.into() { State::Used } else { State::Fresh }
        }),
    };
    match looked {
        Ok(state) => Ok((asked, state)),
        Err(error) => Err(asked.vault.failed(error.into())),
    }
}
