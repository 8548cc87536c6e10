//! What holds in every history, however servers come, fail and return.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use quorate_autopilot::{Action, ServerRole, ServerState, State, Unhealthy, failure_tolerance, quorum};
use quorate_raft::{Intent, Now, Suffrage};

use super::group::{Group, SECOND, STABILIZATION, group, id, log_id, promoted, stats};

const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

#[derive(Clone, Debug)]
enum Event {
    /// From now on it is heard and level.
    Well(usize),
    /// From now on it is not heard.
    Silent(usize),
    /// From now on its log ends in another term.
    WrongTerm(usize),
    /// From now on it trails.
    Trails(usize),
    /// A new leadership, of the same leader.
    NewTerm,
    /// A membership change begins or ends.
    Changing(bool),
    /// Seconds pass, with a round in each.
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let server = 1..NAMES.len();
    prop_oneof![
        4 => server.clone().prop_map(Event::Well),
        2 => server.clone().prop_map(Event::Silent),
        1 => server.clone().prop_map(Event::WrongTerm),
        1 => server.prop_map(Event::Trails),
        1 => Just(Event::NewTerm),
        1 => any::<bool>().prop_map(Event::Changing),
        6 => (1_u64..14).prop_map(Event::Pass),
    ]
}

fn happen(group: &mut Group, event: &Event) {
    let last = group.last;
    let behind = log_id(last.term.0, 5);
    match event {
        Event::Well(at) => group.report(NAMES[*at], stats(Duration::ZERO, last)),
        Event::Silent(at) => group.silence(NAMES[*at]),
        Event::WrongTerm(at) => group.report(NAMES[*at], stats(Duration::ZERO, log_id(1, 5))),
        Event::Trails(at) => group.report(NAMES[*at], stats(Duration::ZERO, behind)),
        Event::NewTerm => {
            group.term += 1;
            group.last = log_id(group.term, last.index.0 + 1);
        }
        Event::Changing(is_changing) => group.is_changing = *is_changing,
        Event::Pass(_) => {}
    }
}

/// Carry a promotion out, as the core would.
fn promote(group: &mut Group, action: &Action) {
    let Action::Promote { server, .. } = action else { panic!("nobody is replaced here") };
    let target = group.servers.iter_mut().find(|each| each.id == *server).unwrap();
    target.suffrage = Suffrage::Voter;
    group.configuration_index += 1;
}

/// The rule of health, written once more from raw samples alone.
#[derive(Clone, Copy, Default)]
struct Oracle {
    well_since: Option<Now>,
    bad_in_a_row: u32,
}

fn watch(oracles: &mut [Oracle], state: &State) {
    for (name, oracle) in NAMES.iter().zip(oracles) {
        match &state.server(&id(name)).unwrap().health.sample {
            Ok(()) => *oracle = Oracle { well_since: oracle.well_since.or(Some(state.at)), bad_in_a_row: 0 },
            Err(reason) => {
                oracle.bad_in_a_row += 1;
                let may_pass = matches!(reason, Unhealthy::LastContact { .. } | Unhealthy::Trailing { .. });
                if !may_pass || oracle.bad_in_a_row >= 3 {
                    oracle.well_since = None;
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// P3, P5, A11: whoever is promoted was well, without a break, for the whole stabilization time of this term (two
    /// late samples in a row are no break); and a promotion never turns a healthy majority into none.
    #[test]
    fn a_promotion_is_earned_and_never_costs_a_quorum(
        voters in 1_usize..5, events in vec(event(), 1..40),
    ) {
        let mut group = group(&NAMES[..voters].join(" ")).with_non_voters(&NAMES[voters..].join(" "));
        let mut oracles = [Oracle::default(); NAMES.len()];
        watch(&mut oracles, &group.round().state);
        for event in events {
            happen(&mut group, &event);
            if matches!(event, Event::NewTerm) {
                oracles = [Oracle::default(); NAMES.len()];
            }
            let count = if let Event::Pass(count) = event { count } else { 1 };
            for _ in 0..count {
                let round = group.after(SECOND);
                watch(&mut oracles, &round.state);
                prop_assert!(round.actions.len() <= 1, "one change a round");
                for action in &round.actions {
                    let Action::Promote { server, expected, term } = action else { panic!("nobody is replaced here") };
                    prop_assert!(!group.is_changing);
                    prop_assert_eq!((expected.0, term.0), (group.configuration_index, group.term));
                    let before = round.state.server(server).unwrap();
                    prop_assert_eq!(before.role, ServerRole::NonVoter);
                    let at = NAMES.iter().position(|name| id(name) == *server).unwrap();
                    let well_for = oracles[at].well_since.map(|since| group.now.since(since));
                    prop_assert!(well_for >= Some(STABILIZATION), "{} was well for {:?}", server, well_for);
                    promote(&mut group, action);
                    let has_vote = |each: &&ServerState| each.role.has_vote() || each.id == *server;
                    let voters = round.state.servers.iter().filter(has_vote);
                    let healthy = voters.clone().filter(|each| each.health.is_healthy).count();
                    let voters = voters.count();
                    prop_assert!(healthy >= quorum(voters), "the promotion of {} lost the quorum", server);
                    prop_assert!(failure_tolerance(voters, healthy) >= round.state.failure_tolerance);
                }
            }
        }
    }

    /// P5, D1: a server whose health breaks more often than the stabilization time is never promoted.
    #[test]
    fn a_flapping_server_is_never_promoted(gaps in vec(1_u64..9, 1..30), is_slow in any::<bool>()) {
        let mut group = group("a b c");
        group.add("flaps", Suffrage::NonVoter, Intent::Voter);
        group.round();
        for gap in gaps {
            prop_assert!(promoted(&group.seconds(gap)).is_empty());
            // A wrong term breaks it at once, a late contact after three samples.
            let bad = if is_slow { stats(Duration::from_mins(1), group.last) } else { stats(Duration::ZERO, log_id(2, 5)) };
            group.report("flaps", bad);
            let bad_seconds = if is_slow { 3 } else { 1 };
            prop_assert!(promoted(&group.seconds(bad_seconds)).is_empty());
            group.report("flaps", stats(Duration::ZERO, group.last));
        }
    }

    /// A3: with h of n voters healthy, adding a healthy voter keeps what was a majority a majority.
    #[test]
    fn adding_a_healthy_voter_keeps_a_majority(voters in 1_usize..1_000, healthy in 0_usize..1_000) {
        prop_assume!(healthy <= voters && healthy >= quorum(voters));
        prop_assert!(healthy + 1 >= quorum(voters + 1));
    }
}
