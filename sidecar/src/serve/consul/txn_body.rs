//! The body of `/v1/txn`: operations, and everything that is wrong with them before they are proposed (consul-http.md §6).
//!
//! Names are found whatever their case, as Go finds them; a name that Consul does not know is refused, as Consul does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use quorate_api::json::TxnError;
use quorate_machine::limits::TXN_OPS_MAX;
use quorate_machine::{ApiIndex, TxnOp};
use serde_json::{Map, Value};

use super::key::check_key;
use super::params::quoted;
use super::refused::Refused;

/// What a body came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Ops(Vec<TxnOp>),
    /// Operations that can't be run, each with the reason: a 409, and nothing is proposed.
    Wrong(Vec<TxnError>),
}

/// The parts of an operation that are known; all but the first are the catalog's.
const PARTS: [&str; 4] = ["KV", "Node", "Service", "Check"];
const FIELDS: [&str; 8] = ["Verb", "Key", "Value", "Flags", "Index", "Session", "Namespace", "Partition"];

pub(super) fn parse(body: &[u8]) -> Result<Parsed, Refused> {
    let first = serde_json::Deserializer::from_slice(body).into_iter::<Value>().next();
    let items = match first {
        None => return Err(unparsable("EOF")),
        Some(Err(error)) => return Err(unparsable(&error.to_string())),
        Some(Ok(Value::Array(items))) => items,
        Some(Ok(_)) => return Err(unparsable("the body is not a list of operations")),
    };
    if items.len() > TXN_OPS_MAX {
        return Err(Refused::TooLarge(format!(
            "Transaction contains too many operations ({} > {TXN_OPS_MAX})",
            items.len()
        )));
    }
    let (mut ops, mut wrong) = (Vec::new(), Vec::new());
    // Operations of which every part is null are skipped, and not counted.
    for (op_index, (part, fields)) in (0..).zip(parts(items)?) {
        let op = match part {
            "KV" => Fields::new(&fields)?.op()?,
            _ => Err("unsupported operation type".to_owned()),
        };
        match op {
            Ok(op) => ops.push(op),
            Err(what) => wrong.push(TxnError { op_index, what }),
        }
    }
    Ok(if wrong.is_empty() { Parsed::Ops(ops) } else { Parsed::Wrong(wrong) })
}

/// The part of an operation that is not null, and its fields.
type Part = (&'static str, Map<String, Value>);

fn parts(items: Vec<Value>) -> Result<Vec<Part>, Refused> {
    let mut found = Vec::with_capacity(items.len());
    for item in items {
        let Value::Object(item) = item else { return Err(unparsable("an operation is not an object")) };
        let mut part = None;
        for (name, value) in item {
            let known = PARTS.iter().find(|known| known.eq_ignore_ascii_case(&name));
            let known = known.ok_or_else(|| unknown_field(&name))?;
            match value {
                Value::Null => {}
                Value::Object(fields) => part = Some((*known, fields)),
                _ => return Err(unparsable(&format!("{known} is not an object"))),
            }
        }
        found.extend(part);
    }
    Ok(found)
}

/// The fields of a KV operation.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn new(fields: &'a Map<String, Value>) -> Result<Self, Refused> {
        let is_known = |name: &&String| FIELDS.iter().any(|known| known.eq_ignore_ascii_case(name));
        match fields.keys().find(|name| !is_known(name)) {
            Some(unknown) => Err(unknown_field(unknown)),
            None => Ok(Self(fields)),
        }
    }

    /// The outer error is the body's, the inner one the operation's.
    fn op(&self) -> Result<Result<TxnOp, String>, Refused> {
        let (verb, text) = (self.text("Verb")?, self.text("Key")?);
        let (value, flags) = (self.value()?, self.number("Flags")?);
        let (expected, session) = (ApiIndex(self.number("Index")?), self.text("Session")?);
        let key = Bytes::copy_from_slice(text.as_bytes());
        let op = match verb.as_str() {
            "set" => TxnOp::Set { key, value, flags },
            "cas" => TxnOp::Cas { key, value, flags, expected },
            "lock" => TxnOp::Lock { key, value, flags, session },
            "unlock" => TxnOp::Unlock { key, value, flags, session },
            "get" => TxnOp::Get { key },
            "get-or-empty" => TxnOp::GetOrEmpty { key },
            "get-tree" => TxnOp::GetTree { prefix: key },
            "delete" => TxnOp::Delete { key },
            "delete-tree" => TxnOp::DeleteTree { prefix: key },
            "delete-cas" => TxnOp::DeleteCas { key, expected },
            "check-index" => TxnOp::CheckIndex { key, expected },
            "check-session" => TxnOp::CheckSession { key, session },
            "check-not-exists" => TxnOp::CheckNotExists { key },
            other => return Ok(Err(format!("unknown KV operation: {}", quoted(other)))),
        };
        if text.is_empty() && !matches!(op, TxnOp::DeleteTree { .. }) {
            return Ok(Err("Must provide key".to_owned()));
        }
        check_key(&text)?;
        Ok(Ok(op))
    }

    fn get(&self, name: &str) -> Option<&Value> {
        let found = self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?.1;
        Some(found).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Result<String, Refused> {
        match self.get(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(unparsable(&format!("{name} is not a string"))),
        }
    }

    fn number(&self, name: &str) -> Result<u64, Refused> {
        match self.get(name) {
            None => Ok(0),
            Some(value) => {
                value.as_u64().ok_or_else(|| unparsable(&format!("{name} is no number of 64 bits")))
            }
        }
    }

    fn value(&self) -> Result<Bytes, Refused> {
        let decoded = STANDARD.decode(self.text("Value")?);
        decoded.map(Bytes::from).map_err(|error| unparsable(&format!("illegal base64 data: {error}")))
    }
}

fn unknown_field(name: &str) -> Refused {
    unparsable(&format!("json: unknown field \"{}\"", quoted(name)))
}

fn unparsable(why: &str) -> Refused {
    Refused::Bad(format!("Failed to parse body: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &str, value: &str) -> TxnOp {
        TxnOp::Set { key: Bytes::copy_from_slice(key.as_bytes()), value: value.to_owned().into(), flags: 0 }
    }

    /// Vector 73: as Go sends it, with every field, and as others do, in lower case.
    #[test]
    fn operations_are_read_whatever_the_case_of_their_names() {
        for body in [
            r#"[{"KV":{"Verb":"set","Key":"a","Value":"MQ==","Flags":0,"Index":0,"Session":"","Namespace":""},"Node":null,"Service":null,"Check":null}]"#,
            r#"[{"kv":{"verb":"set","key":"a","value":"MQ=="}}]"#,
            r#"[{"Node":null}, {"KV":{"Verb":"set","Key":"a","Value":"MQ=="}}] trailing"#,
        ] {
            assert_eq!(parse(body.as_bytes()), Ok(Parsed::Ops(vec![set("a", "1")])), "{body}");
        }
        assert_eq!(parse(b"[]"), Ok(Parsed::Ops(vec![])));
        let body = br#"[{"KV":{"Verb":"set","Key":"a","Value":null,"Flags":18446744073709551615}}]"#;
        let op = TxnOp::Set { key: "a".into(), value: "".into(), flags: u64::MAX };
        assert_eq!(parse(body), Ok(Parsed::Ops(vec![op])));
    }

    /// Vectors 71 and 65: every operation that can't be run is named, and none is proposed.
    #[test]
    fn operations_that_cannot_be_run_are_all_named() {
        let body =
            br#"[{"KV":{"Verb":"boo","Key":"a"}},{"KV":{"Verb":"get","Key":"a"}},{"KV":{"Verb":"set"}},
            {"KV":{"Verb":"get-tree","Key":""}},{"KV":{"Verb":"delete-tree","Key":""}},{"Node":{}}]"#;
        let wrong = [
            (0, "unknown KV operation: boo"),
            (2, "Must provide key"),
            (3, "Must provide key"),
            (5, "unsupported operation type"),
        ];
        let errors = wrong.map(|(op_index, what)| TxnError { op_index, what: what.to_owned() });
        assert_eq!(parse(body), Ok(Parsed::Wrong(errors.to_vec())));
    }

    /// Vectors 66 and 72.
    #[test]
    fn a_body_that_is_no_transaction_is_refused() {
        for body in [
            "",
            "{",
            "{}",
            "[1]",
            r#"[{"KV":1}]"#,
            r#"[{"Zed":null}]"#,
            r#"[{"KV":{"Verb":"get","Key":"a","Zed":1}}]"#,
            r#"[{"KV":{"Verb":"set","Key":"a","Value":"@@"}}]"#,
            r#"[{"KV":{"Verb":"set","Key":"a","Flags":-1}}]"#,
        ] {
            let refused = parse(body.as_bytes()).unwrap_err();
            assert!(
                matches!(&refused, Refused::Bad(text) if text.starts_with("Failed to parse body: ")),
                "{body}"
            );
        }
        let many = format!("[{}]", vec![r#"{"KV":{"Verb":"get","Key":"a"}}"#; 129].join(","));
        let text = "Transaction contains too many operations (129 > 128)".to_owned();
        assert_eq!(parse(many.as_bytes()), Err(Refused::TooLarge(text)));
    }
}
