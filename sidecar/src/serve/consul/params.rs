//! The query string, decoded once. Flags count by presence: `recurse=false` recurses, as Consul does it.

use std::time::Duration;

use axum::http::HeaderMap;

use super::key::decode_percent;
use super::refused::Refused;
use crate::driver::Consistency;
use crate::serve::duration::parse_duration;
use crate::serve::limits::{WAIT_DEFAULT, WAIT_MAX};

/// The one datacenter there is.
const DATACENTER: &str = "dc1";

/// Decoded names and values, in order. Unknown ones are ignored.
#[derive(Clone, Debug, Default)]
pub(super) struct Params {
    pairs: Vec<(String, String)>,
}

/// How a read is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadParams {
    pub(super) consistency: Consistency,
    /// Wait until the index exceeds this; 0: don't.
    pub(super) index: u64,
    /// For at most this long.
    pub(super) wait: Duration,
}

impl Params {
    pub(super) fn parse(query: &str) -> Result<Self, Refused> {
        let decode = |text: &str| {
            let bytes = decode_percent(&text.replace('+', " ")).ok_or(Refused::UndecodableQuery)?;
            String::from_utf8(bytes).map_err(|_| Refused::UndecodableQuery)
        };
        let mut pairs = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self { pairs })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The value if it is there and not empty.
    fn given(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// What holds for every endpoint.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Refused> {
        for (name, header, feature) in
            [("ns", "x-consul-namespace", "Namespaces"), ("partition", "x-consul-partition", "Partitions")]
        {
            let in_header = headers.get(header).is_some_and(|value| !value.is_empty());
            if self.given(name).is_some() || in_header {
                return Err(Refused::Bad(format!(
                    "Invalid query parameter: \"{name}\" - {feature} are a Consul Enterprise feature"
                )));
            }
        }
        match self.given("datacenter").or_else(|| self.given("dc")) {
            Some(name) if name != DATACENTER => Err(Refused::Failed("No path to datacenter".to_owned())),
            _ => Ok(()),
        }
    }

    /// Consistency and blocking; checked on every method, as Consul does.
    pub(super) fn read(&self) -> Result<ReadParams, Refused> {
        let conflict = |flag: &str| {
            Refused::Bad(format!("Cannot specify ?{flag} with ?consistent, conflicting semantics."))
        };
        let duration = |name: &str| self.given(name).map(|text| parse_duration(text).ok_or(text)).transpose();
        let max_stale = duration("max_stale")
            .map_err(|text| Refused::Bad(format!("Invalid max_stale value \"{}\"", quoted(text))))?;
        let is_stale = self.has("stale") || max_stale.is_some_and(|age| age > 0);
        if self.has("consistent") && is_stale {
            return Err(conflict("stale"));
        }
        if self.has("consistent") && self.has("cached") {
            return Err(conflict("cached"));
        }
        let index = self.given("index").map_or(Ok(0), str::parse);
        let index = index.map_err(|_| Refused::Bad("Invalid index".to_owned()))?;
        let wait = duration("wait").map_err(|_| Refused::Bad("Invalid wait time".to_owned()))?;
        let wait = match wait.and_then(|wait| u64::try_from(wait).ok()) {
            Some(nanoseconds) if nanoseconds > 0 => Duration::from_nanos(nanoseconds).min(WAIT_MAX),
            _ => WAIT_DEFAULT,
        };
        let consistency = if is_stale { Consistency::Stale } else { Consistency::Linearizable };
        Ok(ReadParams { consistency, index, wait })
    }

    /// A number as Go reads it, with Go's words for what is none (500 in Consul).
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Refused> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_digits).map(Some).ok_or_else(|| {
            let why = if is_digits { "value out of range" } else { "invalid syntax" };
            Refused::Failed(format!("strconv.ParseUint: parsing \"{}\": {why}", quoted(text)))
        })
    }

    /// Refuses two of these at once.
    pub(super) fn at_most_one_of(&self, names: &[&str]) -> Result<(), Refused> {
        if names.iter().filter(|name| self.has(name)).count() < 2 {
            return Ok(());
        }
        let mut present: Vec<String> =
            self.pairs.iter().map(|(name, value)| format!("{}={}", quoted(name), quoted(value))).collect();
        present.sort();
        Err(Refused::Bad(format!("Conflicting flags: {}", present.join("&"))))
    }
}

/// What an error quotes of a caller's text.
pub(super) fn quoted(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        Params::parse(query).unwrap()
    }

    /// Vectors 24 and 25.
    #[test]
    fn conflicting_and_malformed_read_parameters_are_refused_in_consuls_words() {
        for (query, text) in [
            ("stale&consistent", "Cannot specify ?stale with ?consistent, conflicting semantics."),
            ("cached&consistent", "Cannot specify ?cached with ?consistent, conflicting semantics."),
            ("index=abc", "Invalid index"),
            ("index=-1", "Invalid index"),
            ("wait=10", "Invalid wait time"),
            ("max_stale=x", "Invalid max_stale value \"x\""),
        ] {
            assert_eq!(params(query).read(), Err(Refused::Bad(text.to_owned())), "{query}");
        }
        assert_eq!(params("max_stale=10s").read().unwrap().consistency, Consistency::Stale);
    }

    /// Vector 40: at most ten minutes, five if it does not say.
    #[test]
    fn waits_have_a_default_and_a_limit() {
        let wait = |query: &str| params(query).read().unwrap().wait;
        for query in ["", "wait=0s", "wait=-1s"] {
            assert_eq!(wait(query), WAIT_DEFAULT, "{query}");
        }
        assert_eq!(wait("wait=20m"), WAIT_MAX);
        assert_eq!(wait("wait=9.98765s"), Duration::from_micros(9_987_650));
    }

    /// Vectors 8 and 9.
    #[test]
    fn numbers_are_read_as_go_reads_them() {
        assert_eq!(params("flags=18446744073709551615").number("flags"), Ok(Some(u64::MAX)));
        assert_eq!(params("").number("flags"), Ok(None));
        for (query, text) in [
            ("n=abc", "parsing \"abc\": invalid syntax"),
            ("n=-1", "parsing \"-1\": invalid syntax"),
            ("n=%2B1", "parsing \"+1\": invalid syntax"),
            ("n=", "parsing \"\": invalid syntax"),
            ("n=18446744073709551616", "parsing \"18446744073709551616\": value out of range"),
        ] {
            let expected = Err(Refused::Failed(format!("strconv.ParseUint: {text}")));
            assert_eq!(params(query).number("n"), expected, "{query}");
        }
    }

    /// Vectors 12, 26 and 27.
    #[test]
    fn conflicts_foreign_datacenters_and_namespaces_are_refused() {
        let conflict = params("cas=0&acquire=xxx").at_most_one_of(&["cas", "acquire", "release"]);
        assert_eq!(conflict, Err(Refused::Bad("Conflicting flags: acquire=xxx&cas=0".to_owned())));
        let headers = HeaderMap::new();
        assert!(params("dc=dc1").check(&headers).is_ok());
        assert!(matches!(params("dc=nope").check(&headers), Err(Refused::Failed(_))));
        assert!(matches!(params("ns=foo").check(&headers), Err(Refused::Bad(_))));
        assert!(matches!(Params::parse("a=%zz"), Err(Refused::UndecodableQuery)));
        assert!(params("recurse=false").has("recurse"));
    }
}
