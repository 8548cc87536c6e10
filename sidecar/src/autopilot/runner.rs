//! The task behind autopilot: a round a second while this member leads, then what the round wants done.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use quorate_autopilot::{Action, Input, Observer, Settings, SettingsChange, limits::ROUND_INTERVAL, round};
use quorate_machine::{Command, RememberedServer, Tagged};
use quorate_raft::{Change, Index, Now, RemoveReason, ServerId, Status, Term, Version};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info};

use super::reports::{Reports, Sources, Words, forgotten};
use super::{Conclusion, DefaultSettings, Facts};
use crate::driver::{Consistency, Handle};
use crate::limits::{AUTOPILOT_ACTION_TIMEOUT, AUTOPILOT_READ_TIMEOUT};

/// What a runner is made of.
pub(super) struct Feeds {
    pub(super) facts: watch::Receiver<Arc<Facts>>,
    pub(super) reconciling: watch::Receiver<bool>,
    pub(super) reports: Reports,
    pub(super) words: Arc<Words>,
}

pub(super) struct Runner {
    handle: Handle,
    defaults: DefaultSettings,
    feeds: Feeds,
    conclusions: watch::Sender<Option<Arc<Conclusion>>>,
    observer: Observer,
    /// The zero of this runner's clock.
    started: Instant,
    /// The term this member leads, and since when.
    leads: Option<(Term, Instant)>,
    /// What the last round wanted done, one such task at a time: a slow change must not hold up the next picture.
    acting: Option<AbortOnDrop>,
}

/// A task that ends with its owner.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Runner {
    pub(super) fn new(
        handle: Handle,
        defaults: DefaultSettings,
        feeds: Feeds,
        conclusions: watch::Sender<Option<Arc<Conclusion>>>,
    ) -> Self {
        let (observer, started) = (Observer::default(), Instant::now());
        Self { handle, defaults, feeds, conclusions, observer, started, leads: None, acting: None }
    }

    pub(super) async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        let mut rounds = interval(ROUND_INTERVAL);
        // Hysteresis counts rounds: two at once would judge one pause twice.
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut leadership, mut view) = (self.handle.watch_leadership(), self.handle.watch_view());
        loop {
            let is_waiting = self.leads.is_none() && view.borrow_and_update().is_leader();
            tokio::select! {
                _ = rounds.tick() => {}
                // A new leader's first state comes at once (A4), and an old leader's goes.
                changed = leadership.changed() => if changed.is_err() { return },
                // One that leads is ready a moment later.
                changed = view.changed(), if is_waiting => if changed.is_err() { return },
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
            leadership.mark_unchanged();
            let did_lead = self.leads;
            self.round().await;
            if did_lead != self.leads {
                rounds.reset();
            }
        }
    }

    async fn round(&mut self) {
        let view = self.handle.view();
        if !view.is_leader() || !view.status.is_ready {
            return self.end();
        }
        let term = view.status.term;
        if self.leads.is_none_or(|(led, _)| led != term) {
            self.end();
        }
        let Some((stored, remembered)) = self.stored().await else { return };
        let (_, led_since) = *self.leads.get_or_insert((term, Instant::now()));
        let facts = self.feeds.facts.borrow().clone();
        let now = Now(self.started.elapsed());
        let sources = Sources {
            words: &self.feeds.words,
            heard: &self.feeds.reports,
            facts: &facts,
            remembered: &remembered,
            led_since,
            started: self.started,
        };
        let reports = sources.reports(&view, now);
        let Some(input) = self.input(&view.status, now, &facts) else { return };
        let is_reconciling = *self.feeds.reconciling.borrow();
        let input =
            Input { is_reconciling, ..input.with_reports(reports.clone()).with_snapshots(&view.snapshots) };
        let settings = Settings::new(&stored, &self.defaults.under(declared(&facts, &view.status)));
        let wall = SystemTime::now();
        let done = round(&mut self.observer, &settings, &input);
        let news = forgotten(&reports, &remembered);
        let conclusion = Conclusion { state: done.state, wall, is_reconciling, facts, settings, reports };
        self.conclusions.send_replace(Some(Arc::new(conclusion)));
        self.begin(if is_reconciling { done.actions } else { Vec::new() }, news);
    }

    /// Leadership ended: nothing of it is kept (K55), and what it wanted done is not waited for (A4).
    fn end(&mut self) {
        self.observer = Observer::default();
        (self.leads, self.acting) = (None, None);
        self.conclusions.send_if_modified(|conclusion| conclusion.take().is_some());
    }

    /// What a round wants done, unless something of an earlier one is under way: the next round will want it again.
    fn begin(&mut self, actions: Vec<Action>, news: Vec<RememberedServer>) {
        if self.acting.as_ref().is_some_and(|acting| !acting.0.is_finished())
            || actions.is_empty() && news.is_empty()
        {
            return;
        }
        let actor = Actor { handle: self.handle.clone() };
        self.acting = Some(AbortOnDrop(tokio::spawn(async move {
            for action in actions {
                actor.act(action).await;
            }
            actor.remember(news).await;
        })));
    }

    /// The replicated state's part: settings, and what servers said last.
    async fn stored(&self) -> Option<(SettingsChange, Vec<RememberedServer>)> {
        let deadline = tokio::time::Instant::now() + AUTOPILOT_READ_TIMEOUT;
        let read = |state: &crate::driver::State| {
            let meta = state.meta();
            Ok((meta.autopilot.settings.clone(), meta.servers.clone()))
        };
        match self.handle.read(Consistency::Stale, deadline, read).await {
            Ok(read) => Some(read.value),
            Err(error) => {
                debug!(%error, "no autopilot round: its settings can't be read now");
                None
            }
        }
    }

    fn input(&self, status: &Status, now: Now, facts: &Facts) -> Option<Input> {
        let has_operator = self.defaults == DefaultSettings::Kubernetes;
        Input::of(status, now, facts.for_round(self.started), facts.has_outdated_members(), has_operator)
    }
}

/// Carries out what rounds want.
struct Actor {
    handle: Handle,
}

impl Actor {
    /// What servers say of themselves outlasts this leader.
    async fn remember(&self, news: Vec<RememberedServer>) {
        if news.is_empty() {
            return;
        }
        let deadline = tokio::time::Instant::now() + AUTOPILOT_ACTION_TIMEOUT;
        let command = Tagged { tag: None, command: Command::RememberServers(news) };
        if let Err(error) = self.handle.propose_here(command.encode(), deadline).await {
            debug!(%error, "what servers say of themselves is not remembered yet");
        }
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
pub(super) fn declared(facts: &Facts, status: &Status) -> u32 {
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
