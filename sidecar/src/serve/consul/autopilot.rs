//! `/v1/operator/autopilot/{configuration,health,state}`, as Consul's clients decode them (autopilot.md §3).
//!
//! Any member answers: the state comes from the leader, in one hop if need be. Unlike Consul's, a write keeps what it does
//! not name: absent, null, and a count of 0, which is what Go's client sends for a field that nobody set.

use std::time::Duration;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use quorate_api::autopilot::{
    ConsulConfiguration, ConsulHealth, ConsulServer, ConsulServerHealth, ConsulState, ConsulUpgrade,
    ConsulZone, ConsulZoneVersions,
};
use quorate_api::v1;
use quorate_autopilot::SettingsChange;
use quorate_machine::ApiIndex;

use super::Api;
use super::answer;
use super::fields::Fields;
use super::kv::{body, hold};
use super::params::Params;
use super::refused::Refused;
use super::token::{check_settings, token};
use crate::autopilot::{Configuration, SetError, SetOutcome, blamed_field, differing};
use crate::driver::ErrorKind;
use crate::serve::duration::format_duration;
use crate::serve::moment::rfc3339;

/// What a refusal of a body begins with.
const CONTEXT: &str = "Error parsing autopilot config";

pub(super) async fn health(api: &Api, params: &Params) -> Result<Response, Refused> {
    let state = api.shared.context.autopilot.picture(hold()).await?;
    let status = if state.is_healthy { 200 } else { 429 };
    Ok(answer::json(status, &consul_health(&state), params))
}

pub(super) async fn state(api: &Api, params: &Params) -> Result<Response, Refused> {
    let state = api.shared.context.autopilot.picture(hold()).await?;
    Ok(answer::json(200, &consul_state(&state), params))
}

pub(super) async fn configuration(api: &Api, params: &Params) -> Result<Response, Refused> {
    let consistency = params.read()?.consistency;
    let found = api.shared.context.autopilot.configuration(consistency, hold()).await?;
    Ok(answer::json(200, &consul_configuration(&found), params))
}

/// `true` if the settings are now as asked, `false` if they are not at the index of `?cas`.
pub(super) async fn set_configuration(
    api: &Api,
    params: &Params,
    request: Request,
) -> Result<Response, Refused> {
    let expected = expected(params)?;
    check_rights(api, params, request.headers())?;
    let wanted = parse(&body(request).await?)?;
    let autopilot = &api.shared.context.autopilot;
    let set = autopilot.set_configuration(|present| differing(&wanted, present), expected, hold()).await;
    match set {
        Ok(outcome) => Ok(answer::json(200, &matches!(outcome, SetOutcome::Set(_)), params)),
        Err(SetError::Invalid(invalid)) => {
            let field = consul_field(blamed_field(&invalid));
            Err(Refused::Bad(format!("Invalid {field}: {invalid}; nothing was changed")))
        }
        Err(SetError::Call(error)) if error.kind == ErrorKind::Invalid => Err(Refused::Bad(error.message)),
        Err(SetError::Call(error)) => Err(error.into()),
    }
}

fn check_rights(api: &Api, params: &Params, headers: &HeaderMap) -> Result<(), Refused> {
    check_settings(&api.shared, token(params, headers).as_deref())
        .map_err(|reason| Refused::Denied(format!("Permission denied: {reason}; nothing was changed")))
}

fn expected(params: &Params) -> Result<Option<ApiIndex>, Refused> {
    let parsed = params.number("cas").map_err(|refused| match refused {
        Refused::Failed(why) => Refused::Bad(format!("Error parsing cas value: {why}")),
        other => other,
    })?;
    Ok(parsed.map(ApiIndex))
}

/// The fields a body names.
pub(super) fn parse(body: &[u8]) -> Result<SettingsChange, Refused> {
    let fields = Fields::parse(CONTEXT, body)?;
    let duration = |name: &str| match fields.duration(name)? {
        None => Ok(None),
        Some(nanoseconds) => u64::try_from(nanoseconds)
            .map(|nanoseconds| Some(Duration::from_nanos(nanoseconds)))
            .map_err(|_| fields.undecodable(&format!("{name} is negative"))),
    };
    let min_quorum = fields.number("MinQuorum")?.filter(|voters| *voters > 0).map(u32::try_from).transpose();
    Ok(SettingsChange {
        cleanup_dead_servers: fields.flag("CleanupDeadServers")?,
        last_contact_threshold: duration("LastContactThreshold")?,
        dead_server_last_contact_threshold: None,
        max_trailing_logs: fields.number("MaxTrailingLogs")?.filter(|entries| *entries > 0),
        min_quorum: min_quorum.map_err(|_| fields.undecodable("MinQuorum is no number of voters"))?,
        server_stabilization_time: duration("ServerStabilizationTime")?,
        redundancy_zone_tag: fields.text("RedundancyZoneTag")?,
        upgrade_version_tag: fields.text("UpgradeVersionTag")?,
        disable_upgrade_migration: fields.flag("DisableUpgradeMigration")?,
    })
}

/// Vault's spelling of a field in Consul's. The dead threshold is no setting of Consul's: there the other one is to blame.
fn consul_field(field: &str) -> &str {
    match field {
        "cleanup_dead_servers" => "CleanupDeadServers",
        "last_contact_threshold" | "dead_server_last_contact_threshold" => "LastContactThreshold",
        "max_trailing_logs" => "MaxTrailingLogs",
        "min_quorum" => "MinQuorum",
        "server_stabilization_time" => "ServerStabilizationTime",
        "redundancy_zone_tag" => "RedundancyZoneTag",
        "upgrade_version_tag" => "UpgradeVersionTag",
        _ => "autopilot config",
    }
}

fn consul_configuration(found: &Configuration) -> ConsulConfiguration {
    let settings = &found.settings;
    ConsulConfiguration {
        cleanup_dead_servers: settings.cleanup_dead_servers,
        last_contact_threshold: format_duration(settings.last_contact_threshold),
        max_trailing_logs: settings.max_trailing_logs,
        min_quorum: settings.min_quorum,
        server_stabilization_time: format_duration(settings.server_stabilization_time),
        redundancy_zone_tag: settings.redundancy_zone_tag.clone(),
        disable_upgrade_migration: settings.disable_upgrade_migration,
        upgrade_version_tag: settings.upgrade_version_tag.clone(),
        create_index: found.create_index.0,
        modify_index: found.modify_index.0,
    }
}

fn consul_health(state: &v1::AutopilotState) -> ConsulHealth {
    ConsulHealth {
        healthy: state.is_healthy,
        failure_tolerance: state.failure_tolerance,
        servers: state.servers.iter().map(server_health).collect(),
    }
}

fn server_health(server: &v1::ServerState) -> ConsulServerHealth {
    let (id, address) = id_and_address(server);
    ConsulServerHealth {
        id,
        name: server.name.clone(),
        address,
        serf_status: server.node_status.clone(),
        version: server.version.clone(),
        leader: server.is_leader,
        last_contact: last_contact(server),
        last_term: server.last_term,
        last_index: server.last_index,
        healthy: server.is_healthy,
        voter: has_vote(server),
        stable_since: stable_since(server),
    }
}

fn consul_state(state: &v1::AutopilotState) -> ConsulState {
    let servers = state.servers.iter().map(|server| (id_and_address(server).0, consul_server(server)));
    let zone = |zone: &v1::RedundancyZone| ConsulZone {
        servers: zone.servers.clone(),
        voters: zone.voters.clone(),
        failure_tolerance: zone.failure_tolerance,
    };
    ConsulState {
        healthy: state.is_healthy,
        failure_tolerance: state.failure_tolerance,
        optimistic_failure_tolerance: state.optimistic_failure_tolerance,
        servers: servers.collect(),
        leader: state.leader_raft_id.clone(),
        voters: state.voter_raft_ids.clone(),
        read_replicas: of_servers(state, is_read_replica),
        redundancy_zones: state
            .redundancy_zones
            .iter()
            .map(|(name, found)| (name.clone(), zone(found)))
            .collect(),
        upgrade: state.upgrade.as_ref().map(consul_upgrade),
    }
}

fn consul_server(server: &v1::ServerState) -> ConsulServer {
    let (id, address) = id_and_address(server);
    ConsulServer {
        id,
        name: server.name.clone(),
        address,
        node_status: server.node_status.clone(),
        version: server.version.clone(),
        last_contact: last_contact(server),
        last_term: server.last_term,
        last_index: server.last_index,
        healthy: server.is_healthy,
        stable_since: stable_since(server),
        redundancy_zone: server.zone.clone(),
        upgrade_version: server.upgrade_version.clone(),
        read_replica: is_read_replica(server),
        status: status(server),
        meta: quorate_api::autopilot::Named::new(),
        node_type: server.node_type.clone(),
    }
}

fn consul_upgrade(upgrade: &v1::UpgradeState) -> ConsulUpgrade {
    let zone = |zone: &v1::ZoneVersions| ConsulZoneVersions {
        target_version_voters: zone.target_version_voters.clone(),
        target_version_non_voters: zone.target_version_non_voters.clone(),
        other_version_voters: zone.other_version_voters.clone(),
        other_version_non_voters: zone.other_version_non_voters.clone(),
    };
    let zones = upgrade.redundancy_zones.iter().map(|(name, found)| (name.clone(), zone(found)));
    ConsulUpgrade {
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

/// Its Raft ID and its address.
pub(super) fn id_and_address(server: &v1::ServerState) -> (String, String) {
    let found = server.server.clone().unwrap_or_default();
    (found.id.unwrap_or_default().raft_id, found.address)
}

pub(super) fn has_vote(server: &v1::ServerState) -> bool {
    server.server.as_ref().is_some_and(|server| server.suffrage() == v1::Suffrage::Voter)
}

pub(super) fn is_read_replica(server: &v1::ServerState) -> bool {
    server.node_type == "read-replica"
}

/// The Raft IDs of some servers, in the order of the state (A9).
pub(super) fn of_servers(state: &v1::AutopilotState, is_wanted: fn(&v1::ServerState) -> bool) -> Vec<String> {
    let wanted = state.servers.iter().filter(|server| is_wanted(server));
    wanted.map(|server| id_and_address(server).0).collect()
}

pub(super) fn status(server: &v1::ServerState) -> &'static str {
    match (server.is_leader, has_vote(server)) {
        (true, _) => "leader",
        (false, true) => "voter",
        (false, false) => "non-voter",
    }
}

/// Go's clients decode it as a duration; Consul says -1 of one it never heard.
pub(super) fn last_contact(server: &v1::ServerState) -> String {
    let age = server.last_contact_ms.map(Duration::from_millis);
    age.map_or_else(|| "-1ns".to_owned(), format_duration)
}

pub(super) fn stable_since(server: &v1::ServerState) -> String {
    rfc3339(server.stable_since_ms / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::consul::golden;

    fn text(value: &impl serde::Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    /// A21: names, order and spelling of Consul 1.22's own answers; a tolerance of zero is printed.
    #[test]
    fn health_and_state_are_spelled_as_consul_spells_them() {
        let state = golden::two_voters();
        assert_eq!(
            text(&consul_health(&state)),
            concat!(
                r#"{"Healthy":false,"FailureTolerance":0,"Servers":["#,
                r#"{"ID":"db-0-a","Name":"db-0","Address":"db-0:7400","SerfStatus":"alive","Version":"0.1.0","Leader":true,"#,
                r#""LastContact":"0s","LastTerm":3,"LastIndex":1024,"Healthy":true,"Voter":true,"StableSince":"2020-11-19T12:00:00Z"},"#,
                r#"{"ID":"db-1-b","Name":"db-1","Address":"db-1:7400","SerfStatus":"unknown","Version":"","Leader":false,"#,
                r#""LastContact":"-1ns","LastTerm":0,"LastIndex":0,"Healthy":false,"Voter":true,"StableSince":"2020-11-19T12:00:09Z"}]}"#,
            )
        );
        assert_eq!(
            text(&consul_state(&state)),
            concat!(
                r#"{"Healthy":false,"FailureTolerance":0,"OptimisticFailureTolerance":0,"Servers":{"#,
                r#""db-0-a":{"ID":"db-0-a","Name":"db-0","Address":"db-0:7400","NodeStatus":"alive","Version":"0.1.0","LastContact":"0s","#,
                r#""LastTerm":3,"LastIndex":1024,"Healthy":true,"StableSince":"2020-11-19T12:00:00Z","ReadReplica":false,"#,
                r#""Status":"leader","Meta":{},"NodeType":"voter"},"#,
                r#""db-1-b":{"ID":"db-1-b","Name":"db-1","Address":"db-1:7400","NodeStatus":"unknown","Version":"","LastContact":"-1ns","#,
                r#""LastTerm":0,"LastIndex":0,"Healthy":false,"StableSince":"2020-11-19T12:00:09Z","ReadReplica":false,"#,
                r#""Status":"voter","Meta":{},"NodeType":"voter"}},"#,
                r#""Leader":"db-0-a","Voters":["db-0-a","db-1-b"]}"#,
            )
        );
    }

    /// Golden A of autopilot.md §4: zones, and an upgrade under way.
    #[test]
    fn zones_and_an_upgrade_are_spelled_as_consul_spells_them() {
        let state = golden::upgrade_of_three_zones();
        let json: serde_json::Value = serde_json::from_str(&text(&consul_state(&state))).unwrap();
        assert_eq!(json["ReadReplicas"], serde_json::json!(["old-r"]));
        assert_eq!(
            json["RedundancyZones"]["b"],
            serde_json::json!({
                "Servers": ["old-v-b", "old-s-b", "new-1-b", "new-2-b"], "Voters": ["old-v-b"], "FailureTolerance": 3
            })
        );
        let upgrade = &json["Upgrade"];
        assert_eq!((&upgrade["Status"], &upgrade["TargetVersion"]), (&"promoting".into(), &"2.0.0".into()));
        assert_eq!(upgrade["OtherVersionReadReplicas"], serde_json::json!(["old-r"]));
        assert_eq!(upgrade.get("TargetVersionVoters"), None, "empty lists are left out");
        assert_eq!(
            upgrade["RedundancyZones"]["c"],
            serde_json::json!({
                "TargetVersionNonVoters": ["new-1-c", "new-2-c"],
                "OtherVersionVoters": ["old-v-c"],
                "OtherVersionNonVoters": ["old-s-c"],
            })
        );
        let standby = &json["Servers"]["new-1-a"];
        assert_eq!((&standby["NodeType"], &standby["RedundancyZone"]), (&"zone-standby".into(), &"a".into()));
        assert_eq!((&standby["UpgradeVersion"], &standby["Status"]), (&"2.0.0".into(), &"non-voter".into()));
    }

    /// Vector 83 and A20: what Go's client sends for what nobody set keeps what there is.
    #[test]
    fn what_a_body_does_not_set_is_kept() {
        let of_go = concat!(
            r#"{"CleanupDeadServers":false,"LastContactThreshold":null,"MaxTrailingLogs":0,"MinQuorum":0,"#,
            r#""ServerStabilizationTime":null,"RedundancyZoneTag":"","DisableUpgradeMigration":false,"#,
            r#""UpgradeVersionTag":"","CreateIndex":0,"ModifyIndex":0}"#
        );
        let expected = SettingsChange {
            cleanup_dead_servers: Some(false),
            redundancy_zone_tag: Some(String::new()),
            upgrade_version_tag: Some(String::new()),
            disable_upgrade_migration: Some(false),
            ..SettingsChange::default()
        };
        assert_eq!(parse(of_go.as_bytes()), Ok(expected));
        assert_eq!(parse(b"{}"), Ok(SettingsChange::default()));
        let durations =
            parse(br#"{"lastcontactthreshold":"1.5s","ServerStabilizationTime":20000000000}"#).unwrap();
        assert_eq!(durations.last_contact_threshold, Some(Duration::from_millis(1_500)));
        assert_eq!(durations.server_stabilization_time, Some(Duration::from_secs(20)));
    }

    /// Vector 83: 400 in words that name the field.
    #[test]
    fn what_cannot_be_read_is_refused_and_named() {
        for (body, field) in [
            ("{", ""),
            ("[]", ""),
            (r#"{"MinQuorum":-1}"#, "MinQuorum"),
            (r#"{"MinQuorum":4294967296}"#, "MinQuorum"),
            (r#"{"MaxTrailingLogs":"250"}"#, "MaxTrailingLogs"),
            (r#"{"LastContactThreshold":"10"}"#, "LastContactThreshold"),
            (r#"{"LastContactThreshold":"-1s"}"#, "LastContactThreshold"),
            (r#"{"CleanupDeadServers":"true"}"#, "CleanupDeadServers"),
        ] {
            let refused = parse(body.as_bytes()).unwrap_err();
            let Refused::Bad(text) = refused else { panic!("{body}: {refused:?}") };
            assert!(text.starts_with("Error parsing autopilot config: ") && text.contains(field), "{text}");
        }
    }
}
