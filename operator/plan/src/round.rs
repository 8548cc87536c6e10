//! One round in the making: what was observed, what is decided so far, and the questions rules ask of both.
//!
//! Invariant: `step` is set at most once (I1); whoever sets it has checked I2 and names its preconditions.

use quorate_crds::{Blocked, Founder, RaftClusterSpec, Recovery};
use quorate_mutants::{Mutant, broken};

use crate::children::names;
use crate::limits::BLOCKED_MAX;
use crate::observed::{Claim, Now, Observed, Ordinal, Pod, Slot};
use crate::plan::{Check, Ensure, Event, Fact, PlannedStep, Step, Why};
use crate::raft_view::{RaftView, ServerView, quorum};
use crate::reason::Reason;
use crate::record::{MemberState, keys, raft_id};

/// Whether the rules after this one are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Try the next rule.
    Next,
    /// The round ends here.
    End,
}

/// A round in the making.
pub(crate) struct Round<'a> {
    pub(crate) observed: &'a Observed,
    pub(crate) now: Now,
    pub(crate) ensures: Vec<Ensure>,
    pub(crate) step: Option<PlannedStep>,
    pub(crate) facts: Vec<Fact>,
    pub(crate) blocked: Vec<Blocked>,
    /// What is under way or waited for, first thing first.
    pub(crate) pending: Vec<Why>,
    /// Why the round ended early, if a rule marked so did.
    pub(crate) stopped: Option<Why>,
    pub(crate) events: Vec<Event>,
    /// What status must record this round, guarded by the resource version.
    pub(crate) cluster_id: Option<String>,
    pub(crate) founder: Option<Founder>,
    pub(crate) recovery: Option<Recovery>,
}

impl<'a> Round<'a> {
    pub(crate) fn new(observed: &'a Observed, now: Now) -> Self {
        let status = observed.cluster.status.as_ref();
        Self {
            observed,
            now,
            ensures: Vec::new(),
            step: None,
            facts: Vec::new(),
            blocked: Vec::new(),
            pending: Vec::new(),
            stopped: None,
            events: Vec::new(),
            cluster_id: status.and_then(|status| status.cluster_id.clone()),
            founder: status.and_then(|status| status.founder.clone()),
            recovery: status.and_then(|status| status.recovery.clone()),
        }
    }

    pub(crate) fn spec(&self) -> &'a RaftClusterSpec {
        &self.observed.cluster.spec
    }

    pub(crate) fn replicas(&self) -> usize {
        usize::try_from(self.spec().replicas).unwrap_or(0)
    }

    pub(crate) fn view(&self) -> Option<&'a RaftView> {
        self.observed.raft.as_ref()
    }

    pub(crate) fn is_bootstrapped(&self) -> bool {
        self.founder.as_ref().is_some_and(|founder| founder.bootstrapped)
    }

    pub(crate) fn pod_name(&self, ordinal: Ordinal) -> String {
        names::pod(self.observed.name(), ordinal)
    }

    /// Slots whose claim says so.
    pub(crate) fn slots_in(
        &self,
        states: &'static [MemberState],
    ) -> impl Iterator<Item = (Ordinal, &'a Slot, &'a Claim)> + use<'a> {
        self.observed.slots.iter().filter_map(move |(&ordinal, slot)| {
            let claim = slot.claim.as_ref()?;
            claim.record.state.is_some_and(|state| states.contains(&state)).then_some((ordinal, slot, claim))
        })
    }

    /// Live slots that are not Leaving (K34).
    pub(crate) fn wanted(&self) -> impl Iterator<Item = (Ordinal, &'a Slot, &'a Claim)> + use<'a> {
        self.slots_in(&[MemberState::Joining, MemberState::Member])
    }

    /// Joining, Member or Leaving (K34).
    pub(crate) fn live(&self) -> impl Iterator<Item = (Ordinal, &'a Slot, &'a Claim)> + use<'a> {
        self.slots_in(&[MemberState::Joining, MemberState::Member, MemberState::Leaving])
    }

    /// This round marks it as leaving.
    pub(crate) fn is_marked(&self, claim: &Claim) -> bool {
        self.ensures.iter().any(|ensure| {
            matches!(ensure, Ensure::NoteOnClaim { uid, set, .. }
                if *uid == claim.uid && set.contains_key(keys::MEMBER_STATE))
        })
    }

    /// A new member was begun in this round: one unfinished at a time.
    pub(crate) fn is_creating(&self) -> bool {
        self.ensures.iter().any(|ensure| matches!(ensure, Ensure::CreateClaim(_)))
    }

    /// The Raft ID of the directory on this claim: by what is recorded, else by what it must be.
    pub(crate) fn raft_id(&self, ordinal: Ordinal, claim: &Claim) -> String {
        claim.record.raft_id.clone().unwrap_or_else(|| raft_id(&self.pod_name(ordinal), &claim.uid))
    }

    /// The claim's server in the leader's latest configuration.
    pub(crate) fn server(&self, ordinal: Ordinal, claim: &Claim) -> Option<&'a ServerView> {
        self.view()?.server(&self.raft_id(ordinal, claim))
    }

    /// Notes what is under way or waited for (I9).
    pub(crate) fn wait(&mut self, rule: &'static str, reason: Reason, member: &str, text: impl Into<String>) {
        self.pending.push(why(rule, reason, member, text));
    }

    /// Notes what is held back (I9): the numbers and what to do are in the text.
    pub(crate) fn block(
        &mut self,
        rule: &'static str,
        reason: Reason,
        member: &str,
        text: impl Into<String>,
    ) {
        let entry = Blocked {
            member: if broken(Mutant::I9) { String::new() } else { member.to_owned() },
            message: text.into(),
            reason: reason.as_str().to_owned(),
            rule: rule.to_owned(),
        };
        if self.blocked.len() < BLOCKED_MAX && !self.blocked.contains(&entry) {
            self.blocked.push(entry);
        }
    }

    /// Ends the round for a reason.
    pub(crate) fn stop(&mut self, rule: &'static str, reason: Reason, text: impl Into<String>) -> Verdict {
        self.stopped = Some(why(rule, reason, self.observed.name(), text));
        Verdict::End
    }

    /// Decides the step of this round.
    pub(crate) fn decide(&mut self, step: Step, checks: Vec<Check>, why: Why) -> Verdict {
        assert!(self.step.is_none(), "I1: a second step in one plan, {} after {:?}", why.rule, self.step);
        // Alone a reason has no subject: people read it behind the step.
        self.pending.push(Why { text: format!("{step}: {}", why.text), ..why.clone() });
        self.step = Some(PlannedStep { step, checks, why, tells: None });
        Verdict::End
    }

    /// Tells people of the step just decided, once it is done.
    pub(crate) fn tell_when_done(&mut self, event: Event) {
        if let Some(step) = &mut self.step {
            step.tells = Some(event);
        }
    }

    /// A healthy voter to lead in another's place: one that stays and is fit for it, with the longest log.
    pub(crate) fn successor(
        &self,
        leaving: &str,
        is_fit: impl Fn(Ordinal, &Slot, &Claim) -> bool,
    ) -> Option<&'a ServerView> {
        let stays = |id: &str| {
            self.wanted().any(|(ordinal, slot, claim)| {
                self.raft_id(ordinal, claim) == id && is_fit(ordinal, slot, claim)
            })
        };
        let servers = self.view()?.servers.iter();
        servers
            .filter(|server| {
                server.is_voter && server.is_healthy && server.raft_id != leaving && stays(&server.raft_id)
            })
            .max_by(|a, b| a.match_index.cmp(&b.match_index).then_with(|| b.raft_id.cmp(&a.raft_id)))
    }
}

/// How many voters would be left, and how they fare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Majority {
    pub(crate) voters: usize,
    pub(crate) healthy: usize,
    pub(crate) needed: usize,
}

impl Majority {
    /// Whether the voters without this one would still have a healthy majority (I2).
    pub(crate) fn without(view: &RaftView, raft_id: &str) -> Self {
        let left: Vec<_> = view.voters().filter(|server| server.raft_id != raft_id).collect();
        Self {
            voters: left.len(),
            healthy: left.iter().filter(|server| server.is_healthy).count(),
            needed: quorum(left.len()),
        }
    }

    pub(crate) fn holds(self) -> bool {
        self.voters > 0 && self.healthy >= self.needed || broken(Mutant::I2Remove)
    }
}

impl std::fmt::Display for Majority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { voters, healthy, needed } = self;
        match voters {
            0 => write!(f, "no voter would be left"),
            1 if self.holds() => write!(f, "the one voter left is healthy"),
            1 => write!(f, "the one voter left would be unhealthy"),
            _ => {
                write!(f, "{healthy} of the {voters} voters left would be healthy and a write needs {needed}")
            }
        }
    }
}

/// Why something is done or held back.
pub(crate) fn why(rule: &'static str, reason: Reason, member: &str, text: impl Into<String>) -> Why {
    Why { rule, reason, member: member.to_owned(), text: text.into() }
}

/// The precondition of every membership step (I3).
pub(crate) fn configuration_check(view: &RaftView) -> Check {
    let index = if broken(Mutant::I3Index) { view.configuration_index + 1 } else { view.configuration_index };
    Check::Configuration { index, leader: view.leader.clone(), term: view.term }
}

/// Both go into the preconditions of a delete.
pub(crate) fn pod_check(pod: &Pod) -> Check {
    Check::Pod {
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        resource_version: pod.resource_version.clone(),
    }
}

/// Both go into the preconditions of a delete.
pub(crate) fn claim_check(claim: &Claim) -> Check {
    Check::Claim {
        name: claim.name.clone(),
        uid: claim.uid.clone(),
        resource_version: claim.resource_version.clone(),
    }
}

/// A live look that must not find the claim of this Raft ID any more (K33).
pub(crate) fn claim_gone(cluster: &str, ordinal: Ordinal, raft_id: &str) -> Check {
    Check::ClaimGone {
        name: names::claim(cluster, ordinal),
        uid_begins: raft_id.rsplit_once('-').map_or("", |(_, digits)| digits).to_owned(),
    }
}

/// The member's name in a Raft ID: all before the last `-`.
pub(crate) fn member_of(raft_id: &str) -> &str {
    raft_id.rsplit_once('-').map_or(raft_id, |(member, _)| member)
}
