//! Comparison of the policy that a node has with the one that was sent.

use serde_json::Value;

use super::shape::{POLICY, PROFILE, Problem, Shape};

/// The longest value that is printed, in bytes of JSON.
const VALUE_MAX: usize = 160;

/// Every place at which `got` differs from `sent`. Fields that a node adds with their default are not differences.
#[must_use]
pub fn differences(sent: &Value, got: &Value) -> Vec<Problem> {
    let mut found = Vec::new();
    compare(Some(&POLICY), sent, got, "", &mut found);
    found
}

/// The same for a profile.
#[must_use]
pub fn profile_differences(sent: &Value, got: &Value) -> Vec<Problem> {
    let mut found = Vec::new();
    compare(Some(&PROFILE), sent, got, "", &mut found);
    found
}

/// Whether a node's profile admits the same guests as a profile of the operator.
#[must_use]
pub fn same_profile(one: &Value, other: &Value) -> bool {
    profile_differences(one, other).is_empty()
}

fn compare(shape: Option<&Shape>, sent: &Value, got: &Value, place: &str, found: &mut Vec<Problem>) {
    match (sent, got) {
        (Value::Object(sent), Value::Object(got)) => {
            let default = |name: &str| shape.and_then(|shape| shape.default_of(name));
            for (name, value) in sent {
                let place = format!("{place}/{name}");
                match got.get(name) {
                    Some(other) => compare(shape.and_then(|shape| shape.part(name)), value, other, &place, found),
                    None if default(name).as_ref() == Some(value) => {}
                    None => found.push(Problem::at(&place, format!("sent {}, and the node dropped it", short(value)))),
                }
            }
            for (name, value) in got.iter().filter(|(name, _)| !sent.contains_key(*name)) {
                if default(name).as_ref() != Some(value) {
                    let place = format!("{place}/{name}");
                    found.push(Problem::at(&place, format!("the node added {}", short(value))));
                }
            }
        }
        (Value::Array(sent), Value::Array(got)) if sent.len() == got.len() => {
            let shape = shape.and_then(|shape| shape.part(""));
            for (index, (sent, got)) in sent.iter().zip(got).enumerate() {
                compare(shape, sent, got, &format!("{place}/{index}"), found);
            }
        }
        _ if sent == got => {}
        _ => found.push(Problem::at(place, format!("sent {}, and the node has {}", short(sent), short(got)))),
    }
}

/// A value, shortened, on one line.
fn short(value: &Value) -> String {
    let mut text = vault::operator::escape(&value.to_string()).replace('\n', " ");
    if text.len() > VALUE_MAX {
        text.truncate(VALUE_MAX); // ASCII, so this does not split a character
        text.push_str("..");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::tests::sample;

    fn places(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut got = sample();
        change(&mut got);
        differences(&sample(), &got).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_field_that_a_node_drops_changes_or_adds_is_reported() {
        type Change = fn(&mut Value);
        let tdx = "/principals/tees/0/Tee/measurements/0/Tdx";
        let cases: [(&str, Change, String); 6] = [
            (
                "dropped",
                |p| drop(p["principals"]["tees"][0]["Tee"]["measurements"][0]["Tdx"].as_object_mut().unwrap().remove("rtmr2")),
                format!("{tdx}/rtmr2: sent \"{}\", and the node dropped it", "02".repeat(48)),
            ),
            (
                "capped",
                |p| p["lifecycle"]["ttl_seconds"] = json!(60),
                "/lifecycle/ttl_seconds: sent 7776000, and the node has 60".to_owned(),
            ),
            (
                "one more guest",
                |p| {
                    let tee = p["principals"]["tees"][0].clone();
                    p["principals"]["tees"].as_array_mut().unwrap().push(tee);
                },
                "/principals/tees: sent [".to_owned(),
            ),
            ("added", |p| p["backdoor\u{1b}"] = json!("\u{202e}"), "/backdoor\\u{1b}: the node added \"\\u202e\"".to_owned()),
            ("nothing left", |p| *p = json!(null), ": sent {".to_owned()),
            (
                "one rule more",
                |p| p["operations"][0]["principals"] = json!(["AnyTee", "Owner"]),
                "/operations/0/principals: sent [".to_owned(),
            ),
        ];
        for (name, change, want) in cases {
            let found = places(change);
            assert!(found.len() == 1 && found[0].starts_with(&want), "{name}: {found:?}");
        }
        assert!(places(|_| ()).is_empty());
    }

    #[test]
    fn defaults_that_a_node_adds_are_not_differences() {
        let mut sent = sample();
        for (place, field) in [
            ("", "mutability"),
            ("/principals", "managers"),
            ("/operations/0", "requires"),
            ("/principals/tees/0/Tee", "acceptable_tcb_statuses"),
            ("/principals/tees/0/Tee/attestation_servers/0", "pinned_spki_sha256_hex"),
        ] {
            sent.pointer_mut(place).unwrap().as_object_mut().unwrap().remove(field);
        }
        assert_eq!(differences(&sent, &sample()), []);
        assert_eq!(differences(&sample(), &sent), [], "nor what it leaves out");
    }
}
