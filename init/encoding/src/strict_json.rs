//! JSON without ambiguity between readers: no repeated key in an object, no number with a fraction, no NUL in a string.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Error, Map, Value};
use std::fmt;

/// Parses one JSON text, at most 128 levels deep (a limit of `serde_json`). The caller bounds its length.
///
/// # Errors
/// Of [`serde_json::error::Category::Data`] for a text that two readers could read differently, of the other categories for a text
/// that is not JSON. The message contains line and column, and no part of the text.
pub fn parse(text: &str) -> Result<Value, Error> {
    // The visitor accepts every type, so its errors of the category `Data` are those that it raises below.
    serde_json::from_str::<Strict>(text).map(|strict| strict.0)
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("json that is not ambiguous")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        plain(value).map(Into::into)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if object.insert(plain::<A::Error, _>(key)?, value).is_some() {
                return Err(A::Error::custom("repeated key"));
            }
        }
        Ok(Value::Object(object))
    }
}

/// Refuses an escaped NUL: for a reader in C, it ends the text, which could then equal another key or value.
fn plain<E: serde::de::Error, T: AsRef<str>>(text: T) -> Result<T, E> {
    if text.as_ref().contains('\0') { Err(E::custom("nul in a string")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use proptest::prelude::*;
    use serde_json::error::Category::{Data, Eof, Syntax};
    use serde_json::json;

    #[test]
    fn ambiguous_and_malformed_text_is_refused() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let cases = [
            (r#"{"a":[1,"b",true,null,-1]}"#, Ok(json!({"a": [1, "b", true, null, -1]}))),
            (r#"{"a":1,"b":{"a":1}}"#, Ok(json!({"a": 1, "b": {"a": 1}}))),
            (r#"{"a":1,"a":1}"#, Err(Data)),
            (r#"{"a":1,"\u0061":2}"#, Err(Data)),
            (r#"{"x":[{"a":1,"b":2,"a":3}]}"#, Err(Data)),
            (r#"{"a":1,"a\u0000b":2}"#, Err(Data)),
            (r#"{"a":"aes-xts-plain64\u0000"}"#, Err(Data)),
            (r#"["\u0000"]"#, Err(Data)),
            (r#"{"a":1.0}"#, Err(Data)),
            (r#"{"a":1e3}"#, Err(Data)),
            (r#"{"a":18446744073709551616}"#, Err(Data)),
            (r#"{"a":1}{"#, Err(Syntax)),
            (r#"{"a":1,}"#, Err(Syntax)),
            (r"{'a':1}", Err(Syntax)),
            (r#"{"a":01}"#, Err(Syntax)),
            (r#"{"a":/**/1}"#, Err(Syntax)),
            ("", Err(Eof)),
            (&deep, Err(Syntax)),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text).map_err(|error| error.classify()), want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parse_never_panics(text in ".*", near in "[]{}\\[\":,0-9a\\\\u.-]{0,40}") {
            let _read = (parse(&text), parse(&near));
        }
    }
}
