//! `/v1/sys/storage/raft/autopilot/{configuration,state}`, as Vault's clients decode them (autopilot.md §3).
//!
//! The same state and settings as Consul's view, in snake case inside Vault's envelope. A write names what it changes; zero
//! is what Vault's clients send for what they do not, and changes nothing, in Vault as here. The dead threshold has no other
//! place over HTTP.

use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use quorate_api::autopilot::{
    VaultAnswer, VaultConfiguration, VaultErrors, VaultServer, VaultState, VaultUpgrade, VaultZone,
    VaultZoneVersions,
};
use quorate_api::v1;
use quorate_autopilot::{Settings, SettingsChange};
use serde::Serialize;
use serde_json::{Map, Value};

use super::Api;
use super::answer;
use super::autopilot::{
    has_vote, id_and_address, is_read_replica, last_contact, of_servers, stable_since, status,
};
use super::kv::{body, hold};
use super::params::Params;
use super::refused::Refused;
use super::token::{check_settings, token};
use crate::autopilot::{SetError, blamed_field, differing};
use crate::driver::{Consistency, ErrorKind};
use crate::serve::duration::{format_duration, parse_duration};

pub(super) async fn state(api: &Api, params: &Params) -> Result<Response, Refused> {
    let state = api.shared.context.autopilot.picture(hold()).await?;
    Ok(wrapped(vault_state(&state), params))
}

pub(super) async fn configuration(api: &Api, params: &Params) -> Result<Response, Refused> {
    let found = api.shared.context.autopilot.configuration(Consistency::Linearizable, hold()).await?;
    Ok(wrapped(vault_configuration(&found.settings), params))
}

/// 204 if the settings are now as asked.
pub(super) async fn set_configuration(
    api: &Api,
    params: &Params,
    request: Request,
) -> Result<Response, Refused> {
    check_settings(&api.shared, token(params, request.headers()).as_deref()).map_err(denied)?;
    let wanted = parse(&body(request).await?)?;
    let autopilot = &api.shared.context.autopilot;
    match autopilot.set_configuration(|present| differing(&wanted, present), None, hold()).await {
        Ok(_) => Ok(answer::respond(204, axum::body::Body::empty())),
        Err(SetError::Invalid(invalid)) => {
            let field = blamed_field(&invalid);
            Err(Refused::Bad(format!("invalid {field}: {invalid}; nothing was changed")))
        }
        Err(SetError::Call(error)) if error.kind == ErrorKind::Invalid => Err(Refused::Bad(error.message)),
        Err(SetError::Call(error)) => Err(error.into()),
    }
}

/// A refusal as Vault's clients read it.
pub(super) fn errors(status: u16, message: String) -> Response {
    answer::json(status, &VaultErrors { errors: vec![message] }, &Params::default())
}

/// The caller may not do this, in Vault's words.
pub(super) fn denied(reason: &str) -> Refused {
    Refused::Denied(format!("permission denied: {reason}; nothing was changed"))
}

/// An answer in Vault's envelope.
pub(super) fn wrapped(data: impl Serialize, params: &Params) -> Response {
    answer::json(200, &VaultAnswer::new(uuid::Uuid::new_v4().to_string(), data), params)
}

/// The fields a body names. Numbers and flags may be written as strings, as Vault's own framework allows.
pub(super) fn parse(body: &[u8]) -> Result<SettingsChange, Refused> {
    let fields = match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => return Err(Refused::Bad("error parsing JSON: the body is not an object".to_owned())),
        Err(error) => return Err(Refused::Bad(format!("error parsing JSON: {error}"))),
    };
    let min_quorum = number(&fields, "min_quorum")?.map(u32::try_from).transpose();
    Ok(SettingsChange {
        cleanup_dead_servers: flag(&fields, "cleanup_dead_servers")?,
        last_contact_threshold: duration(&fields, "last_contact_threshold")?,
        dead_server_last_contact_threshold: duration(&fields, "dead_server_last_contact_threshold")?,
        max_trailing_logs: number(&fields, "max_trailing_logs")?,
        min_quorum: min_quorum.map_err(|_| invalid("min_quorum", "it is no number of voters"))?,
        server_stabilization_time: duration(&fields, "server_stabilization_time")?,
        redundancy_zone_tag: text(&fields, "redundancy_zone_tag")?,
        upgrade_version_tag: text(&fields, "upgrade_version_tag")?,
        disable_upgrade_migration: flag(&fields, "disable_upgrade_migration")?,
    })
}

fn invalid(name: &str, why: &str) -> Refused {
    Refused::Bad(format!("error converting input for field {name:?}: {why}; nothing was changed"))
}

fn given<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

fn text(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, Refused> {
    match given(fields, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(invalid(name, "it is not a string")),
    }
}

fn flag(fields: &Map<String, Value>, name: &str) -> Result<Option<bool>, Refused> {
    match given(fields, name) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(Value::String(text)) if text == "true" => Ok(Some(true)),
        Some(Value::String(text)) if text == "false" => Ok(Some(false)),
        Some(_) => Err(invalid(name, "it is neither true nor false")),
    }
}

/// Zero is no number here: it stands for what was not set.
fn number(fields: &Map<String, Value>, name: &str) -> Result<Option<u64>, Refused> {
    let number = match given(fields, name) {
        None => return Ok(None),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
    };
    let number = number.ok_or_else(|| invalid(name, "it is no whole number from 0"))?;
    Ok(Some(number).filter(|number| *number > 0))
}

/// A number is of seconds, also in a string; other strings are Go's durations. Zero stands for what was not set.
fn duration(fields: &Map<String, Value>, name: &str) -> Result<Option<Duration>, Refused> {
    let duration = match given(fields, name) {
        None => return Ok(None),
        Some(Value::Number(number)) => number.as_u64().map(Duration::from_secs),
        Some(Value::String(text)) => match text.parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => parse_duration(text)
                .and_then(|nanoseconds| u64::try_from(nanoseconds).ok())
                .map(Duration::from_nanos),
        },
        Some(_) => None,
    };
    let duration =
        duration.ok_or_else(|| invalid(name, "it is no duration: write seconds, or such as \"10s\""))?;
    Ok(Some(duration).filter(|duration| !duration.is_zero()))
}

fn vault_configuration(settings: &Settings) -> VaultConfiguration {
    VaultConfiguration {
        cleanup_dead_servers: settings.cleanup_dead_servers,
        dead_server_last_contact_threshold: format_duration(settings.dead_server_last_contact_threshold),
        disable_upgrade_migration: settings.disable_upgrade_migration,
        last_contact_threshold: format_duration(settings.last_contact_threshold),
        max_trailing_logs: settings.max_trailing_logs,
        min_quorum: settings.min_quorum,
        server_stabilization_time: format_duration(settings.server_stabilization_time),
    }
}

fn vault_state(state: &v1::AutopilotState) -> VaultState {
    let servers = state.servers.iter().map(|server| (id_and_address(server).0, vault_server(server)));
    let zone = |zone: &v1::RedundancyZone| VaultZone {
        servers: zone.servers.clone(),
        voters: zone.voters.clone(),
        failure_tolerance: zone.failure_tolerance,
    };
    let zones = state.redundancy_zones.iter().map(|(name, found)| (name.clone(), zone(found)));
    VaultState {
        healthy: state.is_healthy,
        failure_tolerance: state.failure_tolerance,
        optimistic_failure_tolerance: state.optimistic_failure_tolerance,
        servers: servers.collect(),
        leader: state.leader_raft_id.clone(),
        voters: state.voter_raft_ids.clone(),
        non_voters: of_servers(state, |server| !has_vote(server)),
        redundancy_zones: zones.collect(),
        upgrade_info: state.upgrade.as_ref().map(vault_upgrade),
    }
}

fn vault_server(server: &v1::ServerState) -> VaultServer {
    let (id, address) = id_and_address(server);
    VaultServer {
        id,
        name: server.name.clone(),
        address,
        node_status: server.node_status.clone(),
        last_contact: last_contact(server),
        last_term: server.last_term,
        last_index: server.last_index,
        healthy: server.is_healthy,
        stable_since: stable_since(server),
        status: status(server),
        version: server.version.clone(),
        node_type: server.node_type.clone(),
        redundancy_zone: server.zone.clone(),
        upgrade_version: server.upgrade_version.clone(),
        read_replica: is_read_replica(server),
    }
}

fn vault_upgrade(upgrade: &v1::UpgradeState) -> VaultUpgrade {
    let zone = |zone: &v1::ZoneVersions| VaultZoneVersions {
        target_version_voters: zone.target_version_voters.clone(),
        target_version_non_voters: zone.target_version_non_voters.clone(),
        other_version_voters: zone.other_version_voters.clone(),
        other_version_non_voters: zone.other_version_non_voters.clone(),
    };
    let zones = upgrade.redundancy_zones.iter().map(|(name, found)| (name.clone(), zone(found)));
    VaultUpgrade {
        status: upgrade.status.clone(),
        target_version: upgrade.target_version.clone(),
        target_version_voters: upgrade.target_version_voters.clone(),
        target_version_non_voters: upgrade.target_version_non_voters.clone(),
        target_version_read_replicas: upgrade.target_version_read_replicas.clone(),
        other_version_voters: upgrade.other_version_voters.clone(),
        other_version_non_voters: upgrade.other_version_non_voters.clone(),
        other_version_read_replicas: upgrade.other_version_read_replicas.clone(),
        redundancy_zones: zones.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::consul::golden;

    fn text(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    /// A21: the fields Vault's client decodes, inside the envelope it looks into; a tolerance of zero is printed.
    #[test]
    fn a_state_is_spelled_as_vault_spells_it() {
        let state = vault_state(&golden::two_voters());
        assert_eq!(
            text(&VaultAnswer::new("an-id".to_owned(), state)),
            concat!(
                r#"{"request_id":"an-id","lease_id":"","renewable":false,"lease_duration":0,"data":{"#,
                r#""healthy":false,"failure_tolerance":0,"optimistic_failure_tolerance":0,"servers":{"#,
                r#""db-0-a":{"id":"db-0-a","name":"db-0","address":"db-0:7400","node_status":"alive","last_contact":"0s","#,
                r#""last_term":3,"last_index":1024,"healthy":true,"stable_since":"2020-11-19T12:00:00Z","status":"leader","#,
                r#""version":"0.1.0","node_type":"voter"},"#,
                r#""db-1-b":{"id":"db-1-b","name":"db-1","address":"db-1:7400","node_status":"unknown","last_contact":"-1ns","#,
                r#""last_term":0,"last_index":0,"healthy":false,"stable_since":"2020-11-19T12:00:09Z","status":"voter","#,
                r#""version":"","node_type":"voter"}},"leader":"db-0-a","voters":["db-0-a","db-1-b"]},"#,
                r#""wrap_info":null,"warnings":null,"auth":null}"#,
            )
        );
        let mut zones = golden::upgrade_that_waits();
        for zone in zones.redundancy_zones.values_mut() {
            zone.failure_tolerance = 0;
        }
        assert!(text(&vault_state(&zones)).contains(r#""voters":["old-v-b"],"failure_tolerance":0}"#));
    }

    /// Golden B of autopilot.md §4.
    #[test]
    fn zones_and_an_upgrade_are_spelled_as_vault_spells_them() {
        let json: Value = serde_json::from_str(&text(&vault_state(&golden::upgrade_that_waits()))).unwrap();
        assert_eq!(json["non_voters"], serde_json::json!(["old-n-a", "new-n-a", "old-n-b"]));
        assert_eq!(
            (&json["failure_tolerance"], &json["optimistic_failure_tolerance"]),
            (&0.into(), &3.into())
        );
        assert_eq!(
            json["redundancy_zones"],
            serde_json::json!({
                "a": {"servers": ["old-v-a", "old-n-a", "new-n-a"], "voters": ["old-v-a"], "failure_tolerance": 2},
                "b": {"servers": ["old-v-b", "old-n-b"], "voters": ["old-v-b"], "failure_tolerance": 1},
            })
        );
        assert_eq!(
            json["upgrade_info"],
            serde_json::json!({
                "status": "await-new-voters",
                "target_version": "1.17.5",
                "target_version_non_voters": ["new-n-a"],
                "other_version_voters": ["old-v-a", "old-v-b"],
                "other_version_non_voters": ["old-n-a", "old-n-b"],
            })
        );
        assert_eq!(json["servers"]["new-n-a"]["redundancy_zone"], "a");
    }

    /// autopilot.md §3: durations read back as Go writes them.
    #[test]
    fn settings_are_spelled_as_vault_spells_them() {
        let settings = Settings::new(&SettingsChange::default(), &quorate_autopilot::Defaults::hashicorp(3));
        assert_eq!(
            text(&vault_configuration(&settings)),
            concat!(
                r#"{"cleanup_dead_servers":true,"dead_server_last_contact_threshold":"24h0m0s","#,
                r#""disable_upgrade_migration":false,"last_contact_threshold":"200ms","max_trailing_logs":250,"#,
                r#""min_quorum":3,"server_stabilization_time":"10s"}"#
            )
        );
    }

    /// autopilot.md §3: what Vault's command line and its Go client send; their zeros set nothing.
    #[test]
    fn a_body_is_read_as_vault_reads_it() {
        let partial = parse(
            br#"{"dead_server_last_contact_threshold":"50h","min_quorum":50,"server_stabilization_time":"50s"}"#,
        );
        let expected = SettingsChange {
            dead_server_last_contact_threshold: Some(Duration::from_hours(50)),
            min_quorum: Some(50),
            server_stabilization_time: Some(Duration::from_secs(50)),
            ..SettingsChange::default()
        };
        assert_eq!(partial, Ok(expected));
        let of_go = parse(
            br#"{"cleanup_dead_servers":false,"dead_server_last_contact_threshold":"0s","disable_upgrade_migration":false,
            "last_contact_threshold":"0s","max_trailing_logs":0,"min_quorum":0,"server_stabilization_time":"0s"}"#,
        );
        let expected = SettingsChange {
            cleanup_dead_servers: Some(false),
            disable_upgrade_migration: Some(false),
            ..SettingsChange::default()
        };
        assert_eq!(of_go, Ok(expected));
        let seconds =
            parse(br#"{"last_contact_threshold":5,"server_stabilization_time":"7","max_trailing_logs":"9"}"#);
        let expected = SettingsChange {
            last_contact_threshold: Some(Duration::from_secs(5)),
            server_stabilization_time: Some(Duration::from_secs(7)),
            max_trailing_logs: Some(9),
            ..SettingsChange::default()
        };
        assert_eq!(seconds, Ok(expected));
        for (body, field) in [
            ("", "JSON"),
            ("[]", "JSON"),
            (r#"{"min_quorum":-1}"#, "min_quorum"),
            (r#"{"min_quorum":4294967296}"#, "min_quorum"),
            (r#"{"last_contact_threshold":"soon"}"#, "last_contact_threshold"),
            (r#"{"last_contact_threshold":"-1s"}"#, "last_contact_threshold"),
            (r#"{"cleanup_dead_servers":1}"#, "cleanup_dead_servers"),
        ] {
            let refused = parse(body.as_bytes()).unwrap_err();
            assert!(matches!(&refused, Refused::Bad(text) if text.contains(field)), "{body}: {refused:?}");
        }
    }
}
