//! What holds in every history with zones, upgrades, replacements and removals (A10-A14, A17, P3).

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use quorate_autopilot::limits::ZONED_VOTERS_MIN;
use quorate_autopilot::{Action, Round, ServerState, quorum};
use quorate_raft::{Intent, ServerId, Suffrage};

use super::group::{Group, SECOND, group, id, log_id, stats};

const NAMES: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
const ZONES: [&str; 3] = ["x", "y", "z"];
const VERSIONS: [&str; 3] = ["1.0.0", "1.1.0", "2.0.0"];

#[derive(Clone, Debug)]
enum Event {
    Well(usize),
    Mute(usize),
    Dead(usize),
    WrongTerm(usize),
    Zone(usize, usize),
    Version(usize, usize),
    Forgets(usize),
    Leaves(usize),
    NewLeader(usize),
    Changing(bool),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let server = || 0..NAMES.len();
    prop_oneof![
        5 => server().prop_map(Event::Well),
        3 => server().prop_map(Event::Mute),
        2 => server().prop_map(Event::Dead),
        1 => server().prop_map(Event::WrongTerm),
        1 => (server(), 0..ZONES.len()).prop_map(|(at, zone)| Event::Zone(at, zone)),
        2 => (server(), 0..VERSIONS.len()).prop_map(|(at, version)| Event::Version(at, version)),
        1 => server().prop_map(Event::Forgets),
        1 => server().prop_map(Event::Leaves),
        1 => server().prop_map(Event::NewLeader),
        1 => any::<bool>().prop_map(Event::Changing),
        8 => (1_u64..20).prop_map(Event::Pass),
    ]
}

/// How a group begins.
#[derive(Clone, Debug)]
struct Start {
    /// How many of the nine vote.
    voters: usize,
    /// Intent of each: 0 and 1 to vote, 2 a read replica, 3 to replace the first non-leader.
    intents: Vec<u8>,
    zones: Option<Vec<usize>>,
    versions: Option<Vec<usize>>,
    min_quorum: u32,
}

fn start() -> impl Strategy<Value = Start> {
    let each = |upto: usize| vec(0..upto, NAMES.len());
    (
        1_usize..7,
        vec(0_u8..4, NAMES.len()),
        proptest::option::of(each(ZONES.len())),
        proptest::option::of(each(VERSIONS.len())),
        0_u32..6,
    )
        .prop_map(|(voters, intents, zones, versions, min_quorum)| Start {
            voters,
            intents,
            zones,
            versions,
            min_quorum,
        })
}

fn begin(start: &Start) -> Group {
    let mut group = group(&NAMES[..start.voters].join(" "));
    group.settings.min_quorum = start.min_quorum;
    group.settings.dead_server_last_contact_threshold = Duration::from_mins(1);
    let mut is_replaced = false;
    for (name, intent) in NAMES.iter().zip(&start.intents).skip(start.voters) {
        let replaces = *intent == 3 && start.voters > 1 && !is_replaced;
        is_replaced |= replaces;
        let intent = match intent {
            2 => Intent::ReadReplica,
            3 if replaces => Intent::ReplacementFor(id(NAMES[1])),
            _ => Intent::Voter,
        };
        group.add(name, Suffrage::NonVoter, intent);
    }
    for (at, name) in NAMES.iter().enumerate() {
        if let Some(zones) = &start.zones {
            group.zones(&format!("{name}:{}", ZONES[zones[at]]));
        }
        if let Some(versions) = &start.versions {
            group.versions(name, VERSIONS[versions[at]]);
        }
    }
    group
}

fn happen(group: &mut Group, event: &Event) {
    let leader = group.own_id.clone();
    let is_there =
        |at: usize| id(NAMES[at]) != leader && group.servers.iter().any(|server| server.id == id(NAMES[at]));
    match *event {
        Event::Well(at) => group.hear(NAMES[at]),
        Event::Mute(at) if is_there(at) => group.mute(NAMES[at]),
        Event::Dead(at) if is_there(at) => group.report(NAMES[at], stats(Duration::from_mins(2), group.last)),
        Event::WrongTerm(at) if is_there(at) => group.report(NAMES[at], stats(Duration::ZERO, log_id(1, 5))),
        Event::Zone(at, zone) if !group.settings.redundancy_zone_tag.is_empty() => {
            group.zones(&format!("{}:{}", NAMES[at], ZONES[zone]));
        }
        Event::Version(at, version) if !group.settings.upgrade_version_tag.is_empty() => {
            group.versions(NAMES[at], VERSIONS[version]);
        }
        Event::Forgets(at) => group.says(NAMES[at]).upgrade_version = None,
        Event::Leaves(at) if is_there(at) => group.fact(NAMES[at], quorate_autopilot::PodFact::Ready, true),
        Event::NewLeader(at) if is_there(at) && group.voters().contains(&NAMES[at]) => {
            group.hear(NAMES[at]);
            group.lead(id(NAMES[at]));
        }
        Event::Changing(is_changing) => group.is_changing = is_changing,
        _ => {}
    }
}

/// Who votes after the action, by health now.
fn voters_after(round: &Round, action: &Action) -> Vec<ServerState> {
    let is_out = |id: &ServerId| match action {
        Action::Demote { server, .. } | Action::Remove { server, .. } => server == id,
        Action::Replace { old, .. } => old == id,
        _ => false,
    };
    let is_in = |id: &ServerId| match action {
        Action::Promote { server, .. } | Action::Replace { server, .. } => server == id,
        _ => false,
    };
    let votes = |server: &&ServerState| (server.role.has_vote() || is_in(&server.id)) && !is_out(&server.id);
    round.state.servers.iter().filter(votes).cloned().collect()
}

fn has_majority(voters: &[ServerState]) -> bool {
    voters.iter().filter(|voter| voter.health.is_healthy).count() >= quorum(voters.len())
}

fn check(
    group: &Group,
    round: &Round,
    removed: &mut Vec<(u64, usize)>,
    second: u64,
) -> Result<(), TestCaseError> {
    prop_assert!(round.actions.len() <= 1, "one change a round");
    let Some(action) = round.actions.first() else { return Ok(()) };
    prop_assert!(!group.is_changing, "{:?} into another change", action);
    prop_assert!(!round.state.is_quorum_lost, "{:?} without a quorum", action);
    let before = round.state.voters.len();
    let after = voters_after(round, action);
    prop_assert!(has_majority(&after), "{:?} takes the healthy majority away", action);
    // A leader that is to be replaced hands over or steps down once that is committed; nothing else takes its vote.
    let is_swap = matches!(action, Action::Replace { .. });
    let leads = after.iter().any(|voter| voter.id == group.own_id);
    prop_assert!(leads || is_swap, "{:?} takes the leader's vote", action);
    match action {
        Action::Promote { server, .. } | Action::Replace { server, .. } => {
            let server = round.state.server(server).unwrap();
            prop_assert!(server.health.sample.is_ok() && server.intent != Intent::ReadReplica);
        }
        Action::TransferLeadership { to, .. } => {
            prop_assert!(round.state.voters.contains(to));
            prop_assert!(round.state.server(to).unwrap().health.sample.is_ok());
        }
        Action::Remove { server, .. } => {
            let server = round.state.server(server).unwrap();
            prop_assert!(server.is_dead && !server.health.is_healthy);
            if server.role.has_vote() {
                prop_assert!(after.len() >= group.settings.min_quorum as usize, "below min_quorum");
                let threshold = group.settings.dead_server_last_contact_threshold.as_secs();
                removed.retain(|(at, _)| second - at <= threshold);
                let earlier = removed.len();
                prop_assert!(
                    earlier < (before + earlier - 1) / 2,
                    "{} and one more of {}",
                    earlier,
                    before + earlier
                );
                removed.push((second, before));
            }
        }
        Action::Demote { .. } | Action::RaiseVersion { .. } => {}
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// P3, A10-A14, A17: from any state with a healthy majority each action leaves a healthy majority of the new
    /// configuration; removals stay a minority and above `min_quorum`; the leader keeps its vote.
    #[test]
    fn no_action_takes_the_healthy_majority_away(start in start(), events in vec(event(), 1..60)) {
        let mut group = begin(&start);
        group.round();
        let (mut removed, mut second) = (Vec::new(), 0);
        for event in events {
            let term = group.term;
            happen(&mut group, &event);
            if group.term != term {
                // The window is one leader's; a later one listens for a whole threshold of its own. Only these tests
                // hand it a silence from before its time.
                removed.clear();
            }
            let count = if let Event::Pass(count) = event { count } else { 1 };
            for _ in 0..count {
                second += 1;
                let round = group.after(SECOND);
                check(&group, &round, &mut removed, second)?;
                for action in &round.actions {
                    if matches!(action, Action::TransferLeadership { .. }) {
                        removed.clear();
                    }
                    group.carry_out(action);
                }
            }
        }
    }

    /// A9, A24, A25: once everyone is well every group comes to rest, and with zones and no upgrade each zone has one voter; of
    /// three voters none is taken.
    #[test]
    fn a_healed_group_comes_to_rest(start in start(), events in vec(event(), 1..40)) {
        let mut group = begin(&start);
        group.round();
        for event in events {
            happen(&mut group, &event);
            group.live(2);
        }
        group.is_changing = false;
        group.facts.clear();
        for name in NAMES {
            if group.servers.iter().any(|server| server.id == id(name)) {
                group.hear(name);
            }
        }
        let gone: Vec<ServerId> = NAMES.iter().map(|name| id(name))
            .filter(|id| group.servers.iter().all(|server| server.id != *id)).collect();
        for id in gone {
            group.well.remove(&id);
            group.muted.remove(&id);
        }
        group.live(200);
        let late = group.live(60);
        prop_assert!(late.is_empty(), "it goes on and on: {:?}", late);
        let round = group.after(SECOND);
        prop_assert!(round.state.is_healthy);
        if start.zones.is_some() && start.versions.is_none() {
            let can_vote = |id: &ServerId| {
                let server = round.state.server(id).unwrap();
                server.intent == Intent::Voter || server.role.has_vote()
            };
            for (name, zone) in round.state.zones.iter().filter(|(_, zone)| zone.servers.iter().any(can_vote)) {
                let votes = zone.voters.len();
                let is_kept = votes > 1 && round.state.voters.len() == ZONED_VOTERS_MIN;
                prop_assert!(votes == 1 || is_kept, "zone {} has {:?}", name, zone.voters);
            }
        }
        if start.zones.is_none() && start.versions.is_none() {
            let waits = |server: &&ServerState| {
                !server.role.has_vote() && server.intent == Intent::Voter
            };
            prop_assert_eq!(round.state.servers.iter().filter(waits).count(), 0);
        }
    }
}
