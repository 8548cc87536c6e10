//! The one change of a round, and everything that is held back.
//!
//! Rules offer changes in order of urgency: votes that are taken over, then promotions, demotions or a transfer, then
//! removals. The first that nothing forbids is made; the others wait for the next round, which plans anew (A10).

use quorate_mutants::{Mutant, broken};
use quorate_raft::ServerId;

use crate::action::{Action, ActionKind};
use crate::blocked::BlockedReason;
use crate::promotion::{self, Held, Wishes, may_be_replaced};
use crate::reconcile::{Changes, Step, steps};
use crate::removal;
use crate::scene::{Scene, is_well};
use crate::state::{NodeStatus, ServerState};

/// What is to be done, and what is not.
pub(crate) struct Decision {
    pub(crate) action: Option<Action>,
    pub(crate) held: Vec<Held>,
}

/// Decide the round's change of membership.
pub(crate) fn decide(scene: Scene<'_>) -> Decision {
    let mut wishes = promotion::wishes(scene);
    let mut turn = Turn { scene, chosen: None, held: std::mem::take(&mut wishes.held) };
    turn.replacements();
    turn.swap(&mut wishes);
    turn.votes(&wishes);
    turn.removals();
    Decision { action: turn.chosen.map(|(_, action)| action), held: turn.held }
}

struct Turn<'a> {
    scene: Scene<'a>,
    /// The change of this round, and whom it is about.
    chosen: Option<(ServerId, Action)>,
    held: Vec<Held>,
}

impl Turn<'_> {
    /// Servers that were added to take over a vote (K15).
    fn replacements(&mut self) {
        let scene = self.scene;
        let pairs = scene.wanted().filter_map(|new| Some((new, scene.replaced(new)?)));
        for (new, old) in pairs {
            let waits = (!may_be_replaced(old) && !broken(Mutant::K15Waits))
                .then(|| BlockedReason::WaitsForReplaced { old: old.id.clone() });
            let obstacle = waits.or_else(|| scene.own_obstacle(new));
            self.offer(ActionKind::Promote, new, obstacle, |turn| turn.replace(old, new));
        }
    }

    /// A vote that a stable server takes over though it was not added for that.
    fn swap(&mut self, wishes: &mut Wishes) {
        if let Some((old, new)) = promotion::swap(self.scene, wishes) {
            self.offer(ActionKind::Promote, new, None, |turn| turn.replace(old, new));
            wishes.promotions.retain(|id| *id != new.id);
        }
    }

    fn votes(&mut self, wishes: &Wishes) {
        let scene = self.scene;
        let server = |id: &ServerId| scene.state.server(id);
        let mut ready = Vec::new();
        for new in wishes.promotions.iter().filter_map(server) {
            match scene.own_obstacle(new).filter(|_| !broken(Mutant::A6)) {
                Some(reason) => self.held.push(Held::promotion(new, reason)),
                None => ready.push(new.id.clone()),
            }
        }
        let changes =
            Changes { promotions: ready, demotions: wishes.demotions.clone(), leader: wishes.leader.clone() };
        let steps = steps(&scene.state.servers, &changes);
        for step in &steps {
            self.step(step);
        }
        let is_planned = |id: &ServerId| steps.contains(&Step::Demote(id.clone()));
        for id in wishes.demotions.iter().filter(|id| !is_planned(id)) {
            if let (Some(server), Some((other, _))) = (server(id), &self.chosen) {
                let reason = BlockedReason::AnotherFirst { server: other.clone() };
                self.held.push(Held { action: ActionKind::Demote, server: server.id.clone(), reason });
            }
        }
    }

    fn step(&mut self, step: &Step) {
        let scene = self.scene;
        let (expected, term) = (scene.state.configuration_index, scene.state.term);
        let (Step::Promote(id) | Step::Demote(id) | Step::Transfer(id)) = step;
        let Some(server) = scene.state.server(id) else { return };
        let id = id.clone();
        match step {
            Step::Promote(_) => self.offer(ActionKind::Promote, server, None, |_| Action::Promote {
                server: id,
                expected,
                term,
            }),
            Step::Demote(_) => {
                let obstacle = scene.needed_vote(server).filter(|_| !broken(Mutant::A10Demote));
                self.offer(ActionKind::Demote, server, obstacle, |_| Action::Demote {
                    server: id,
                    expected,
                    term,
                });
            }
            Step::Transfer(_) => {
                let unhealthy = server.health.sample.as_ref().err().cloned();
                let is_wrong = !is_well(server) && !broken(Mutant::A29Transfer);
                let obstacle = unhealthy.filter(|_| is_wrong).map(BlockedReason::Unhealthy);
                self.offer(ActionKind::TransferLeadership, server, obstacle, |_| {
                    Action::TransferLeadership { to: id, expected, term }
                });
            }
        }
    }

    fn removals(&mut self) {
        let scene = self.scene;
        let (expected, term) = (scene.state.configuration_index, scene.state.term);
        for server in removal::wanted(scene) {
            let remove = |_: &Self| Action::Remove { server: server.id.clone(), expected, term };
            self.offer(ActionKind::Remove, server, removal::obstacle(scene, server), remove);
        }
    }

    /// Make this change unless something forbids it.
    fn offer(
        &mut self,
        kind: ActionKind,
        server: &ServerState,
        obstacle: Option<BlockedReason>,
        action: impl FnOnce(&Self) -> Action,
    ) {
        let obstacle = obstacle.or_else(|| self.anybodys_obstacle());
        match obstacle {
            Some(reason) => self.held.push(Held { action: kind, server: server.id.clone(), reason }),
            None => self.chosen = Some((server.id.clone(), action(self))),
        }
    }

    /// What forbids any further change in this round.
    fn anybodys_obstacle(&self) -> Option<BlockedReason> {
        if self.scene.input.membership.is_changing && !broken(Mutant::A12Changing) {
            return Some(BlockedReason::ConfigurationChanging);
        }
        if let Some((server, _)) = &self.chosen
            && !broken(Mutant::A10One)
        {
            return Some(BlockedReason::AnotherFirst { server: server.clone() });
        }
        self.scene.lost_quorum().filter(|_| !broken(Mutant::A17Lost))
    }

    fn replace(&self, old: &ServerState, new: &ServerState) -> Action {
        let state = self.scene.state;
        Action::Replace {
            old: old.id.clone(),
            server: new.id.clone(),
            old_has_left: old.status == NodeStatus::Left,
            expected: state.configuration_index,
            term: state.term,
        }
    }
}
