//! Runs autopilot's rounds while this member leads.
//!
//! ```text
//!   core's status ─┐
//!   settings (replicated state) ─┼─▶ round (pure) ─▶ state, watched by serve and publish
//!   facts (operator), reports (members) ─┘      └─▶ actions ─▶ Handle, with the index and term they were decided on
//! ```
//!
//! Invariant: a state is published only under the term it was computed in; when leadership ends it is gone,
//! and the next leader starts knowing nothing (K55).
//! Not here: judgement. Who is healthy and who gets a vote is decided in `quorate-autopilot`.

mod configuration;
mod facts;
mod picture;
mod publish;
mod reports;
mod runner;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use quorate_api::v1;
use quorate_autopilot::{Report, State};
use quorate_raft::ServerId;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::driver::{CallError, Handle};

pub use configuration::{Configuration, SetError, SetOutcome, blamed_field, differing};
pub use facts::{Facts, MemberFact};
pub(crate) use picture::picture;
pub(crate) use publish::Publish;
pub(crate) use reports::Reports;
use runner::{Feeds, Runner};
pub use words::{Words, WordsFiles, WordsReceiver, follow};

/// Whose defaults apply to settings that nobody set (K27).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultSettings {
    /// In a Pod.
    Kubernetes,
    /// Everywhere else: those of Consul and Vault.
    HashiCorp,
}

/// What a round concluded, with the facts it was given.
#[derive(Clone, Debug)]
pub struct Conclusion {
    /// The picture.
    pub state: State,
    /// The wall clock when it was computed, for people.
    pub wall: SystemTime,
    /// Whether what it wants done is done.
    pub is_reconciling: bool,
    /// What the platform said.
    pub facts: Arc<Facts>,
    /// What servers said of themselves, or were last known to say.
    pub reports: BTreeMap<ServerId, Report>,
    /// The settings in effect.
    pub settings: quorate_autopilot::Settings,
}

/// The way to the runner. Cheap to clone.
#[derive(Clone)]
pub struct Autopilot {
    handle: Handle,
    conclusions: watch::Receiver<Option<Arc<Conclusion>>>,
    facts: watch::Sender<Arc<Facts>>,
    reconciling: watch::Sender<bool>,
    defaults: DefaultSettings,
}

impl Autopilot {
    /// The latest conclusion; none unless this member leads and the first round of this leadership is done (A22).
    pub fn conclusion(&self) -> Option<Arc<Conclusion>> {
        let latest = self.conclusions.borrow().clone();
        // The runner may not have heard yet that leadership ended.
        let view = self.handle.view();
        latest.filter(|latest| view.is_leader() && view.status.term == latest.state.term)
    }

    /// Conclusions as they come; none while this member does not lead.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Conclusion>>> {
        self.conclusions.clone()
    }

    /// The leader's picture, from here or one hop away; waits for a leader and its first round until the deadline.
    pub async fn picture(&self, deadline: Instant) -> Result<v1::AutopilotState, CallError> {
        let ask = |leader| async move {
            match leader {
                None => self.picture_here(deadline).await,
                Some(leader) => self.handle.leaders().autopilot_state(&leader, deadline).await,
            }
        };
        self.handle.with_leader(deadline, ask).await
    }

    /// As [`Autopilot::picture`], but only if this member leads.
    pub(crate) async fn picture_here(&self, deadline: Instant) -> Result<v1::AutopilotState, CallError> {
        let (mut conclusions, mut leadership) = (self.watch(), self.handle.watch_leadership());
        loop {
            conclusions.mark_unchanged();
            leadership.mark_unchanged();
            if let Some(conclusion) = self.conclusion() {
                return Ok(picture(&conclusion));
            }
            if !self.handle.view().is_leader() {
                return Err(CallError::no_leader());
            }
            let news = async {
                tokio::select! {
                    changed = conclusions.changed() => changed.is_ok(),
                    changed = leadership.changed() => changed.is_ok(),
                }
            };
            match timeout_at(deadline, news).await {
                Ok(true) => {}
                Ok(false) => return Err(CallError::stopping()),
                Err(_) => return Err(CallError::no_leader()),
            }
        }
    }

    /// Whether what rounds want done is done, from the next round on. The state is computed in any case.
    pub fn reconcile(&self, is_wanted: bool) {
        self.reconciling.send_replace(is_wanted);
    }

    /// Whether the resource is the source of truth for settings here.
    pub fn is_on_kubernetes(&self) -> bool {
        self.defaults == DefaultSettings::Kubernetes
    }

    /// Takes a report of the operator; it replaces the last one as a whole (K15).
    pub fn report(&self, facts: Facts) {
        self.facts.send_replace(Arc::new(facts));
    }

    /// The defaults under which settings are read and checked here.
    pub fn defaults(&self) -> quorate_autopilot::Defaults {
        let declared = runner::declared(&self.facts.borrow(), &self.handle.view().status);
        self.defaults.under(declared)
    }
}

impl DefaultSettings {
    fn under(self, declared_replicas: u32) -> quorate_autopilot::Defaults {
        match self {
            Self::Kubernetes => quorate_autopilot::Defaults::kubernetes(declared_replicas),
            Self::HashiCorp => quorate_autopilot::Defaults::hashicorp(declared_replicas),
        }
    }
}

/// What autopilot is made of, beside the way to the core.
pub(crate) struct Parts {
    pub(crate) defaults: DefaultSettings,
    pub(crate) is_reconciling: bool,
    /// What this member says of itself.
    pub(crate) words: WordsReceiver,
    /// What peers say of themselves.
    pub(crate) reports: Reports,
}

/// The handle, and the task that runs the rounds until `stopping`.
pub(crate) fn start(
    handle: Handle,
    parts: Parts,
    stopping: watch::Receiver<bool>,
) -> (Autopilot, impl Future<Output = ()> + Send + 'static) {
    let (facts, reported) = watch::channel(Arc::new(Facts::default()));
    let (conclusions, watched) = watch::channel(None);
    let Parts { defaults, is_reconciling, words, reports } = parts;
    let (reconciling, watched_reconciling) = watch::channel(is_reconciling);
    let autopilot = Autopilot { handle: handle.clone(), conclusions: watched, facts, reconciling, defaults };
    let feeds = Feeds { facts: reported, reconciling: watched_reconciling, reports, words };
    let runner = Runner::new(handle, defaults, feeds, conclusions);
    (autopilot, runner.run(stopping))
}
