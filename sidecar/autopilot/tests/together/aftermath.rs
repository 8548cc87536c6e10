//! What is done to a group at rest, after all trouble: an upgrade is brought to its end, everyone restarts at another
//! address, and those that were removed come back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_autopilot::{State, UpgradeStatus};
use quorate_raft::{Intent, Term};

use super::group::{Group, NAMED_WITHIN};
use super::life::{Life, WRITE_GAP_MAX, rest};
use super::plan::{Joining, Plan};

const SECOND: Duration = Duration::from_secs(1);
/// A member that a person removes is gone within this.
const REMOVED_WITHIN: Duration = Duration::from_mins(1);
/// The old servers gone, an upgrade is over within this.
const IDLE_WITHIN: Duration = Duration::from_mins(1);
/// Members that have moved are looked at for so long: longer than autopilot takes to give up who is silent and come to rest.
const WATCHED_FOR: Duration = Duration::from_mins(3);
/// How long those that were removed get to disturb whoever leads (A34).
const DISTURBED_FOR: Duration = Duration::from_mins(1);

/// A29: with everyone well all votes are at newer servers, if there are as many as voters of the older version; a person
/// removes the old ones, and then the upgrade is over.
pub(crate) fn upgraded(life: &mut Life) -> Result<bool, String> {
    let (group, plan) = (&life.group, &life.plan);
    let state = group.state().ok_or("nobody leads")?;
    let is_new = |name: &str| plan.joining(name).is_ok_and(Joining::is_new);
    match state.upgrade.status {
        UpgradeStatus::AwaitServerRemoval | UpgradeStatus::AwaitNewServers => {}
        // All old ones died for good, or all new ones.
        UpgradeStatus::Idle if !is_mixed(group, plan) => return Ok(false),
        UpgradeStatus::LeaderTransfer if is_thin(&state, plan)? => return Ok(false),
        UpgradeStatus::AwaitNewVoters if newer_places(&state, plan)? < old_voters(&state, plan)? => {
            return Ok(false);
        }
        other => return Err(format!("A29: everyone is well, and the upgrade is at {other:?}")),
    }
    let old: Vec<String> = group.servers().into_keys().filter(|name| !is_new(name)).collect();
    for name in &old {
        remove(life, name)?;
    }
    life.watch(IDLE_WITHIN)?;
    let state = life.group.state().ok_or("nobody leads")?;
    if state.upgrade.status != UpgradeStatus::Idle {
        return Err(format!(
            "A29: the old servers are gone, and the upgrade is at {:?}",
            state.upgrade.status
        ));
    }
    Ok(true)
}

fn is_mixed(group: &Group, plan: &Plan) -> bool {
    let is_new = |name: &String| plan.joining(name).is_ok_and(Joining::is_new);
    let versions: BTreeSet<bool> = group.servers().keys().map(is_new).collect();
    versions.len() > 1
}

fn remove(life: &mut Life, name: &str) -> Result<(), String> {
    let until = life.group.now + REMOVED_WITHIN;
    while !life.group.remove(name) {
        if life.group.now > until {
            return Err(format!("{name} could not be removed"));
        }
        life.watch(SECOND)?;
    }
    life.group.kill(name);
    Ok(())
}

fn old_voters(state: &State, plan: &Plan) -> Result<usize, String> {
    let mut count = 0;
    for server in state.servers.iter().filter(|server| server.role.has_vote()) {
        count += usize::from(!plan.joining(server.id.raft_id.as_str())?.is_new());
    }
    Ok(count)
}

/// Whether a zone has fewer newer servers than older ones: then leadership stays, and a person has to add one.
fn is_thin(state: &State, plan: &Plan) -> Result<bool, String> {
    let mut balance: BTreeMap<&str, i32> = BTreeMap::new();
    for server in &state.servers {
        let joining = plan.joining(server.id.raft_id.as_str())?;
        let Some(zone) = joining.zone_name().filter(|_| joining.intent != Intent::ReadReplica) else {
            continue;
        };
        *balance.entry(zone).or_default() += if joining.is_new() { 1 } else { -1 };
    }
    Ok(balance.values().any(|balance| *balance < 0))
}

/// How many newer servers could vote: one of each zone.
fn newer_places(state: &State, plan: &Plan) -> Result<usize, String> {
    let (mut zones, mut others) = (BTreeSet::new(), 0);
    for server in &state.servers {
        let joining = plan.joining(server.id.raft_id.as_str())?;
        if !joining.is_new() || joining.intent == Intent::ReadReplica {
            continue;
        }
        match joining.zone_name().filter(|_| plan.has_zones) {
            Some(zone) => _ = zones.insert(zone),
            None => others += 1,
        }
    }
    Ok(zones.len() + others)
}

/// A32: all restart on their volumes at other addresses. Once their names lead there, one of them leads and writes go on
/// without anybody's doing; nobody is removed. Who came late may have lost its vote for a while, as in any failure.
pub(crate) fn moved(life: &mut Life) -> Result<(), String> {
    let before: BTreeSet<String> = life.group.servers().into_keys().collect();
    let moved_at = life.group.now;
    life.group.move_all();
    life.group.pass(NAMED_WITHIN);
    let until = life.group.now + WRITE_GAP_MAX;
    while life.group.committed_at <= moved_at {
        if life.group.now > until {
            return Err(format!("A32: all moved at {moved_at:?}, and nothing is committed at {until:?}"));
        }
        life.group.pass(SECOND);
    }
    life.watch(WATCHED_FOR)?;
    let after: BTreeSet<String> = life.group.servers().into_keys().collect();
    if after != before {
        return Err(format!("A32: all moved, and {before:?} became {after:?}"));
    }
    rest(&life.group, &life.plan).map_err(|why| format!("A32: all moved, and then: {why}"))
}

/// A34: whoever was removed, and did not hear of it, comes back as it was. Nobody follows it, it leads nobody, and who leads
/// goes on in its term.
pub(crate) fn undisturbed(life: &mut Life) -> Result<bool, String> {
    let group = &mut life.group;
    let removed = group.removed();
    let before = leadership(group)?;
    for name in &removed {
        group.bring_back(name);
    }
    let until = group.now + DISTURBED_FOR;
    while life.group.now < until {
        life.watch(SECOND)?;
        let group = &life.group;
        let after = leadership(group)?;
        if after != before {
            return Err(format!("A34: {removed:?} are back, and {before:?} became {after:?}"));
        }
        if let Some(led) = removed.iter().find(|name| group.is_led(name)) {
            return Err(format!(
                "A34: {led} was removed, and follows somebody or leads, as one that is ready does"
            ));
        }
    }
    Ok(!removed.is_empty())
}

fn leadership(group: &Group) -> Result<(String, Term), String> {
    group.leadership().ok_or_else(|| "A34: nobody leads".to_owned())
}
