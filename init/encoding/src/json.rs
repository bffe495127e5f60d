//! JSON as a text that a digest can cover.

use serde_json::Value;

/// The one text of `value`: keys sorted by bytes, no white space, strings escaped as `serde_json` does.
///
/// It sorts by itself, since the order of `serde_json` depends on a feature that any crate of the build can enable. There is one such
/// function, which writes text rather than a second tree: PID 1 has a limit of size, and a sort of another type adds 4 KB to it.
#[must_use]
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            write_all(entries, ['{', '}'], out, |(key, value), out| {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write(value, out);
            });
        }
        Value::Array(items) => write_all(items, ['[', ']'], out, write),
        plain => out.push_str(&plain.to_string()),
    }
}

fn write_all<T>(items: impl IntoIterator<Item = T>, [open, close]: [char; 2], out: &mut String, each: impl Fn(T, &mut String)) {
    out.push(open);
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        each(item, out);
    }
    out.push(close);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_at_every_depth() {
        let value = serde_json::json!({ "z": { "b": 1, "a": [{ "d": null, "c": "\u{e9}\n" }, {}, []] }, "a\"": true });
        assert_eq!(canonical(&value), "{\"a\\\"\":true,\"z\":{\"a\":[{\"c\":\"\u{e9}\\n\",\"d\":null},{},[]],\"b\":1}}");
    }
}
