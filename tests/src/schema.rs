//! Validates boot reports by their published schema, and collects which fields they contain.
//!
//! Implements the keywords of JSON Schema that the schema uses; any other keyword is an error.

use std::collections::BTreeSet;
use std::sync::Mutex;

use regex::Regex;
use serde_json::{Map, Value};

use crate::{Context, Failure};

const SCHEMA: &str = include_str!("../../init/boot-report.schema.json");
/// Keywords without meaning for validation.
const NOTES: [&str; 4] = ["$schema", "title", "description", "$defs"];

/// The paths of fields that were not null in some boot report of this process.
static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Validates a boot report and collects its fields.
///
/// # Errors
/// The first value that breaks a rule.
pub(crate) fn validate(report: &Value) -> Result<(), Failure> {
    let schema: Value = serde_json::from_str(SCHEMA).context("parsing the schema of the boot report")?;
    let mut fields = BTreeSet::new();
    Rules { whole: &schema }
        .validate(&schema, report, "", &mut fields)
        .map_err(|what| Failure(format!("boot report: {what}")))?;
    if let Ok(mut seen) = SEEN.lock() {
        seen.append(&mut fields);
    }
    Ok(())
}

/// The fields of the schema that no boot report of this process contained.
///
/// # Errors
/// The schema is not JSON.
pub(crate) fn fields_not_seen() -> Result<Vec<String>, Failure> {
    let schema: Value = serde_json::from_str(SCHEMA).context("parsing the schema of the boot report")?;
    let mut named = BTreeSet::new();
    Rules { whole: &schema }.name(&schema, "", &mut named);
    let seen = SEEN.lock().map(|seen| seen.clone()).unwrap_or_default();
    Ok(named.difference(&seen).cloned().collect())
}

struct Rules<'a> {
    whole: &'a Value,
}

impl Rules<'_> {
    fn validate(&self, schema: &Value, value: &Value, path: &str, fields: &mut BTreeSet<String>) -> Result<(), String> {
        let rules = schema.as_object().ok_or("a schema that is no object")?;
        if !value.is_null() && !path.is_empty() {
            fields.insert(form(path));
        }
        for (keyword, rule) in rules.iter().filter(|(keyword, _)| !NOTES.contains(&keyword.as_str())) {
            let wrong = || format!("{path}: {value} breaks {keyword} {rule}");
            let holds = match keyword.as_str() {
                "$ref" => {
                    self.validate(self.definition(rule)?, value, path, fields)?;
                    true
                }
                "anyOf" => {
                    let mut found = BTreeSet::new();
                    let fits = |one: &&Value| {
                        found.clear();
                        self.validate(one, value, path, &mut found).is_ok()
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
                    value.as_array().into_iter().flatten().try_for_each(|item| self.validate(rule, item, path, fields))?;
                    true
                }
                "properties" | "additionalProperties" => {
                    value.as_object().map_or(Ok(()), |object| self.validate_fields(rules, object, path, fields))?;
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

    fn validate_fields(
        &self,
        rules: &Map<String, Value>,
        object: &Map<String, Value>,
        path: &str,
        fields: &mut BTreeSet<String>,
    ) -> Result<(), String> {
        for (name, value) in object {
            let named = rules.get("properties").and_then(|properties| properties.get(name));
            match named.or_else(|| rules.get("additionalProperties").filter(|rule| rule.is_object())) {
                Some(rule) if named.is_some() => self.validate(rule, value, &format!("{path}/{name}"), fields)?,
                Some(rule) => self.validate(rule, value, path, fields)?,
                None => return Err(format!("{path}/{name} is not in the schema")),
            }
        }
        Ok(())
    }

    /// Collects every path that the schema has a field for.
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

/// Both unlocks have the same schema, so their fields count together.
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

    fn report() -> Value {
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
    fn boot_reports_are_checked_against_every_rule() {
        type Change = fn(&mut Value);
        let cases: [(&str, Change, bool); 9] = [
            ("as it is", |_| (), true),
            ("a field too many", |r| r["secret"] = json!(1), false),
            ("a field too few", |r| drop(r.as_object_mut().unwrap().remove("time")), false),
            ("another version", |r| r["schema"] = json!(2), false),
            ("an unknown value", |r| r["measurement"]["command_line"]["measured"] = json!("maybe"), false),
            ("a number as text", |r| r["phases"][0]["milliseconds"] = json!("7"), false),
            ("a hash of other length", |r| r["root_hash"] = json!("cd"), false),
            ("null where something must be", |r| r["time"] = json!(null), false),
            ("deep inside", |r| r["measurement"]["pcr"]["values"]["sha256"] = json!("xyz"), false),
        ];
        for (name, change, holds) in cases {
            let mut changed = report();
            change(&mut changed);
            assert_eq!(validate(&changed).is_ok(), holds, "{name}: {:?}", validate(&changed).err());
        }
    }

    #[test]
    fn fields_that_were_null_do_not_count_as_seen() {
        validate(&report()).unwrap();
        let missing = fields_not_seen().unwrap();
        assert!(missing.contains(&"/unlock/vaults/mrenclave".to_owned()) && missing.contains(&"/link".to_owned()));
        assert!(!missing.contains(&"/measurement/pcr/values".to_owned()) && !missing.contains(&"/phases/name".to_owned()));
    }
}
