//! The body of `/v1/session/create`, as lenient and as strict as Consul reads it (consul-http.md §5).

use std::time::Duration;

use quorate_machine::{Behavior, SessionChecks, SessionId, SessionSpec, Ttl};
use serde_json::Value;

use super::fields::Fields;
use super::params::quoted;
use super::refused::Refused;
use super::session::CHECK;
use crate::serve::duration::parse_duration;
use crate::serve::limits::LOCK_DELAY_DEFAULT;

/// Below this many a lock delay is meant in seconds.
const LOCK_DELAY_SECONDS_BELOW: i64 = 1_000;

/// What is asked for. `resolve` gives the member a session is bound to, if there is one of that name.
pub(super) fn parse(
    body: &[u8],
    id: SessionId,
    resolve: &dyn Fn(Option<String>) -> Option<String>,
) -> Result<SessionSpec, Refused> {
    let fields = Fields::parse("Request decode failed", body)?;
    let name = fields.text("Name")?.unwrap_or_default();
    let node = fields.text("Node")?.filter(|node| !node.is_empty());
    let lock_delay = lock_delay(&fields)?;
    let behavior = fields.text("Behavior")?.unwrap_or_default();
    let ttl = fields.text("TTL")?.unwrap_or_default();
    let (node_checks, checks) = (fields.texts("NodeChecks")?, fields.texts("Checks")?);
    let services = services(&fields)?;
    // Consul decodes all of it before it looks at what it says.
    let behavior = match behavior.as_str() {
        "" | "release" => Behavior::Release,
        "delete" => Behavior::Delete,
        other => return Err(Refused::Failed(format!("Invalid Behavior setting '{}'", quoted(other)))),
    };
    let ttl = read_ttl(ttl)?;
    let node = resolve(node).ok_or_else(|| Refused::Failed("Missing node registration".to_owned()))?;
    let named = [&node_checks, &checks, &services].into_iter().flatten().flatten();
    if let Some(missing) = named.into_iter().find(|check| *check != CHECK) {
        return Err(Refused::Failed(format!("Missing check '{}' registration", quoted(missing))));
    }
    let checks = SessionChecks {
        // `"Checks": []` asks for none at all, any other list adds to the default.
        node: node_checks.as_ref().or(checks.as_ref()).is_none_or(|list| !list.is_empty()),
        service: services.is_some(),
        named: checks.is_some_and(|list| !list.is_empty()),
    };
    Ok(SessionSpec { id, name, node, behavior, ttl, lock_delay, checks })
}

fn read_ttl(text: String) -> Result<Ttl, Refused> {
    if text.is_empty() {
        return Ok(Ttl::default());
    }
    let shown = quoted(&text);
    let nanoseconds = parse_duration(&text).ok_or_else(|| {
        Refused::Failed(format!("Session TTL '{shown}' invalid: time: invalid duration \"{shown}\""))
    })?;
    let duration = u64::try_from(nanoseconds).map(Duration::from_nanos).map_err(|_| {
        Refused::Failed(format!("Invalid Session TTL '{nanoseconds}', must be between [10s=24h0m0s]"))
    })?;
    Ok(Ttl { duration, text })
}

/// The IDs of service checks.
fn services(fields: &Fields) -> Result<Option<Vec<String>>, Refused> {
    let Some(items) = fields.list("ServiceChecks")? else { return Ok(None) };
    let id = |item: &Value| {
        let fields = item.as_object()?;
        let id = fields.iter().find(|(key, _)| key.eq_ignore_ascii_case("ID"))?.1;
        id.as_str().map(str::to_owned)
    };
    let ids: Option<_> = items.iter().map(id).collect();
    ids.map(Some).ok_or_else(|| fields.undecodable("ServiceChecks holds what has no ID"))
}

/// A string, or a number: of seconds if it is small, else of nanoseconds.
fn lock_delay(fields: &Fields) -> Result<Duration, Refused> {
    let Some(nanoseconds) = fields.duration("LockDelay")? else { return Ok(LOCK_DELAY_DEFAULT) };
    if nanoseconds < 0 {
        return Err(fields.undecodable("LockDelay is no duration"));
    }
    let unit = if nanoseconds < LOCK_DELAY_SECONDS_BELOW { 1_000_000_000 } else { 1 };
    Ok(Duration::from_nanos(nanoseconds.unsigned_abs() * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(body: &str) -> Result<SessionSpec, Refused> {
        let resolve = |node: Option<String>| match node.as_deref() {
            None => Some("db-0".to_owned()),
            Some("db-1") => node,
            Some(_) => None,
        };
        parse(body.as_bytes(), SessionId::from_random(1), &resolve)
    }

    /// Vector 43: what a session is when nothing is said.
    #[test]
    fn an_empty_body_means_consul_s_defaults() {
        for body in ["", " \n", "{}", "null", "{\"Foo\":1}", "{\"Name\":null} trailing"] {
            let spec = spec(body).unwrap();
            assert_eq!((spec.name.as_str(), spec.node.as_str()), ("", "db-0"), "{body}");
            assert_eq!((spec.behavior, spec.lock_delay), (Behavior::Release, Duration::from_secs(15)));
            assert_eq!(spec.ttl, Ttl::default());
            assert_eq!(spec.checks, SessionChecks { node: true, service: false, named: false });
        }
    }

    /// Vector 44: as Patroni sends it, names in lower case.
    #[test]
    fn patroni_s_session_is_understood() {
        let spec = spec(
            r#"{"name":"n","checks":[],"lockdelay":"0.001s","behavior":"delete","ttl":"15.0s","node":"db-1"}"#,
        )
        .unwrap();
        assert_eq!((spec.name.as_str(), spec.node.as_str()), ("n", "db-1"));
        assert_eq!((spec.behavior, spec.lock_delay), (Behavior::Delete, Duration::from_millis(1)));
        assert_eq!(spec.ttl, Ttl { duration: Duration::from_secs(15), text: "15.0s".to_owned() });
        assert_eq!(spec.checks, SessionChecks::default());
    }

    /// Vectors 45 and 46.
    #[test]
    fn checks_and_lock_delays_are_read_as_consul_reads_them() {
        let checks = |body: &str| spec(body).unwrap().checks;
        assert!(!checks(r#"{"NodeChecks":[]}"#).node);
        assert_eq!(
            checks(r#"{"Checks":["serfHealth"]}"#),
            SessionChecks { node: true, service: false, named: true }
        );
        assert!(checks(r#"{"ServiceChecks":[]}"#).service);
        for (delay, nanoseconds) in [
            ("15", 15_000_000_000),
            ("\"20s\"", 20_000_000_000),
            ("\"0s\"", 0),
            ("5000000", 5_000_000),
            ("0", 0),
        ] {
            let body = format!("{{\"LockDelay\":{delay}}}");
            assert_eq!(spec(&body).unwrap().lock_delay, Duration::from_nanos(nanoseconds), "{delay}");
        }
    }

    /// Vectors 45 to 48: the statuses and words of each refusal.
    #[test]
    fn what_is_wrong_is_told_in_consul_s_words() {
        for (body, text) in [
            (r#"{"NodeChecks":["dne"]}"#, "Missing check 'dne' registration"),
            (r#"{"ServiceChecks":[{"ID":"web"}]}"#, "Missing check 'web' registration"),
            (r#"{"Node":"zzz"}"#, "Missing node registration"),
            (r#"{"TTL":"x"}"#, "Session TTL 'x' invalid: time: invalid duration \"x\""),
            (r#"{"TTL":"-1s"}"#, "Invalid Session TTL '-1000000000', must be between [10s=24h0m0s]"),
            (r#"{"Behavior":"boo"}"#, "Invalid Behavior setting 'boo'"),
        ] {
            assert_eq!(spec(body), Err(Refused::Failed(text.to_owned())), "{body}");
        }
        for body in [
            "{",
            "[]",
            r#"{"TTL":15}"#,
            r#"{"LockDelay":"5"}"#,
            r#"{"LockDelay":-1}"#,
            r#"{"Checks":"serfHealth"}"#,
            r#"{"Checks":[1]}"#,
            r#"{"ServiceChecks":[1]}"#,
        ] {
            let refused = spec(body).unwrap_err();
            assert!(
                matches!(&refused, Refused::Bad(text) if text.starts_with("Request decode failed: ")),
                "{body}"
            );
        }
    }
}
