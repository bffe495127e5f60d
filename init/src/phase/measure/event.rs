//! The events: small JSON texts whose digests are extended. Canonical as RFC 8785 has it for what is in them (texts, whole numbers): keys
//! in order, no white space; so that whoever knows the facts knows the digest.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::phase::data::Opened;
use crate::phase::scratch::Scratch;
use crate::phase::unlock::Outcome;

/// What happened.
pub(crate) struct Facts<'a> {
    /// SHA-256 of the policy's canonical text, hex.
    pub(crate) policy_sha256: &'a str,
    /// The measured root hash, hex.
    pub(crate) root_hash: &'a str,
    /// What the vaults did; none without a data disk.
    pub(crate) unlock: Option<&'a Outcome>,
    /// The same for a key that was rotated away from.
    pub(crate) previous: Option<&'a Outcome>,
    /// The data disks, open, in the order of the policy.
    pub(crate) data: &'a [Opened],
    /// The scratch disks, in the order of the policy.
    pub(crate) scratch: &'a [Scratch],
    /// Measured debug words.
    pub(crate) debug: &'a [String],
}

/// One text for each event, in the order in which they are extended; the last is the cap.
pub(super) fn records(facts: &Facts<'_>) -> Result<Vec<String>, serde_json::Error> {
    let vaults = [("outcome", facts.unlock.map_or(json!("none"), Outcome::measured))];
    let previous = facts.previous.map(|outcome| ("previous", outcome.measured()));
    let events = [
        record("policy", [("sha256", json!(facts.policy_sha256))]),
        record("root", [("roothash", json!(facts.root_hash))]),
        record("vaults", vaults.into_iter().chain(previous)),
        record("disk", disk(facts).into_iter().chain(scratch(facts.scratch))),
        record("debug", [("words", json!(facts.debug))]),
        record("leave-initrd", []),
    ];
    events.into_iter().collect()
}

fn disk(facts: &Facts<'_>) -> Vec<(&'static str, Value)> {
    let [data, others @ ..] = facts.data else { return vec![("what", json!("none"))] };
    let (handle, generation) = facts.unlock.map(Outcome::key).unzip();
    let mut fields = of_disk(data);
    fields.extend([("generation", json!(generation)), ("handle", json!(handle))]);
    if !others.is_empty() {
        // As text keys of a map: the event of one disk is what it always was.
        let others = others.iter().map(|other| of_disk(other).into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
        fields.push(("others", Value::Array(others.map(Value::Object).collect())));
    }
    fields
}

fn of_disk(data: &Opened) -> Vec<(&'static str, Value)> {
    let name = data.name.as_ref().map(|name| ("name", json!(name)));
    let fields = [
        ("cipher", json!(data.cipher.as_str())),
        ("file_system", json!(data.file_system.as_str())),
        ("header", json!(data.header())),
        ("luks_uuid", json!(data.uuid.to_string())),
        ("what", json!(data.how.as_str())),
    ];
    fields.into_iter().chain(name).collect()
}

/// Which disks are scratch space and for what, as the command line writes them; nothing where policy names none, so that such a boot has the event that it always had.
fn scratch(disks: &[Scratch]) -> Option<(&'static str, Value)> {
    let word = |scratch: &Scratch| Value::String([&scratch.disk, ":", &scratch.purpose].concat());
    (!disks.is_empty()).then(|| ("scratch", Value::Array(disks.iter().map(word).collect())))
}

/// `cvm-init` names the event; a map of the standard library keeps its keys in order.
fn record(name: &'static str, fields: impl IntoIterator<Item = (&'static str, Value)>) -> Result<String, serde_json::Error> {
    let fields = fields.into_iter().chain([("cvm-init", json!(name))]);
    let sorted: BTreeMap<&str, Value> = fields.map(|(key, value)| (key, canonical(value))).collect();
    serde_json::to_string(&sorted)
}

/// Objects with their keys in order, however a crate of the tree may have configured `serde_json`.
fn canonical(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<String, Value> = map.into_iter().map(|(key, value)| (key, canonical(value))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(canonical).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts<'static> {
        Facts { policy_sha256: "ab", root_hash: "cd", unlock: None, previous: None, data: &[], scratch: &[], debug: &[] }
    }

    #[test]
    fn events_come_in_their_order_and_the_cap_last() {
        let words = ["pause:unlock".to_owned(), "timeline".to_owned()];
        let want = [
            r#"{"cvm-init":"policy","sha256":"ab"}"#,
            r#"{"cvm-init":"root","roothash":"cd"}"#,
            r#"{"cvm-init":"vaults","outcome":"none"}"#,
            r#"{"cvm-init":"disk","what":"none"}"#,
            r#"{"cvm-init":"debug","words":["pause:unlock","timeline"]}"#,
            eventlog::cel::CAP,
        ];
        assert_eq!(records(&Facts { debug: &words, ..facts() }).unwrap(), want);
    }

    #[test]
    fn each_data_disk_is_told_and_one_alone_as_it_always_was() {
        let disk = |name| Opened::sample(name, crate::phase::data::How::Opened);
        let uuid = "07070707-0707-0707-0707-070707070707";
        let of = |fields: &str| {
            format!(
                r#"{{"cipher":"xts-hmac","cvm-init":"disk","file_system":"ext4","generation":null,"handle":null,"header":"sealed","luks_uuid":"{uuid}",{fields}"what":"opened"}}"#
            )
        };
        let told = |data: &[Opened]| records(&Facts { data, ..facts() }).unwrap().swap_remove(3);
        assert_eq!(told(&[disk(None)]), of(""));
        assert_eq!(told(&[disk(Some("srv"))]), of(r#""name":"srv","#));
        let other = format!(
            r#"{{"cipher":"xts-hmac","file_system":"ext4","header":"sealed","luks_uuid":"{uuid}","name":"srv","what":"opened"}}"#
        );
        assert_eq!(told(&[disk(None), disk(Some("srv"))]), of(&format!(r#""others":[{other}],"#)));
    }

    #[test]
    fn scratch_disks_are_told_beside_the_data_disk() {
        let scratch = |disk: &str, purpose: &str| Scratch { disk: disk.to_owned(), purpose: purpose.to_owned(), bytes: 7 };
        let disks = [scratch("serial=a", "swap"), scratch("serial=b", "/scratch")];
        let want = r#"{"cvm-init":"disk","scratch":["serial=a:swap","serial=b:/scratch"],"what":"none"}"#;
        assert_eq!(records(&Facts { scratch: &disks, ..facts() }).unwrap()[3], want);
    }

    #[test]
    fn keys_are_in_order_whatever_the_order_of_the_facts() {
        let text = record("x", [("z", json!({ "b": 1, "a": [{ "d": null, "c": "\u{e9}" }] })), ("a", json!(true))]).unwrap();
        assert_eq!(text, "{\"a\":true,\"cvm-init\":\"x\",\"z\":{\"a\":[{\"c\":\"\u{e9}\",\"d\":null}],\"b\":1}}");
    }
}
