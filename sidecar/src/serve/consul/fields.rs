//! A JSON object as Go reads it: names in any case, null as absent, only the first value of the body.

use serde_json::{Map, Value};

use super::refused::Refused;
use crate::serve::duration::parse_duration;

/// The object's fields, found whatever the case of their names.
pub(super) struct Fields {
    /// What a refusal begins with.
    context: &'static str,
    map: Map<String, Value>,
}

impl Fields {
    /// An empty body and null are an empty object. Refusals are 400 and begin with `context`.
    pub(super) fn parse(context: &'static str, body: &[u8]) -> Result<Self, Refused> {
        let of = |map| Self { context, map };
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(of(Map::new()));
        }
        match serde_json::Deserializer::from_slice(body).into_iter::<Value>().next() {
            Some(Ok(Value::Object(map))) => Ok(of(map)),
            None | Some(Ok(Value::Null)) => Ok(of(Map::new())),
            Some(Ok(_)) => Err(of(Map::new()).undecodable("the body is not an object")),
            Some(Err(error)) => Err(of(Map::new()).undecodable(&error.to_string())),
        }
    }

    /// The field, unless it is null.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let found = self.map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?.1;
        Some(found).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Refused> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.undecodable(&format!("{name} is not a string"))),
        }
    }

    pub(super) fn list(&self, name: &str) -> Result<Option<&Vec<Value>>, Refused> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(_) => Err(self.undecodable(&format!("{name} is not a list"))),
        }
    }

    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Refused> {
        let Some(items) = self.list(name)? else { return Ok(None) };
        let text = |item: &Value| item.as_str().map(str::to_owned);
        let texts: Option<_> = items.iter().map(text).collect();
        texts.map(Some).ok_or_else(|| self.undecodable(&format!("{name} holds what is not a string")))
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Refused> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.undecodable(&format!("{name} is neither true nor false"))),
        }
    }

    /// A whole number that is not negative.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Refused> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_u64();
        number.map(Some).ok_or_else(|| self.undecodable(&format!("{name} is no whole number from 0")))
    }

    /// Nanoseconds: a string as Go writes durations, or a number.
    pub(super) fn duration(&self, name: &str) -> Result<Option<i64>, Refused> {
        let nanoseconds = match self.get(name) {
            None => return Ok(None),
            Some(Value::String(text)) => parse_duration(text),
            #[allow(clippy::cast_possible_truncation)] // As Go does it; a cast of ours ends at the bounds.
            Some(Value::Number(number)) => {
                number.as_i64().or_else(|| number.as_f64().map(|number| number as i64))
            }
            Some(_) => None,
        };
        nanoseconds.map(Some).ok_or_else(|| self.undecodable(&format!("{name} is no duration")))
    }

    pub(super) fn undecodable(&self, why: &str) -> Refused {
        Refused::Bad(format!("{}: {why}", self.context))
    }
}
