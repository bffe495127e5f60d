//! The receipt's published schema: every receipt of every boot is held against it, and a whole run must have produced every field.
//!
//! As much of JSON Schema as that schema uses; a keyword that is not known here fails, so that nothing of it is passed over.

use std::collections::BTreeSet;
use std::sync::Mutex;

use regex::Regex;
use serde_json::{Map, Value};

use crate::{Doing, Failure};

const SCHEMA: &str = include_str!("../../init/boot-report.schema.json");
/// What says nothing about a value.
const NOTES: [&str; 4] = ["$schema", "title", "description", "$defs"];

/// Fields that were not null in some receipt, by their path in the schema.
static PRODUCED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Holds a receipt against the schema, and remembers which fields it has.
///
/// # Errors
/// The first place that breaks a rule.
pub(crate) fn hold(receipt: &Value) -> Result<(), Failure> {
    let schema: Value = serde_json::from_str(SCHEMA).doing("the boot report's schema")?;
    let mut fields = BTreeSet::new();
    Rules { whole: &schema }.hold(&schema, receipt, "", &mut fields).map_err(|what| Failure(format!("boot report: {what}")))?;
    if let Ok(mut produced) = PRODUCED.lock() {
        produced.append(&mut fields);
    }
    Ok(())
}

/// The fields of the schema that no receipt so far had.
///
/// # Errors
/// When the schema is no JSON.
pub fn not_produced() -> Result<Vec<String>, Failure> {
    let schema: Value = serde_json::from_str(SCHEMA).doing("the boot report's schema")?;
    let mut named = BTreeSet::new();
    Rules { whole: &schema }.name(&schema, "", &mut named);
    let produced = PRODUCED.lock().map(|produced| produced.clone()).unwrap_or_default();
    Ok(named.difference(&produced).cloned().collect())
}

struct Rules<'a> {
    whole: &'a Value,
}

impl Rules<'_> {
    fn hold(&self, schema: &Value, value: &Value, path: &str, fields: &mut BTreeSet<String>) -> Result<(), String> {
        let rules = schema.as_object().ok_or("a schema that is no object")?;
        if !value.is_null() && !path.is_empty() {
            fields.insert(form(path));
        }
        for (keyword, rule) in rules.iter().filter(|(keyword, _)| !NOTES.contains(&keyword.as_str())) {
            let wrong = || format!("{path}: {value} breaks {keyword} {rule}");
            let holds = match keyword.as_str() {
                "$ref" => {
                    self.hold(self.definition(rule)?, value, path, fields)?;
                    true
                }
                "anyOf" => {
                    let mut found = BTreeSet::new();
                    let fits = |one: &&Value| {
                        found.clear();
                        self.hold(one, value, path, &mut found).is_ok()
                    };
                    let fits = rule.as_array().is_some_and(|any| any.iter().find(fits).is_some());
                    fields.append(&mut found);
                    fits
                }
                "const" => rule == value,
                "enum" => rule.as_array().is_some_and(|all| all.contains(value)),
                "type" => is_of(rule, value),
                "pattern" => match value.as_str() {
                    Some(text) => rule.as_str().and_then(|rule| Regex::new(rule).ok()).is_some_and(|regex| regex.is_match(text)),
                    None => true,
                },
                "required" => match value.as_object() {
                    Some(object) => rule
                        .as_array()
                        .is_some_and(|all| all.iter().all(|name| name.as_str().is_some_and(|name| object.contains_key(name)))),
                    None => true,
                },
                "items" => {
                    value.as_array().into_iter().flatten().try_for_each(|item| self.hold(rule, item, path, fields))?;
                    true
                }
                "properties" | "additionalProperties" => {
                    value.as_object().map_or(Ok(()), |object| self.hold_fields(rules, object, path, fields))?;
                    true
                }
                other => return Err(format!("the schema's keyword {other} is not known to the test")),
            };
            if !holds {
                return Err(wrong());
            }
        }
        Ok(())
    }

    fn hold_fields(
        &self,
        rules: &Map<String, Value>,
        object: &Map<String, Value>,
        path: &str,
        fields: &mut BTreeSet<String>,
    ) -> Result<(), String> {
        for (name, value) in object {
            let named = rules.get("properties").and_then(|properties| properties.get(name));
            match named.or_else(|| rules.get("additionalProperties").filter(|rule| rule.is_object())) {
                Some(rule) if named.is_some() => self.hold(rule, value, &format!("{path}/{name}"), fields)?,
                Some(rule) => self.hold(rule, value, path, fields)?,
                None => return Err(format!("{path}/{name} is not in the schema")),
            }
        }
        Ok(())
    }

    /// Every path that the schema has a field for.
    fn name(&self, schema: &Value, path: &str, named: &mut BTreeSet<String>) {
        if let Some(rule) = schema.get("$ref").and_then(|rule| self.definition(rule).ok()) {
            self.name(rule, path, named);
        }
        for one in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten().chain(schema.get("items")) {
            self.name(one, path, named);
        }
        for (name, rule) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}/{name}");
            self.name(rule, &path, named);
            named.insert(form(&path));
        }
    }

    fn definition(&self, rule: &Value) -> Result<&Value, String> {
        let place = rule.as_str().and_then(|rule| rule.strip_prefix('#')).ok_or("a reference out of the schema")?;
        self.whole.pointer(place).ok_or_else(|| format!("no definition {place}"))
    }
}

/// Both unlocks have one form: what one of them had, the form had.
fn form(path: &str) -> String {
    path.replacen("/unlock_previous/", "/unlock/", 1)
}

fn is_of(rule: &Value, value: &Value) -> bool {
    let one = |name: &Value| match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => false,
    };
    rule.as_array().map_or_else(|| one(rule), |any| any.iter().any(one))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn receipt() -> Value {
        json!({
            "schema": 6, "version": "0.1.0", "policy_sha256": "ab".repeat(32), "root_hash": "cd".repeat(32), "link": null, "unlock": null,
            "unlock_previous": null, "data": null, "more_data": [], "scratch": [], "debug": ["timeline"],
            "measurement": {
                "command_line": { "measured": "unknown", "log": null, "by": null, "reason": "firmware left no log" },
                "rtmr2_capped": false, "rtmr2": null, "rtmr3": null, "pcr": { "number": 15, "values": { "sha256": "00" } }, "events": 6,
            },
            "time": { "unix_seconds": 1, "source": "host", "host_ahead_seconds": -1, "clock_set": false, "clocksource": "tsc" },
            "phases": [{ "name": "early", "milliseconds": 7 }],
        })
    }

    #[test]
    fn receipts_are_held_against_every_rule() {
        type Change = fn(&mut Value);
        let cases: [(&str, Change, bool); 9] = [
            ("as it is", |_| (), true),
            ("a field too many", |r| r["secret"] = json!(1), false),
            ("a field too few", |r| drop(r.as_object_mut().unwrap().remove("time")), false),
            ("another version", |r| r["schema"] = json!(2), false),
            ("a word that is none", |r| r["measurement"]["command_line"]["measured"] = json!("maybe"), false),
            ("a number as text", |r| r["phases"][0]["milliseconds"] = json!("7"), false),
            ("a hash of other length", |r| r["root_hash"] = json!("cd"), false),
            ("null where something must be", |r| r["time"] = json!(null), false),
            ("deep inside", |r| r["measurement"]["pcr"]["values"]["sha256"] = json!("xyz"), false),
        ];
        for (name, change, holds) in cases {
            let mut changed = receipt();
            change(&mut changed);
            assert_eq!(hold(&changed).is_ok(), holds, "{name}: {:?}", hold(&changed).err());
        }
    }

    #[test]
    fn fields_that_were_null_are_not_produced() {
        hold(&receipt()).unwrap();
        let missing = not_produced().unwrap();
        assert!(missing.contains(&"/unlock/vaults/mrenclave".to_owned()) && missing.contains(&"/link".to_owned()));
        assert!(!missing.contains(&"/measurement/pcr/values".to_owned()) && !missing.contains(&"/phases/name".to_owned()));
    }
}
