//! One life of a group, from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_autopilot::{Defaults, Report, Settings, SettingsChange, State, UpgradeStatus, quorum};
use quorate_raft::{Intent, Suffrage};
use rand::Rng;
use rand::seq::IteratorRandom;

use super::aftermath::{moved, undisturbed, upgraded};
use super::group::{Group, id};
use super::invariants::Invariants;
use super::plan::{Joining, Plan, ZONE_COUNT, draw};

const SECOND: Duration = Duration::from_secs(1);
/// How long failures go on.
const TROUBLE: Duration = Duration::from_mins(10);
/// With a quorum alive a write is committed at least so often, elections included.
pub(crate) const WRITE_GAP_MAX: Duration = Duration::from_secs(15);

fn settings() -> Settings {
    let change = SettingsChange {
        dead_server_last_contact_threshold: Some(Duration::from_mins(1)),
        min_quorum: Some(3),
        ..SettingsChange::default()
    };
    Settings::new(&change, &Defaults::kubernetes(3))
}

/// A group, what it was drawn as, and what looks at it.
pub(crate) struct Life {
    pub(crate) group: Group,
    pub(crate) plan: Plan,
    invariants: Invariants,
}

/// The kinds of actions that autopilot took, and of what happened besides; an error says what broke.
pub(crate) fn live(seed: u64, tells: bool) -> Result<BTreeSet<String>, String> {
    let mut group = Group::new(seed, settings(), tells);
    let plan = draw(&mut group.rng);
    if plan.has_zones {
        "zone".clone_into(&mut group.settings.redundancy_zone_tag);
    }
    if plan.has_upgrade {
        "version".clone_into(&mut group.settings.upgrade_version_tag);
    }
    for joining in &plan.members {
        report(&mut group, joining);
    }
    let mut life = Life { group, plan, invariants: Invariants::default() };
    life.be_troubled()?;
    heal(&mut life.group);
    life.watch(Duration::from_mins(3))?;
    rest(&life.group, &life.plan)?;
    if life.plan.has_upgrade && upgraded(&mut life)? {
        life.group.tell("upgraded".to_owned());
    }
    moved(&mut life)?;
    if undisturbed(&mut life)? {
        life.group.tell("undisturbed".to_owned());
    }
    let first_word = |(_, words): &(Duration, String)| words.split(' ').next().unwrap_or_default().to_owned();
    Ok(life.group.done.iter().map(first_word).collect())
}

impl Life {
    /// The old members join, then things fail for a while, in which newer ones join.
    fn be_troubled(&mut self) -> Result<(), String> {
        let (new, old): (Vec<Joining>, Vec<Joining>) =
            self.plan.members.iter().cloned().partition(Joining::is_new);
        self.group.bootstrap(&old[0].name);
        for joining in &old[1..] {
            self.join(joining)?;
        }
        self.watch(Duration::from_mins(1))?;
        let mut new = new.into_iter();
        let until = self.group.now + TROUBLE;
        while self.group.now < until {
            trouble(&mut self.group, &self.plan);
            if let Some(joining) = replacement(&mut self.group, &self.plan) {
                report(&mut self.group, &joining);
                self.plan.members.push(joining.clone());
                self.join(&joining)?;
            }
            if let Some(joining) = new.next() {
                self.join(&joining)?;
            }
            let pause = self.group.rng.random_range(1..90);
            self.watch(SECOND * pause)?;
        }
        new.try_for_each(|joining| self.join(&joining))
    }

    fn join(&mut self, joining: &Joining) -> Result<(), String> {
        self.group.start(&joining.name);
        for _ in 0..120 {
            if self.group.add(&joining.name, &joining.intent) {
                return Ok(());
            }
            self.watch(SECOND)?;
        }
        Err(format!("{} could not join", joining.name))
    }

    /// Time passes; a majority of the voters stays alive, writes go on, and every invariant looks.
    pub(crate) fn watch(&mut self, time: Duration) -> Result<(), String> {
        let until = self.group.now + time;
        while self.group.now < until {
            self.group.pass(SECOND);
            let group = &self.group;
            for (voters, alive) in halves(group) {
                if alive < quorum(voters) {
                    return Err(format!("at {:?} {alive} of {voters} voters are alive", group.now));
                }
            }
            let gap = group.now.saturating_sub(group.committed_at);
            if gap > WRITE_GAP_MAX {
                return Err(format!("at {:?} nothing was committed for {gap:?}", group.now));
            }
            self.invariants.look(group, &self.plan)?;
        }
        Ok(())
    }
}

/// What it says of itself from now on.
fn report(group: &mut Group, joining: &Joining) {
    let report = Report {
        zone: joining.zone_name().map(str::to_owned),
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
fn trouble(group: &mut Group, plan: &Plan) {
    let servers = group.servers();
    let [(voters, alive), _] = halves(group);
    let down: Vec<String> = servers.keys().filter(|name| !group.is_alive(name)).cloned().collect();
    if group.rng.random_bool(0.35)
        && let Some(name) = down.iter().choose(&mut group.rng)
    {
        group.bring_back(name);
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
        group.cut_off(&name);
    }
    if plan.has_zones && servers[&name] != Suffrage::NonVoter && group.rng.random_bool(0.4) {
        fail_with(group, plan, &name);
    }
}

/// A27: within a second of a zone's voter one that stands by for it fails too. Both are within the tolerance.
fn fail_with(group: &mut Group, plan: &Plan, voter: &str) {
    let zone = plan.joining(voter).ok().and_then(Joining::zone_name);
    let pause = Duration::from_millis(group.rng.random_range(0..1_000));
    group.pass(pause);
    let stands_by = |(name, suffrage): (&String, &Suffrage)| {
        let is_there = plan.joining(name).is_ok_and(|joining| joining.zone_name() == zone);
        (is_there && *suffrage == Suffrage::NonVoter && group.is_alive(name)).then(|| name.clone())
    };
    let found = group.servers().iter().find_map(stands_by);
    if let Some(name) = found.filter(|_| group.is_settled()) {
        group.kill(&name);
        group.tell("pair".to_owned());
    }
    // All else happens at whole seconds, and not in the moment in which a round decides.
    group.pass(SECOND.saturating_sub(pause));
}

fn heal(group: &mut Group) {
    group.say("everyone is back");
    for name in group.servers().into_keys() {
        group.bring_back(&name);
    }
}

/// Everyone is well, nothing changes any more, and those vote who should.
pub(crate) fn rest(group: &Group, plan: &Plan) -> Result<(), String> {
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
        if is_moved && votes && !joining.is_new() {
            return Err(format!("{} is old and votes", joining.name));
        }
    }
    if plan.has_zones && !in_upgrade {
        zones_rest(&state)?;
    }
    Ok(())
}

/// A24, A25: one voter in each zone; and where a zone is gone for good, its vote stays where it went.
fn zones_rest(state: &State) -> Result<(), String> {
    for (name, zone) in &state.zones {
        let is_extra = zone.voters.len() > 1 && state.zones.len() >= ZONE_COUNT;
        if zone.voters.is_empty() || is_extra {
            return Err(format!("zone {name} has the voters {:?}", zone.voters));
        }
    }
    let voters = state.voters.len();
    if voters > ZONE_COUNT { Err(format!("{voters} vote in {} zones", state.zones.len())) } else { Ok(()) }
}
