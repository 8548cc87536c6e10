//! The task behind autopilot: a round a second while this member leads, then what the round wants done.

use std::sync::Arc;
use std::time::Instant;

use quorate_autopilot::{Action, Input, Observer, Settings, SettingsChange, limits::ROUND_INTERVAL, round};
use quorate_raft::{Change, Index, Now, RemoveReason, ServerId, Status, Version};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info};

use super::{Conclusion, DefaultSettings, Facts};
use crate::driver::{Consistency, Handle};
use crate::limits::{AUTOPILOT_ACTION_TIMEOUT, AUTOPILOT_READ_TIMEOUT};

pub(super) struct Runner {
    handle: Handle,
    defaults: DefaultSettings,
    facts: watch::Receiver<Arc<Facts>>,
    conclusions: watch::Sender<Option<Arc<Conclusion>>>,
    observer: Observer,
    /// The zero of this runner's clock.
    started: Instant,
}

impl Runner {
    pub(super) fn new(
        handle: Handle,
        defaults: DefaultSettings,
        facts: watch::Receiver<Arc<Facts>>,
        conclusions: watch::Sender<Option<Arc<Conclusion>>>,
    ) -> Self {
        let started = Instant::now();
        Self { handle, defaults, facts, conclusions, observer: Observer::default(), started }
    }

    pub(super) async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        let mut rounds = interval(ROUND_INTERVAL);
        // Hysteresis counts rounds: two at once would judge one pause twice.
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leadership = self.handle.watch_leadership();
        loop {
            tokio::select! {
                _ = rounds.tick() => {}
                // A new leader's first state comes at once (A4), and an old leader's goes.
                changed = leadership.changed() => if changed.is_err() { return },
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
            leadership.mark_unchanged();
            self.round().await;
        }
    }

    async fn round(&mut self) {
        let view = self.handle.view();
        if !view.is_leader() || !view.status.is_ready {
            self.observer = Observer::default();
            self.conclusions.send_if_modified(|conclusion| conclusion.take().is_some());
            return;
        }
        let Some(stored) = self.stored_settings().await else { return };
        let facts = self.facts.borrow().clone();
        let Some(input) = self.input(&view.status, &facts) else { return };
        let declared = declared(&facts, &view.status);
        let settings = Settings::new(&stored, &self.defaults.under(declared));
        let done = round(&mut self.observer, &settings, &input);
        let conclusion = Conclusion { state: done.state, facts, settings };
        self.conclusions.send_replace(Some(Arc::new(conclusion)));
        for action in done.actions {
            self.act(action).await;
        }
    }

    async fn stored_settings(&self) -> Option<SettingsChange> {
        let deadline = tokio::time::Instant::now() + AUTOPILOT_READ_TIMEOUT;
        let read = |state: &crate::driver::State| Ok(state.meta().autopilot.settings.clone());
        match self.handle.read(Consistency::Stale, deadline, read).await {
            Ok(read) => Some(read.value),
            Err(error) => {
                debug!(%error, "no autopilot round: its settings can't be read now");
                None
            }
        }
    }

    fn input(&self, status: &Status, facts: &Facts) -> Option<Input> {
        let has_operator = self.defaults == DefaultSettings::Kubernetes;
        let (now, known) = (Now(self.started.elapsed()), facts.for_round(self.started));
        Input::of(status, now, known, facts.has_outdated_members(), has_operator)
    }

    async fn act(&self, action: Action) {
        let (server, expected, change) = match action {
            Action::Promote { server, expected, term } => {
                let change = Change::Promote { id: server.clone(), stable_in_term: term };
                (server, expected, change)
            }
            Action::Replace { old, server, old_has_left, expected, term } => {
                info!(peer = %server, %old, old_has_left, "replacing a voter");
                let change = Change::Replace { old, new: server.clone(), stable_in_term: term, old_has_left };
                (server, expected, change)
            }
            Action::Demote { server, expected, .. } => {
                (server.clone(), expected, Change::Demote { id: server })
            }
            Action::Remove { server, expected, .. } => {
                (server.clone(), expected, Change::Remove { id: server, reason: RemoveReason::Dead })
            }
            Action::TransferLeadership { to, .. } => return self.transfer(to).await,
            Action::RaiseVersion { to, expected } => return self.raise_version(to, expected).await,
        };
        let deadline = tokio::time::Instant::now() + AUTOPILOT_ACTION_TIMEOUT;
        let what = action_word(&change);
        match self.handle.change_membership(expected, change, deadline).await {
            Ok(index) => info!(peer = %server, %index, change = what, "autopilot changed the membership"),
            // The next round decides anew on what it finds.
            Err(error) => info!(peer = %server, %error, change = what, "autopilot's change was refused"),
        }
    }

    async fn transfer(&self, to: ServerId) {
        let deadline = tokio::time::Instant::now() + AUTOPILOT_ACTION_TIMEOUT;
        match self.handle.transfer_leadership(Some(to.raft_id.clone()), deadline).await {
            Ok(()) => info!(peer = %to, "autopilot handed over leadership"),
            Err(error) => info!(peer = %to, %error, "leadership was not handed over"),
        }
    }

    async fn raise_version(&self, to: Version, expected: Index) {
        let deadline = tokio::time::Instant::now() + AUTOPILOT_ACTION_TIMEOUT;
        match self.handle.change_membership(expected, Change::RaiseVersion { to }, deadline).await {
            Ok(index) => info!(version = %to, %index, "the cluster's version was raised"),
            // A connection has just ended, or another change came first: the next round decides anew.
            Err(error) => info!(version = %to, %error, "the cluster's version was not raised"),
        }
    }
}

/// The declared number of members; where nobody declares one, those there are.
fn declared(facts: &Facts, status: &Status) -> u32 {
    if facts.declared_replicas > 0 {
        return facts.declared_replicas;
    }
    let servers = status.latest.as_ref().map_or(1, |latest| latest.configuration.servers().len());
    u32::try_from(servers).unwrap_or(u32::MAX)
}

/// What a change does, for logs.
fn action_word(change: &Change) -> &'static str {
    match change {
        Change::AddNonVoter { .. } => "add",
        Change::Promote { .. } => "promote",
        Change::Demote { .. } => "demote",
        Change::Remove { .. } => "remove",
        Change::Replace { .. } => "replace",
        Change::RaiseVersion { .. } => "raise the version",
        Change::SetAddress { .. } => "set the address",
    }
}
