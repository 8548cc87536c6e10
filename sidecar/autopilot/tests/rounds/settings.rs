//! Settings: names, defaults, rules, partial updates (A20, K27).

use std::time::Duration;

use quorate_autopilot::{Defaults, MinQuorumSource, Settings, SettingsChange, validate};

fn refused(change: &SettingsChange) -> String {
    validate(change, &Defaults::kubernetes(3)).unwrap_err().to_string()
}

/// K27: on Kubernetes 1 s and 10 min, elsewhere `HashiCorp`'s; `min_quorum` is the declared replicas.
#[test]
fn defaults_are_those_of_the_table() {
    let nothing = SettingsChange::default();
    let settings = Settings::new(&nothing, &Defaults::kubernetes(5));
    assert_eq!(
        settings,
        Settings {
            cleanup_dead_servers: true,
            last_contact_threshold: Duration::from_secs(1),
            dead_server_last_contact_threshold: Duration::from_mins(10),
            max_trailing_logs: 250,
            min_quorum: 5,
            min_quorum_source: MinQuorumSource::Declared,
            server_stabilization_time: Duration::from_secs(10),
            redundancy_zone_tag: String::new(),
            upgrade_version_tag: String::new(),
            disable_upgrade_migration: false,
        }
    );
    let elsewhere = Settings::new(&nothing, &Defaults::hashicorp(3));
    assert_eq!(elsewhere.last_contact_threshold, Duration::from_millis(200));
    assert_eq!(elsewhere.dead_server_last_contact_threshold, Duration::from_hours(24));
    assert_eq!(elsewhere.min_quorum_source, MinQuorumSource::Counted);
    let set = SettingsChange { min_quorum: Some(3), ..nothing };
    assert_eq!(Settings::new(&set, &Defaults::hashicorp(5)).min_quorum_source, MinQuorumSource::Set);
}

/// A20, K27: the rules bind what a user set; what is computed is valid at one replica.
#[test]
fn computed_values_are_valid_and_set_ones_are_checked() {
    for replicas in 1..=5 {
        assert_eq!(validate(&SettingsChange::default(), &Defaults::kubernetes(replicas)), Ok(()));
    }
    let small = SettingsChange { min_quorum: Some(2), ..SettingsChange::default() };
    assert_eq!(
        refused(&small),
        "min_quorum must be set when cleanup_dead_servers is set and it should at least be 3; it is 2: set 3 or more, or cleanup_dead_servers=false"
    );
    let off = SettingsChange { cleanup_dead_servers: Some(false), ..small };
    assert_eq!(validate(&off, &Defaults::kubernetes(3)), Ok(()));
    let soon = SettingsChange {
        dead_server_last_contact_threshold: Some(Duration::from_secs(59)),
        ..SettingsChange::default()
    };
    assert_eq!(
        refused(&soon),
        "dead_server_last_contact_threshold should not be set to less than 1m; it is 59s: set 1m or more, or cleanup_dead_servers=false"
    );
}

/// consul #6505: a configuration of zeros must not be able to make every server unhealthy for ever.
#[test]
fn zeros_are_refused_by_name() {
    let zero = Some(Duration::ZERO);
    let cases = [
        (
            SettingsChange { last_contact_threshold: zero, ..SettingsChange::default() },
            "last_contact_threshold",
        ),
        (
            SettingsChange { dead_server_last_contact_threshold: zero, ..SettingsChange::default() },
            "dead_server_last_contact_threshold",
        ),
        (SettingsChange { max_trailing_logs: Some(0), ..SettingsChange::default() }, "max_trailing_logs"),
    ];
    for (change, field) in cases {
        let text = refused(&change);
        assert!(text.starts_with(&format!("{field} must be greater than zero")), "{text}");
    }
    let at_once = SettingsChange { server_stabilization_time: zero, ..SettingsChange::default() };
    assert_eq!(validate(&at_once, &Defaults::kubernetes(3)), Ok(()), "no stabilization is a choice");
    let inverted =
        SettingsChange { last_contact_threshold: Some(Duration::from_mins(20)), ..SettingsChange::default() };
    assert!(refused(&inverted).contains("would be dead before it is unhealthy"));
}

/// A20: a partial update keeps the other fields.
#[test]
fn a_partial_update_keeps_the_other_fields() {
    let stored = SettingsChange {
        cleanup_dead_servers: Some(false),
        max_trailing_logs: Some(9),
        last_contact_threshold: Some(Duration::from_secs(2)),
        ..SettingsChange::default()
    };
    let newer =
        SettingsChange { max_trailing_logs: Some(7), min_quorum: Some(3), ..SettingsChange::default() };
    assert_eq!(
        stored.merged(&newer),
        SettingsChange { max_trailing_logs: Some(7), min_quorum: Some(3), ..stored.clone() }
    );
    assert_eq!(stored.merged(&SettingsChange::default()), stored);
}
