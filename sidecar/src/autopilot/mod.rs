//! Runs autopilot's rounds while this member leads.
//!
//! ```text
//!   core's status ─┐
//!   settings (replicated state) ─┼─▶ round (pure) ─▶ state, watched by serve and publish
//!   facts (operator) ─┘                         └─▶ actions ─▶ Handle, with the index and term they were decided on
//! ```
//!
//! Invariant: a state is published only under the term it was computed in; when leadership ends it is gone,
//! and the next leader starts knowing nothing (K55).
//! Not here: judgement. Who is healthy and who gets a vote is decided in `quorate-autopilot`.

mod facts;
mod publish;
mod runner;

use std::sync::Arc;

use quorate_autopilot::State;
use tokio::sync::watch;

use crate::driver::Handle;

pub use facts::{Facts, MemberFact};
pub(crate) use publish::Publish;
use runner::Runner;

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
    /// What the platform said.
    pub facts: Arc<Facts>,
    /// The settings in effect.
    pub settings: quorate_autopilot::Settings,
}

/// The way to the runner. Cheap to clone.
#[derive(Clone)]
pub struct Autopilot {
    conclusions: watch::Receiver<Option<Arc<Conclusion>>>,
    facts: watch::Sender<Arc<Facts>>,
    defaults: DefaultSettings,
}

impl Autopilot {
    /// The latest conclusion; none unless this member leads and its first round is done.
    pub fn conclusion(&self) -> Option<Arc<Conclusion>> {
        self.conclusions.borrow().clone()
    }

    /// Conclusions as they come.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Conclusion>>> {
        self.conclusions.clone()
    }

    /// Takes a report of the operator; it replaces the last one as a whole (K15).
    pub fn report(&self, facts: Facts) {
        self.facts.send_replace(Arc::new(facts));
    }

    /// The defaults under which settings are read and checked here.
    pub fn defaults(&self) -> quorate_autopilot::Defaults {
        self.defaults.under(self.facts.borrow().declared_replicas)
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

/// The handle, and the task that runs the rounds until `stopping`.
pub(crate) fn start(
    handle: Handle,
    defaults: DefaultSettings,
    stopping: watch::Receiver<bool>,
) -> (Autopilot, impl Future<Output = ()> + Send + 'static) {
    let (facts, reported) = watch::channel(Arc::new(Facts::default()));
    let (conclusions, watched) = watch::channel(None);
    let runner = Runner::new(handle, defaults, reported, conclusions);
    let autopilot = Autopilot { conclusions: watched, facts, defaults };
    (autopilot, runner.run(stopping))
}
