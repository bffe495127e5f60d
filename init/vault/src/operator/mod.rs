//! Requests of an operator. Built only with the feature `operator`, so that PID 1 contains none of it.
//!
//! [`KeyServer`] is the interface; [`Operator`] is the Enclave Vault behind it. Threat model: the node was verified before, so its
//! answers are those of a known build. Still, the build may have errors, and its texts may quote other clients. So the length of every
//! answer is limited, its texts are printed only as [`NodeText`], and it is compared with the request.

mod answer;
mod error;
mod node_text;
mod request;
mod token;

use std::time::{Duration, Instant};

use serde_json::Value;

use ratls::{Session, Transport};

pub use answer::{AuditEntry, AuditLog, KeyInfo, ListedKey, PendingProfile, PolicyInForce, Staged};
pub use error::{Error, Refusal};
pub use node_text::{NodeText, escape};
pub use request::{NewKey, ProfileSource};
pub use token::{Token, TokenError};

use answer::Answer;
use request::Request;

/// The longest answer to an operator, in bytes: 1024 entries of an audit log are about 300 KiB.
const ANSWER_MAX: usize = 1 << 20;

/// Requests to a verified key server. Keys have names (handles) and policies. `owner` is the owner's bearer token.
///
/// A client of another key server implements this trait. That server must guarantee: a key is never overwritten, `delete_key` is final,
/// and `policy` returns the policy that it evaluates.
pub trait KeyServer {
    /// Stores a new key under the policy of its grant. Returns when it expires, Unix seconds.
    ///
    /// # Errors
    /// [`Error`]; [`Error::leaves_doubt`] tells whether the key may have been stored anyway.
    fn create_key(&mut self, key: &NewKey<'_>) -> Result<u64, Error>;

    /// Deletes a key permanently.
    ///
    /// # Errors
    /// [`Error`], as for every other request.
    fn delete_key(&mut self, handle: &str, owner: &Token) -> Result<(), Error>;

    /// Describes a key, without its material. Works for an expired key too.
    ///
    /// # Errors
    /// [`Error`].
    fn key_info(&mut self, handle: &str, owner: &Token) -> Result<KeyInfo, Error>;

    /// Lists the keys of the owner.
    ///
    /// # Errors
    /// [`Error`].
    fn list_keys(&mut self, owner: &Token) -> Result<Vec<ListedKey>, Error>;

    /// Returns the policy in force.
    ///
    /// # Errors
    /// [`Error`].
    fn policy(&mut self, handle: &str, owner: &Token) -> Result<PolicyInForce, Error>;

    /// Replaces the policy. Returns its version.
    ///
    /// # Errors
    /// [`Error`].
    fn update_policy(&mut self, handle: &str, policy: &Value, owner: &Token) -> Result<u64, Error>;

    /// Stages a profile. Its guests do not get the key until it is promoted.
    ///
    /// # Errors
    /// [`Error`].
    fn stage_profile(&mut self, handle: &str, profile: &Value, source: ProfileSource, owner: &Token) -> Result<Staged, Error>;

    /// Lists staged profiles.
    ///
    /// # Errors
    /// [`Error`].
    fn pending_profiles(&mut self, handle: &str, owner: &Token) -> Result<Vec<PendingProfile>, Error>;

    /// Adds a staged profile to the policy. Returns the version of the policy.
    ///
    /// # Errors
    /// [`Error`].
    fn promote_profile(&mut self, handle: &str, id: u32, owner: &Token) -> Result<u64, Error>;

    /// Deletes a staged profile.
    ///
    /// # Errors
    /// [`Error`].
    fn revoke_profile(&mut self, handle: &str, id: u32, owner: &Token) -> Result<(), Error>;

    /// Returns the audit log of a key from entry `since` on, at most `limit` entries.
    ///
    /// # Errors
    /// [`Error`].
    fn audit_log(&mut self, handle: &str, since: u64, limit: u32, owner: &Token) -> Result<AuditLog, Error>;
}

/// An Enclave Vault, over the session in which it was verified.
pub struct Operator<T: Transport> {
    session: Session<T>,
    step: Duration,
}

impl<T: Transport> Operator<T> {
    /// Sends requests over `session`, each with the timeout `step`.
    #[must_use]
    pub fn new(session: Session<T>, step: Duration) -> Self {
        Self { session, step }
    }

    fn ask(&mut self, request: &Request<'_>, owner: Option<&Token>) -> Result<Answer, Error> {
        let body = request.encode()?;
        let bearer = owner.map(|owner| owner.expose().as_bytes());
        let reply = self.session.post(crate::PATH, bearer, &body, ANSWER_MAX, Instant::now() + self.step)?;
        let secrets = [bearer.unwrap_or_default(), request.secrets(&body)];
        if reply.status != 200 {
            // A proxy or a node may quote the request in any form. If the request contains a share, no part of the body is printed.
            let text = match request {
                Request::CreateKey(_) => NodeText::withheld(reply.body.len()),
                _ => NodeText::of_bytes(&reply.body).without(&secrets),
            };
            return Err(Error::Status { status: reply.status, text });
        }
        answer::parse(&body, &reply.body).map_err(|error| error.without(&secrets))
    }
}

impl<T: Transport> KeyServer for Operator<T> {
    fn create_key(&mut self, key: &NewKey<'_>) -> Result<u64, Error> {
        match self.ask(&Request::CreateKey(key), None)? {
            Answer::KeyCreated { handle, expires_at } if handle.is(key.handle) => Ok(expires_at),
            _ => Err(Error::Another),
        }
    }

    fn delete_key(&mut self, handle: &str, owner: &Token) -> Result<(), Error> {
        match self.ask(&Request::DeleteKey { handle, approvals: [] }, Some(owner))? {
            Answer::KeyDeleted => Ok(()),
            _ => Err(Error::Another),
        }
    }

    fn key_info(&mut self, handle: &str, owner: &Token) -> Result<KeyInfo, Error> {
        match self.ask(&Request::GetKeyInfo { handle }, Some(owner))? {
            Answer::KeyInfo(info) if info.handle.is(handle) => Ok(info),
            _ => Err(Error::Another),
        }
    }

    fn list_keys(&mut self, owner: &Token) -> Result<Vec<ListedKey>, Error> {
        match self.ask(&Request::ListKeys, Some(owner))? {
            Answer::KeyList { keys } => Ok(keys),
            _ => Err(Error::Another),
        }
    }

    fn policy(&mut self, handle: &str, owner: &Token) -> Result<PolicyInForce, Error> {
        match self.ask(&Request::GetPolicy { handle }, Some(owner))? {
            Answer::Policy(policy) => Ok(policy),
            _ => Err(Error::Another),
        }
    }

    fn update_policy(&mut self, handle: &str, policy: &Value, owner: &Token) -> Result<u64, Error> {
        match self.ask(&Request::UpdatePolicy { handle, new_policy: policy, approvals: [] }, Some(owner))? {
            Answer::PolicyUpdated { policy_version } => Ok(policy_version),
            _ => Err(Error::Another),
        }
    }

    fn stage_profile(&mut self, handle: &str, profile: &Value, source: ProfileSource, owner: &Token) -> Result<Staged, Error> {
        match self.ask(&Request::StagePendingProfile { handle, profile, source }, Some(owner))? {
            Answer::PendingProfileStaged(staged) => Ok(staged),
            _ => Err(Error::Another),
        }
    }

    fn pending_profiles(&mut self, handle: &str, owner: &Token) -> Result<Vec<PendingProfile>, Error> {
        match self.ask(&Request::ListPendingProfiles { handle }, Some(owner))? {
            Answer::PendingProfileList { pending } => Ok(pending),
            _ => Err(Error::Another),
        }
    }

    fn promote_profile(&mut self, handle: &str, id: u32, owner: &Token) -> Result<u64, Error> {
        match self.ask(&Request::PromotePendingProfile { handle, pending_id: id, approvals: [] }, Some(owner))? {
            Answer::PendingProfilePromoted { policy_version } => Ok(policy_version),
            _ => Err(Error::Another),
        }
    }

    fn revoke_profile(&mut self, handle: &str, id: u32, owner: &Token) -> Result<(), Error> {
        match self.ask(&Request::RevokePendingProfile { handle, pending_id: id }, Some(owner))? {
            Answer::PendingProfileRevoked => Ok(()),
            _ => Err(Error::Another),
        }
    }

    fn audit_log(&mut self, handle: &str, since: u64, limit: u32, owner: &Token) -> Result<AuditLog, Error> {
        match self.ask(&Request::ReadAuditLog { handle, since_seq: since, limit }, Some(owner))? {
            Answer::AuditLog(log) => Ok(log),
            _ => Err(Error::Another),
        }
    }
}
