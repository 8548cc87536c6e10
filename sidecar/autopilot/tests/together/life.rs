//! One life of a group, from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_autopilot::{Defaults, Report, Settings, SettingsChange, UpgradeStatus, quorum};
use quorate_raft::{Intent, Suffrage};
use rand::Rng;
use rand::seq::IteratorRandom;

use super::group::{Group, id};

const SECOND: Duration = Duration::from_secs(1);
/// How long failures go on.
const TROUBLE: Duration = Duration::from_mins(10);
/// With a quorum alive a write is committed at least so often, elections included.
const WRITE_GAP_MAX: Duration = Duration::from_secs(15);

/// What a seed has drawn.
struct Plan {
    /// Each member, its intent, zone and version, in the order of joining.
    members: Vec<Joining>,
    has_zones: bool,
    has_upgrade: bool,
}

#[derive(Clone)]
struct Joining {
    name: String,
    intent: Intent,
    zone: Option<usize>,
    version: &'static str,
}

fn draw(group: &mut Group) -> Plan {
    let has_zones = group.rng.random_bool(0.5);
    let has_upgrade = group.rng.random_bool(0.4);
    let old = if has_zones { group.rng.random_range(4..=6) } else { group.rng.random_range(3..=5) };
    let new = if has_upgrade { old } else { 0 };
    let mut members = Vec::new();
    for at in 0..old + new {
        let (kind, version) = if at < old { ("m", "1.0.0") } else { ("n", "2.0.0") };
        let zone = has_zones.then_some(at % 3);
        members.push(Joining { name: format!("{kind}{}", at % old), intent: Intent::Voter, zone, version });
    }
    if group.rng.random_bool(0.3) {
        let replica =
            Joining { name: "r0".to_owned(), intent: Intent::ReadReplica, zone: None, version: "1.0.0" };
        members.insert(old, replica);
    }
    Plan { members, has_zones, has_upgrade }
}

fn settings() -> Settings {
    let change = SettingsChange {
        dead_server_last_contact_threshold: Some(Duration::from_mins(1)),
        min_quorum: Some(3),
        ..SettingsChange::default()
    };
    Settings::new(&change, &Defaults::kubernetes(3))
}

/// The kinds of actions that autopilot took; an error says what broke.
pub(crate) fn live(seed: u64, tells: bool) -> Result<BTreeSet<String>, String> {
    let mut group = Group::new(seed, settings(), tells);
    let mut plan = draw(&mut group);
    if plan.has_zones {
        "zone".clone_into(&mut group.settings.redundancy_zone_tag);
    }
    if plan.has_upgrade {
        "version".clone_into(&mut group.settings.upgrade_version_tag);
    }
    for joining in &plan.members {
        report(&mut group, joining);
    }
    group.bootstrap(&plan.members[0].name);
    let old = plan.members.iter().filter(|joining| joining.version == "1.0.0").skip(1);
    for joining in old {
        join(&mut group, joining)?;
    }
    watch(&mut group, Duration::from_mins(1))?;
    let is_new = |joining: &Joining| joining.version != "1.0.0";
    let mut new =
        plan.members.iter().filter(|joining| is_new(joining)).cloned().collect::<Vec<_>>().into_iter();
    let until = group.now + TROUBLE;
    while group.now < until {
        trouble(&mut group);
        if let Some(joining) = replacement(&mut group, &plan) {
            report(&mut group, &joining);
            join(&mut group, &joining)?;
            plan.members.push(joining);
        }
        if let Some(joining) = new.next() {
            join(&mut group, &joining)?;
        }
        let pause = group.rng.random_range(1..90);
        watch(&mut group, SECOND * pause)?;
    }
    for joining in new {
        join(&mut group, &joining)?;
    }
    heal(&mut group);
    watch(&mut group, Duration::from_mins(3))?;
    rest(&mut group, &plan)?;
    let first_word = |(_, words): &(Duration, String)| words.split(' ').next().unwrap_or_default().to_owned();
    Ok(group.done.iter().map(first_word).collect())
}

/// What it says of itself from now on.
fn report(group: &mut Group, joining: &Joining) {
    let report = Report {
        zone: joining.zone.map(|zone| ["x", "y", "z"][zone].to_owned()),
        upgrade_version: Some(joining.version.to_owned()),
        ..Report::default()
    };
    group.reports.insert(id(&joining.name), report);
}

/// Now and then somebody is added to take over for a voter that is down.
fn replacement(group: &mut Group, plan: &Plan) -> Option<Joining> {
    if !group.rng.random_bool(0.2) {
        return None;
    }
    let servers = group.servers();
    let names: Vec<&String> = plan.members.iter().map(|joining| &joining.name).collect();
    let is_replaced = |name: &str| names.contains(&&format!("s-{name}"));
    let down = servers.iter().filter(|(name, suffrage)| {
        **suffrage != Suffrage::NonVoter && !group.is_alive(name) && !is_replaced(name)
    });
    let old = down.map(|(name, _)| name.clone()).next()?;
    let (zone, version) = plan
        .members
        .iter()
        .find(|joining| joining.name == old)
        .map(|joining| (joining.zone, joining.version))?;
    Some(Joining { name: format!("s-{old}"), intent: Intent::ReplacementFor(id(&old)), zone, version })
}

fn join(group: &mut Group, joining: &Joining) -> Result<(), String> {
    group.start(&joining.name);
    for _ in 0..120 {
        if group.add(&joining.name, &joining.intent) {
            return Ok(());
        }
        watch(group, SECOND)?;
    }
    Err(format!("{} could not join", joining.name))
}

/// How many vote and how many of them live, in each half of the configuration (K14).
fn halves(group: &Group) -> [(usize, usize); 2] {
    let servers = group.servers();
    let half = |other: Suffrage| {
        let counts = |suffrage: &Suffrage| *suffrage != Suffrage::NonVoter && *suffrage != other;
        let voters: Vec<&String> =
            servers.iter().filter(|(_, suffrage)| counts(suffrage)).map(|(name, _)| name).collect();
        (voters.len(), voters.iter().filter(|name| group.is_alive(name)).count())
    };
    [half(Suffrage::Incoming), half(Suffrage::Outgoing)]
}

/// A member dies, is cut off, or comes back. Nobody fails that the group can't spare, nor whom it could not spare if a
/// stand-in that lives were demoted before the failure shows; and no voter fails while a change is under way, whose
/// configuration may turn out to be the one before.
fn trouble(group: &mut Group) {
    let servers = group.servers();
    let [(voters, alive), _] = halves(group);
    let down: Vec<String> = servers.keys().filter(|name| !group.is_alive(name)).cloned().collect();
    if group.rng.random_bool(0.35)
        && let Some(name) = down.iter().choose(&mut group.rng)
    {
        group.cut.remove(name);
        group.start(name);
        group.say(&format!("{name} is back"));
        return;
    }
    let Some(name) = servers
        .keys()
        .filter(|name| group.is_alive(name))
        .cloned()
        .collect::<Vec<_>>()
        .into_iter()
        .choose(&mut group.rng)
    else {
        return;
    };
    if servers[&name] != Suffrage::NonVoter {
        let left = alive - 1;
        let is_spared = left >= quorum(voters);
        let is_spared_twice = voters <= 3 || left.saturating_sub(1) >= quorum(voters - 1);
        if !is_spared || !is_spared_twice || !group.is_settled() {
            return;
        }
    }
    if group.rng.random_bool(0.5) {
        group.kill(&name);
    } else {
        group.say(&format!("{name} is cut off"));
        group.cut.insert(name);
    }
}

/// Time passes; a majority of the voters stays alive, and writes go on.
fn watch(group: &mut Group, time: Duration) -> Result<(), String> {
    let until = group.now + time;
    while group.now < until {
        group.pass(SECOND);
        for (voters, alive) in halves(group) {
            if alive < quorum(voters) {
                return Err(format!("at {:?} {alive} of {voters} voters are alive", group.now));
            }
        }
        let gap = group.now.saturating_sub(group.committed_at);
        if gap > WRITE_GAP_MAX {
            return Err(format!("at {:?} nothing was committed for {gap:?}", group.now));
        }
    }
    Ok(())
}

fn heal(group: &mut Group) {
    group.say("everyone is back");
    group.cut.clear();
    for name in group.servers().into_keys() {
        group.start(&name);
    }
}

/// Everyone is well, nothing changes any more, and those vote who should.
fn rest(group: &mut Group, plan: &Plan) -> Result<(), String> {
    let late: Vec<_> = group.done.iter().filter(|(at, _)| *at + SECOND * 60 > group.now).collect();
    if !late.is_empty() {
        return Err(format!("it goes on and on: {late:?}"));
    }
    let state = group.state().ok_or("nobody leads")?;
    if !state.is_healthy {
        return Err(format!("not everyone is healthy: {:?}", state.servers));
    }
    let intents: BTreeMap<&str, &Joining> =
        plan.members.iter().map(|joining| (joining.name.as_str(), joining)).collect();
    let in_upgrade = plan.has_upgrade && !matches!(state.upgrade.status, UpgradeStatus::Idle);
    for server in &state.servers {
        let joining = intents[server.id.raft_id.as_str()];
        let votes = server.role.has_vote();
        if joining.intent == Intent::ReadReplica && votes {
            return Err(format!("{} votes and is a read replica", joining.name));
        }
        if !plan.has_zones && !in_upgrade && joining.intent == Intent::Voter && !votes {
            return Err(format!("{} has no vote", joining.name));
        }
        let is_moved = state.upgrade.status == UpgradeStatus::AwaitServerRemoval;
        if is_moved && votes && joining.version != "2.0.0" {
            return Err(format!("{} is old and votes", joining.name));
        }
    }
    if plan.has_zones && !in_upgrade {
        for (name, zone) in &state.zones {
            if zone.voters.len() != 1 {
                return Err(format!("zone {name} has the voters {:?}", zone.voters));
            }
        }
    }
    Ok(())
}
