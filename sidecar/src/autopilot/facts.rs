//! What the operator knows of the members from outside, as last reported to this leader (K15).

use std::collections::BTreeMap;
use std::time::Instant;

use quorate_autopilot::limits::FACT_AGE_MAX;
use quorate_autopilot::{Fact, PodFact};
use quorate_raft::{Now, ServerId};

use crate::limits::FACTS_MAX;

/// One report; the next replaces it.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// How many members the resource declares; 0: not said.
    pub declared_replicas: u32,
    /// Whether a member runs an older build than it is meant to; none: not said (K24).
    has_outdated_members: Option<bool>,
    /// By server.
    members: BTreeMap<ServerId, MemberFact>,
    /// When it came in.
    reported: Option<Instant>,
}

/// What is known of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberFact {
    /// It goes for good (K15).
    pub has_left: bool,
    /// Its Pod, for people; empty: unknown.
    pub name: String,
    /// Its Kubernetes node; empty: unknown.
    pub node: String,
    /// Its zone; empty: unknown.
    pub zone: String,
}

impl Facts {
    /// A report as of now. Members beyond [`FACTS_MAX`] are not kept; a configuration has fewer.
    pub fn new(declared_replicas: u32, members: impl IntoIterator<Item = (ServerId, MemberFact)>) -> Self {
        let members = members.into_iter().take(FACTS_MAX).collect();
        Self { declared_replicas, has_outdated_members: None, members, reported: Some(Instant::now()) }
    }

    /// The same report, with what it says of builds.
    #[must_use]
    pub fn outdated(self, has_outdated_members: Option<bool>) -> Self {
        Self { has_outdated_members, ..self }
    }

    /// Whether a member runs an older build than it is meant to, if that is still known (K24).
    pub(super) fn has_outdated_members(&self) -> Option<bool> {
        let is_fresh = self.reported.is_some_and(|reported| reported.elapsed() <= FACT_AGE_MAX);
        self.has_outdated_members.filter(|_| is_fresh)
    }

    /// What is known of one.
    pub fn of(&self, id: &ServerId) -> Option<&MemberFact> {
        self.members.get(id)
    }

    /// For a round. Their age is judged there.
    pub(super) fn for_round(&self, started: Instant) -> BTreeMap<ServerId, Fact> {
        let Some(reported) = self.reported else { return BTreeMap::new() };
        let observed = Now(reported.saturating_duration_since(started));
        let fact = |member: &MemberFact| Fact {
            // The operator reports who leaves; whether a Pod runs, the leader hears better itself.
            pod: PodFact::Unknown,
            has_left: member.has_left,
            is_claim_gone: false,
            observed,
        };
        self.members.iter().map(|(id, member)| (id.clone(), fact(member))).collect()
    }
}
