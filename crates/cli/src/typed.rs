//! Values of types as JSON and text.

use std::fmt;

use serde::{Serialize, Serializer};
use twinbpf::value::Value;

/// A value, to be printed: its members in the order of their declaration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Typed(pub(crate) Value);

/// The same, lent.
struct Lent<'a>(&'a Value);

impl Serialize for Typed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Lent(&self.0).serialize(serializer)
    }
}

impl Serialize for Lent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Unsigned(value) => serializer.serialize_u64(*value),
            Value::Signed(value) => serializer.serialize_i64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Text(text) => serializer.serialize_str(text),
            Value::List(elements) => serializer.collect_seq(elements.iter().map(Lent)),
            Value::Fields(fields) => {
                serializer.collect_map(fields.iter().map(|(name, value)| (name, Lent(value))))
            }
        }
    }
}

impl fmt::Display for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_in_both_forms() {
        let list = Value::List(vec![Value::Unsigned(1), Value::Bool(true)]);
        let fields = vec![
            ("b".to_owned(), list),
            ("a".to_owned(), Value::Text("x".to_owned())),
        ];
        let value = Typed(Value::Fields(fields));
        assert_eq!(value.to_string(), r#"{b: [1, true], a: "x"}"#);
        let json = serde_json::to_string(&value).unwrap();
        assert_eq!(json, r#"{"b":[1,true],"a":"x"}"#);
    }
}
