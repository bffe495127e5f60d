//! The audit log of each key: who asked for what, and the node's decision.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::StoredKey;

/// The largest number of entries in one answer, and the default.
const LIMIT: u32 = 1024;
const DEFAULT_LIMIT: u32 = 256;

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditEntry {
    pub(crate) seq: u64,
    pub(crate) ts: u64,
    pub(crate) op: String,
    pub(crate) caller: String,
    pub(crate) decision: Decision,
    pub(crate) reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Decision {
    Allowed,
    Denied,
}

/// The caller's name in the log.
pub(crate) fn caller(oidc: Option<&Value>, has_certificate: bool) -> String {
    match oidc.and_then(|claims| claims.get("sub")).and_then(Value::as_str) {
        Some(sub) => format!("oidc:{sub}"),
        None if has_certificate => "tee".to_owned(),
        None => "anonymous".to_owned(),
    }
}

impl StoredKey {
    /// Adds a decision: `Ok` with a remark, or `Err` with the refusal.
    pub(crate) fn log(&mut self, now: u64, caller: &str, op: &str, decision: Result<&str, &str>) {
        let seq = u64::try_from(self.audit.len()).unwrap_or(u64::MAX);
        let (decision, reason) = match decision {
            Ok(remark) => (Decision::Allowed, remark),
            Err(refusal) => (Decision::Denied, refusal),
        };
        self.audit.push(AuditEntry {
            seq,
            ts: now,
            op: op.to_owned(),
            caller: caller.to_owned(),
            decision,
            reason: reason.to_owned(),
        });
    }

    /// At most `limit` entries from `since` on, and the number of the next one. A limit of 0 means the default.
    pub(crate) fn audit_from(&self, since: u64, limit: u32) -> (Vec<AuditEntry>, u64) {
        let limit = if limit == 0 { DEFAULT_LIMIT } else { limit.min(LIMIT) };
        let wanted = self.audit.iter().filter(|entry| entry.seq >= since).take(usize::try_from(limit).unwrap_or(usize::MAX));
        let entries: Vec<_> = wanted.cloned().collect();
        let next = entries.last().map_or(since, |last| last.seq + 1);
        (entries, next)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Extensions;
    use crate::policy::Policy;
    use crate::policy::tests::{policy, tdx};

    #[test]
    fn pages_of_the_log_follow_each_other() {
        let policy = Policy::read(policy(&tdx(), &json!([])), &Extensions::default()).unwrap();
        let mut key = StoredKey::new(vec![1], policy, 7);
        for number in 0..5 {
            key.log(number, "oidc:owner-1", "ExportKey", if number == 2 { Err("no") } else { Ok("") });
        }
        let numbers = |since, limit| {
            let (entries, next) = key.audit_from(since, limit);
            (entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), next)
        };
        assert_eq!(numbers(0, 0), (vec![0, 1, 2, 3, 4], 5));
        assert_eq!(numbers(0, 2), (vec![0, 1], 2));
        assert_eq!(numbers(2, 2), (vec![2, 3], 4));
        assert_eq!(numbers(5, 2), (vec![], 5));
        assert_eq!((key.audit[2].decision, key.audit[2].reason.as_str()), (Decision::Denied, "no"));
    }

    #[test]
    fn callers_are_named_by_what_they_showed() {
        let claims = json!({ "sub": "owner-1" });
        assert_eq!(caller(Some(&claims), true), "oidc:owner-1");
        assert_eq!((caller(None, true).as_str(), caller(None, false).as_str()), ("tee", "anonymous"));
    }
}
