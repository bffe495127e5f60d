//! Compares two JSON values field by field, so that no field of a bundle is left out by mistake.

use std::collections::BTreeSet;

use serde_json::Value;

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Keys and indices from the top to the field.
    pub(crate) path: Vec<String>,
    /// The value in the bundle; `None`: the bundle does not have the field.
    pub(crate) expected: Option<Value>,
    /// The value that was computed; `None`: this program does not know the field.
    pub(crate) found: Option<Value>,
}

/// Returns the fields that differ, in the order of the paths. A field that one side lacks is one difference, whatever it contains.
pub(crate) fn differences(expected: &Value, found: &Value) -> Vec<Difference> {
    let mut all = Vec::new();
    walk(&mut Vec::new(), Some(expected), Some(found), &mut all);
    all
}

fn walk(path: &mut Vec<String>, expected: Option<&Value>, found: Option<&Value>, all: &mut Vec<Difference>) {
    let mut inner = |key: String, expected: Option<&Value>, found: Option<&Value>| {
        path.push(key);
        walk(path, expected, found, all);
        path.pop();
    };
    match (expected, found) {
        (Some(Value::Object(expected)), Some(Value::Object(found))) => {
            let keys: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
            for key in keys {
                inner(key.clone(), expected.get(key), found.get(key));
            }
        }
        (Some(Value::Array(expected)), Some(Value::Array(found))) => {
            // An item that was added or removed does not move those behind it.
            let equal = |(left, right): &(&Value, &Value)| left == right;
            let before = expected.iter().zip(found).take_while(equal).count();
            let most = expected.len().min(found.len()) - before;
            let after = expected.iter().rev().zip(found.iter().rev()).take(most).take_while(equal).count();
            let middle = |items: &Vec<Value>| items.get(before..items.len() - after).unwrap_or_default().to_vec();
            let (expected, found) = (middle(expected), middle(found));
            for at in 0..expected.len().max(found.len()) {
                inner((before + at).to_string(), expected.get(at), found.get(at));
            }
        }
        (expected, found) if expected == found => {}
        (expected, found) => all.push(Difference { path: path.clone(), expected: expected.cloned(), found: found.cloned() }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_item_more_or_less_is_one_difference() {
        let paths = |expected: Value, found: Value| -> Vec<String> {
            differences(&expected, &found).into_iter().map(|one| one.path.join(".")).collect()
        };
        assert_eq!(paths(json!([1, 2, 3, 4]), json!([1, 3, 4])), ["1"]);
        assert_eq!(paths(json!([1, 2]), json!([1, 2, 2])), ["2"]);
        assert_eq!(paths(json!([]), json!([1])), ["0"]);
        assert_eq!(paths(json!([1, 2, 3]), json!([9, 2, 8])), ["0", "2"]);
    }

    #[test]
    fn each_field_that_differs_is_named_once() {
        let bundle = json!({ "a": { "b": [1, 2, 3], "c": "x" }, "d": null, "unknown": { "deep": [1] } });
        let image = json!({ "a": { "b": [1, 4], "c": "x" }, "d": false });
        let named: Vec<_> =
            differences(&bundle, &image).into_iter().map(|one| (one.path.join("."), one.expected, one.found)).collect();
        assert_eq!(
            named,
            [
                ("a.b.1".to_owned(), Some(json!(2)), Some(json!(4))),
                ("a.b.2".to_owned(), Some(json!(3)), None),
                ("d".to_owned(), Some(Value::Null), Some(json!(false))),
                ("unknown".to_owned(), Some(json!({ "deep": [1] })), None),
            ]
        );
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), "[a-c]{0,2}".prop_map(Value::from)];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-c]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn only_equal_values_have_no_difference(left in value(), right in value()) {
            prop_assert_eq!(differences(&left, &right).is_empty(), left == right);
            prop_assert!(differences(&left, &left).is_empty());
        }
    }
}
