//! Carries a plan out, in the plan's order, and judges nothing.
//!
//! ```text
//!   status ──▶ events ──▶ ensures ──▶ facts ──▶ one step (after its checks, live) ──▶ its event
//! ```
//! Every call is safe to die after: what it did is seen by the next round, what it did not do is planned again (P8).
//! A precondition that no longer holds ends the round early and quietly; the world moved, and the next look decides
//! anew.

mod certificate;
mod ensure;
mod event;
mod fact;
mod status;
mod step;

use kube::Client;
use kube::runtime::events::Recorder;
use quorate_plan::plan::{Ensure, Plan};
use tracing::{debug, warn};

use crate::error::RoundError;
use crate::member::{ChangeError, Dialer, Leader, MemberAddress};
use crate::memory::Recollection;
use crate::observe::{Place, Seen};

/// Whether a plan was carried out to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acted {
    /// Yes.
    ToItsEnd,
    /// Something it was decided on has changed since: look again soon.
    Overtaken,
}

/// What acting needs at hand.
pub(crate) struct Hands<'a> {
    pub(crate) client: &'a Client,
    pub(crate) recorder: &'a Recorder,
    pub(crate) place: Place,
    pub(crate) seen: &'a Seen,
}

/// Carries out `plan`.
pub(crate) async fn act(
    hands: &Hands<'_>,
    plan: &Plan,
    recollection: &mut Recollection,
) -> Result<Acted, RoundError> {
    if status::write(hands, plan).await? == Acted::Overtaken {
        return Ok(Acted::Overtaken);
    }
    // Right behind the status they tell of: the next round finds that status and says nothing new.
    event::publish(hands, &plan.events).await;
    for ensure in &plan.ensures {
        if ensure::carry_out(hands, ensure, recollection).await? == Acted::Overtaken {
            return Ok(Acted::Overtaken);
        }
    }
    tell_leader(hands, plan).await;
    let Some(step) = &plan.step else { return Ok(Acted::ToItsEnd) };
    let acted = step::carry_out(hands, step).await?;
    if acted == Acted::ToItsEnd {
        event::publish(hands, step.tells.as_slice()).await;
    }
    Ok(acted)
}

/// Facts and autopilot settings, each round anew. A leader that does not take them is asked again next round; what
/// it decides without them is what it knew before.
async fn tell_leader(hands: &Hands<'_>, plan: &Plan) {
    let Some(view) = &hands.seen.observed.raft else { return };
    let told = async {
        let leader = hands.dial(&view.leader).await?;
        for ensure in &plan.ensures {
            if let Ensure::SetAutopilot(settings) = ensure {
                leader.set_autopilot(settings).await?;
            }
        }
        leader.report_facts(fact::report(&hands.seen.observed, plan)).await
    };
    let result: Result<(), ChangeError> = told.await;
    if let Err(error) = result {
        warn!(%error, "the leader was not told");
    }
}

impl Hands<'_> {
    /// Dials a member by its Raft ID.
    pub(crate) async fn dial(&self, raft_id: &str) -> Result<Leader, ChangeError> {
        let unreachable = |why: &str| ChangeError::Refused {
            what: "dialling",
            raft_id: raft_id.to_owned(),
            why: why.to_owned(),
        };
        let dialer: &Dialer =
            self.seen.dialer.as_ref().ok_or_else(|| unreachable("there is no certificate authority yet"))?;
        let address: &MemberAddress = self
            .seen
            .addresses
            .values()
            .find(|address| address.raft_id == raft_id)
            .ok_or_else(|| unreachable("its pod has no address"))?;
        debug!(%raft_id, ip = %address.ip, "dialling");
        Leader::dial(dialer, address).await
    }
}
