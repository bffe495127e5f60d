//! The events: small JSON texts whose digests are extended. They are canonical by RFC 8785 for the values that occur (texts,
//! whole numbers, booleans): sorted keys, no white space. A verifier that knows the facts can therefore compute the digests.

use encoding::json::canonical;
use serde_json::{Map, Value, json};

use crate::phase::data::Opened;
use crate::phase::scratch::Scratch;
use crate::phase::unlock::UnlockReport;

/// The facts of this boot that are measured.
pub(crate) struct Facts<'a> {
    /// SHA-256 of the policy's canonical text, hex.
    pub(crate) policy_sha256: &'a str,
    /// The measured root hash, hex.
    pub(crate) root_hash: &'a str,
    /// What the vaults did; none without a data disk.
    pub(crate) unlock: Option<&'a UnlockReport>,
    /// The same for the previous key, in a rotation.
    pub(crate) previous: Option<&'a UnlockReport>,
    /// The open data disks, in the order of the policy.
    pub(crate) data: &'a [Opened],
    /// The scratch disks, in the order of the policy.
    pub(crate) scratch: &'a [Scratch],
    /// The measured debug arguments.
    pub(crate) debug: &'a [String],
}

/// The text of each event, in the order of extension; the last is the cap.
pub(super) fn records(facts: &Facts<'_>) -> Vec<String> {
    let vaults = [("unlock", facts.unlock.map_or(json!("none"), UnlockReport::event))];
    let previous = facts.previous.map(|report| ("previous", report.event()));
    vec![
        record("policy", [("sha256", json!(facts.policy_sha256))]),
        record("root", [("roothash", json!(facts.root_hash))]),
        record("vaults", vaults.into_iter().chain(previous)),
        record("disk", disk(facts).into_iter().chain(scratch(facts.scratch))),
        record("debug", [("arguments", json!(facts.debug))]),
        record("leave-initrd", []),
    ]
}

fn disk(facts: &Facts<'_>) -> Vec<(&'static str, Value)> {
    let [data, others @ ..] = facts.data else { return vec![("open_mode", json!("none"))] };
    let (handle, share_set_id) = facts.unlock.map(UnlockReport::key).unzip();
    let mut fields = of_disk(data);
    fields.extend([("share_set_id", json!(share_set_id)), ("handle", json!(handle))]);
    if !others.is_empty() {
        // Only when there is more than one disk: the event of a single disk has no such field.
        fields.push(("others", Value::Array(others.iter().map(|other| object(of_disk(other))).collect())));
    }
    fields
}

fn of_disk(data: &Opened) -> Vec<(&'static str, Value)> {
    let name = data.name.as_ref().map(|name| ("name", json!(name)));
    let fields = [
        ("cipher", json!(data.cipher.as_str())),
        ("file_system", json!(data.file_system.as_str())),
        ("header_authenticated", json!(data.header_authenticated)),
        ("luks_uuid", json!(data.uuid.to_string())),
        ("open_mode", json!(data.open_mode.as_str())),
    ];
    fields.into_iter().chain(name).collect()
}

/// The scratch disks and their use, as the command line writes them; no field when policy names none.
fn scratch(disks: &[Scratch]) -> Option<(&'static str, Value)> {
    let entry = |scratch: &Scratch| Value::String([&scratch.disk, ":", &scratch.purpose].concat());
    (!disks.is_empty()).then(|| ("scratch", Value::Array(disks.iter().map(entry).collect())))
}

/// Adds the event's name under the key `cvm-init`.
fn record(name: &'static str, fields: impl IntoIterator<Item = (&'static str, Value)>) -> String {
    canonical(&object(fields.into_iter().chain([("cvm-init", json!(name))])))
}

/// [`canonical`] sorts. Fields are inserted one by one, since a map that is collected sorts too, which adds 4 KB to PID 1.
fn object(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let mut object = Map::new();
    for (key, value) in fields {
        object.insert(key.to_owned(), value);
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts<'static> {
        Facts { policy_sha256: "ab", root_hash: "cd", unlock: None, previous: None, data: &[], scratch: &[], debug: &[] }
    }

    #[test]
    fn events_come_in_their_order_and_the_cap_last() {
        let arguments = ["pause:unlock".to_owned(), "timeline".to_owned()];
        let want = [
            r#"{"cvm-init":"policy","sha256":"ab"}"#,
            r#"{"cvm-init":"root","roothash":"cd"}"#,
            r#"{"cvm-init":"vaults","unlock":"none"}"#,
            r#"{"cvm-init":"disk","open_mode":"none"}"#,
            r#"{"arguments":["pause:unlock","timeline"],"cvm-init":"debug"}"#,
            eventlog::cel::CAP,
        ];
        assert_eq!(records(&Facts { debug: &arguments, ..facts() }), want);
    }

    #[test]
    fn event_names_each_data_disk() {
        let disk = |name| Opened::sample(name, crate::phase::data::OpenMode::Opened);
        let uuid = "07070707-0707-0707-0707-070707070707";
        let of = |name: &str, others: &str| {
            format!(
                r#"{{"cipher":"xts-hmac","cvm-init":"disk","file_system":"ext4","handle":null,"header_authenticated":true,"luks_uuid":"{uuid}",{name}"open_mode":"opened",{others}"share_set_id":null}}"#
            )
        };
        let event = |data: &[Opened]| records(&Facts { data, ..facts() }).swap_remove(3);
        assert_eq!(event(&[disk(None)]), of("", ""));
        assert_eq!(event(&[disk(Some("srv"))]), of(r#""name":"srv","#, ""));
        let other = format!(
            r#"{{"cipher":"xts-hmac","file_system":"ext4","header_authenticated":true,"luks_uuid":"{uuid}","name":"srv","open_mode":"opened"}}"#
        );
        assert_eq!(event(&[disk(None), disk(Some("srv"))]), of("", &format!(r#""others":[{other}],"#)));
    }

    #[test]
    fn event_names_scratch_disks_beside_the_data_disk() {
        let scratch = |disk: &str, purpose: &str| Scratch { disk: disk.to_owned(), purpose: purpose.to_owned(), bytes: 7 };
        let disks = [scratch("serial=a", "swap"), scratch("serial=b", "/scratch")];
        let want = r#"{"cvm-init":"disk","open_mode":"none","scratch":["serial=a:swap","serial=b:/scratch"]}"#;
        assert_eq!(records(&Facts { scratch: &disks, ..facts() })[3], want);
    }

    #[test]
    fn keys_are_in_order_whatever_the_order_of_the_facts() {
        let text = record("x", [("z", json!({ "b": 1, "a": [{ "d": null, "c": "\u{e9}" }] })), ("a", json!(true))]);
        assert_eq!(text, "{\"a\":true,\"cvm-init\":\"x\",\"z\":{\"a\":[{\"c\":\"\u{e9}\",\"d\":null}],\"b\":1}}");
    }
}
