//! A sidecar: the real core on a directory, and the real autopilot beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_autopilot::{
    Action, Defaults, Fact, Input, Observer, PodFact, Report, Settings, SettingsChange, State, round,
};
use quorate_plan::observed::Now as PlannersNow;
use quorate_raft::{Change, Index, Now, Raft, RaftId, RemoveReason, ServerId};

use super::event::Boot;

/// A running sidecar.
pub struct Process {
    /// Which start.
    pub boot: Boot,
    /// Who it is.
    pub id: ServerId,
    /// The recovery epoch of its directory.
    pub epoch: u64,
    /// The claim its directory is on.
    pub claim_uid: String,
    /// The Pod it runs in.
    pub pod_uid: String,
    /// The node it runs on.
    pub node: String,
    /// The application's version.
    pub version: Option<String>,
    /// Since when, as its kubelet says.
    pub since: PlannersNow,
    /// The core.
    pub raft: Raft,
    /// When it is scheduled to be woken.
    pub wake_at: Option<Duration>,
    /// The settings that the state holds.
    pub stored: SettingsChange,
    /// What the operator said last.
    pub facts: Facts,
    /// What the last round of autopilot concluded, while this leads.
    pub state: Option<State>,
    /// When the leader last renewed its Lease.
    pub renewed: Option<Duration>,
    observer: Observer,
}

/// One report of the operator (K15).
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Members declared; 0: not said.
    pub declared: u32,
    /// Whether somebody runs an older build.
    pub has_outdated: Option<bool>,
    /// Who is meant to go.
    pub left: BTreeMap<ServerId, bool>,
    /// When it came.
    pub reported: Duration,
}

/// What autopilot wants of the core.
pub enum Wanted {
    /// A change of membership, decided on this configuration.
    Change(Index, Change),
    /// Leadership goes to this one.
    Transfer(RaftId),
}

impl Process {
    /// One that has just started.
    pub fn new(
        boot: Boot,
        id: ServerId,
        epoch: u64,
        raft: Raft,
        place: (String, String, String),
        since: PlannersNow,
    ) -> Self {
        let (claim_uid, pod_uid, node) = place;
        Self {
            boot,
            id,
            epoch,
            claim_uid,
            pod_uid,
            node,
            version: None,
            since,
            raft,
            wake_at: None,
            stored: SettingsChange::default(),
            facts: Facts::default(),
            state: None,
            renewed: None,
            observer: Observer::default(),
        }
    }

    /// The settings in effect.
    pub fn settings(&self) -> Settings {
        Settings::new(&self.stored, &Defaults::kubernetes(self.facts.declared))
    }

    /// One round of autopilot, as the sidecar's runner makes it: what it wants done.
    pub fn autopilot(&mut self, now: Duration, reports: BTreeMap<ServerId, Report>) -> Option<Wanted> {
        let status = self.raft.status();
        if status.role != quorate_raft::Role::Leader || !status.is_ready {
            self.observer = Observer::default();
            self.state = None;
            return None;
        }
        let fact = |has_left: &bool| Fact {
            pod: PodFact::Unknown,
            has_left: *has_left,
            is_claim_gone: false,
            observed: Now(self.facts.reported),
        };
        let facts = self.facts.left.iter().map(|(id, left)| (id.clone(), fact(left))).collect();
        let input = Input::of(&status, Now(now), facts, self.facts.has_outdated, true)?.with_reports(reports);
        let settings = self.settings();
        let done = round(&mut self.observer, &settings, &input);
        self.state = Some(done.state);
        done.actions.into_iter().next().map(|action| match action {
            Action::Promote { server, expected, term } => {
                Wanted::Change(expected, Change::Promote { id: server, stable_in_term: term })
            }
            Action::Replace { old, server, old_has_left, expected, term } => {
                let change = Change::Replace { old, new: server, stable_in_term: term, old_has_left };
                Wanted::Change(expected, change)
            }
            Action::Demote { server, expected, .. } => {
                Wanted::Change(expected, Change::Demote { id: server })
            }
            Action::Remove { server, expected, .. } => {
                Wanted::Change(expected, Change::Remove { id: server, reason: RemoveReason::Dead })
            }
            Action::TransferLeadership { to, .. } => Wanted::Transfer(to.raft_id),
            Action::RaiseVersion { to, expected } => Wanted::Change(expected, Change::RaiseVersion { to }),
        })
    }
}
