//! The operator: round after round it reads, asks the members, plans, and carries the plan out call by call. It may die
//! after any call, and knows nothing then.
//!
//! ```text
//!   Resting ─► the resource ─► Pods and claims ─► the rest ─► Asking ─► plan ─► Acting, a call at a time ─► Resting
//!      ▲                                                                              │
//!      └──────────────── Down ◄──────────── dies after any call ◄─────────────────────┘
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use quorate_crds::RaftCluster;
use quorate_plan::observed::{Observed, OperatorFacts, Slot, StorageFacts};
use quorate_plan::raft_view::{MemberAnswer, RaftView};
use quorate_plan::{Ensure, Ordinal, Plan, plan};
use rand::Rng;

use super::coverage::Happening;
use super::event::{Boot, Event, Turn};
use super::memory::Memory;
use super::objects::Objects;
use super::world::{Happened, World, check};

/// All members are asked side by side and given this long (K32).
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Changes that wake an operator become one round.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// The longest wait after a member refused a change or did not answer one.
const CHANGE_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A dead operator is started again within this time.
const DOWN_MS: std::ops::RangeInclusive<u64> = 1_000..=20_000;

/// An operator.
pub struct Operator {
    /// What it remembers.
    pub memory: Memory,
    /// What it does.
    pub stage: Stage,
    /// Which of its waits is the present one.
    pub number: u64,
    /// Nothing older than this is read again: caches lag, and never go back.
    pub read_upto: Duration,
    /// How much news it has been woken by.
    pub news: u64,
}

/// What an operator does.
pub enum Stage {
    /// It is dead.
    Down,
    /// It waits for its next round.
    Resting,
    /// It has read the resource.
    Reading(Box<RaftCluster>),
    /// It has also read Pods and claims.
    ReadingRest(Box<RaftCluster>, Rc<Objects>),
    /// It waits for members.
    Asking(Box<Asking>),
    /// It carries a plan out.
    Acting(Box<Acting>),
}

/// Members are being asked.
pub struct Asking {
    /// What was read.
    pub observed: Observed,
    /// What members said of themselves.
    pub answers: BTreeMap<Ordinal, MemberAnswer>,
    /// What leaders said.
    pub views: Vec<RaftView>,
    /// Those whose view is waited for.
    pub waiting: Vec<Boot>,
    /// When it began.
    pub began: Duration,
    /// The first of its waits: what answers an earlier one belongs to an earlier round.
    pub first: u64,
}

/// A plan is being carried out.
pub struct Acting {
    /// What it was made from.
    pub observed: Observed,
    /// The plan.
    pub plan: Plan,
    /// When members were asked.
    pub asked: Duration,
    /// What is left to do.
    pub calls: VecDeque<Call>,
    /// The end of a call that a member is to answer: none while it waits.
    pub ended: Option<Result<(), String>>,
}

/// One call of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Status is written.
    Status,
    /// An ensure.
    Ensure(usize),
    /// The leader is told settings.
    Settings(usize),
    /// The leader is told facts.
    Facts,
    /// A precondition is looked up.
    Check(usize),
    /// The step.
    Step,
    /// The answer of a member is waited for.
    Answer,
}

impl Operator {
    /// One that has just started.
    pub fn new() -> Self {
        Self {
            memory: Memory::default(),
            stage: Stage::Resting,
            number: 0,
            read_upto: Duration::ZERO,
            news: 0,
        }
    }
}

impl Default for Operator {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// The operator goes on after this time, and not before.
    pub(super) fn operator_after(&mut self, operator: usize, delay: Duration) {
        self.operators[operator].number += 1;
        let turn = Turn { operator, number: self.operators[operator].number };
        self.schedule.after(delay, Event::Operator(turn));
    }

    /// How long a call to the API server takes.
    pub(super) fn call_time(&mut self) -> Duration {
        let (fast, slow) = self.options.api.takes;
        self.rng.random_range(fast..=slow)
    }

    /// Whoever watches is woken by a change.
    pub(super) fn wake_operators(&mut self) {
        for operator in 0..self.operators.len() {
            let found = &mut self.operators[operator];
            if matches!(found.stage, Stage::Resting) && found.news < self.api.news {
                found.news = self.api.news;
                let pause = DEBOUNCE + self.call_time();
                self.operator_after(operator, pause);
            }
        }
    }

    pub(super) fn operator(&mut self, turn: Turn) -> Happened {
        let number = turn.operator;
        if self.operators[number].number != turn.number {
            return Ok(());
        }
        match std::mem::replace(&mut self.operators[number].stage, Stage::Resting) {
            Stage::Down => {
                self.operators[number] = Operator { number: turn.number, ..Operator::new() };
                self.say(|_| format!("operator {number} starts"));
                self.operator_after(number, Duration::ZERO);
            }
            Stage::Resting => self.begin_round(number),
            Stage::Reading(cluster) => self.read_members(number, cluster),
            Stage::ReadingRest(cluster, objects) => self.read_rest(number, *cluster, &objects)?,
            Stage::Asking(asking) => self.asked(number, *asking)?,
            Stage::Acting(acting) => self.act(number, *acting)?,
        }
        Ok(())
    }

    fn begin_round(&mut self, number: usize) {
        // What changes from here on wakes it for another round.
        self.operators[number].news = self.api.news;
        if self.api_fails() {
            return self.round_failed(number, "the API server does not answer", false);
        }
        let cluster = Box::new(self.read(number).cluster.clone());
        self.operators[number].stage = Stage::Reading(cluster);
        let pause = self.call_time();
        self.operator_after(number, pause);
    }

    fn read_members(&mut self, number: usize, cluster: Box<RaftCluster>) {
        if self.api_fails() {
            return self.round_failed(number, "the API server does not answer", false);
        }
        let objects = self.read(number);
        self.operators[number].stage = Stage::ReadingRest(cluster, objects);
        let pause = self.call_time();
        self.operator_after(number, pause);
    }

    fn read_rest(&mut self, number: usize, cluster: RaftCluster, members: &Objects) -> Happened {
        if self.api_fails() {
            self.round_failed(number, "the API server does not answer", false);
            return Ok(());
        }
        let rest = self.read(number);
        let observed = self.observe(number, cluster, members, &rest);
        self.ask(number, observed)
    }

    /// A read that may be old, but not older than the last one of this operator.
    fn read(&mut self, number: usize) -> Rc<Objects> {
        let now = self.schedule.now();
        let lag = if self.is_calm() { Duration::ZERO } else { self.options.api.lag };
        let age = if lag.is_zero() { lag } else { self.rng.random_range(Duration::ZERO..=lag) };
        let when = now.saturating_sub(age).max(self.operators[number].read_upto);
        self.operators[number].read_upto = when;
        let objects = self.api.objects_at(when);
        if objects.version < self.api.objects().version {
            self.coverage.hit(Happening::StaleRead);
        }
        objects
    }

    /// Whether a call fails without effect.
    pub(super) fn api_fails(&mut self) -> bool {
        let fails = self.schedule.now() < self.api.down_until
            || !self.is_calm()
                && self.options.api.fails > 0.0
                && self.rng.random_bool(self.options.api.fails);
        if fails {
            self.coverage.hit(Happening::CallFailed);
        }
        fails
    }

    fn observe(
        &mut self,
        number: usize,
        cluster: RaftCluster,
        members: &Objects,
        rest: &Objects,
    ) -> Observed {
        let now = self.schedule.now();
        let mut slots: BTreeMap<Ordinal, Slot> = BTreeMap::new();
        for (ordinal, claim) in &members.claims {
            slots.entry(*ordinal).or_default().claim = Some(claim.clone());
        }
        for (ordinal, pod) in &members.pods {
            slots.entry(*ordinal).or_default().pod = Some(pod.clone());
        }
        for (ordinal, refusal) in self.operators[number].memory.refusals(now) {
            slots.entry(ordinal).or_default().refused = Some(refusal);
        }
        for slot in slots.values_mut() {
            let node = slot.pod.as_ref().and_then(|pod| pod.node.as_ref());
            slot.node = node.and_then(|node| rest.nodes.get(node)).cloned();
            // Asked only where it decides something.
            let is_asked = slot.node.as_ref().is_none_or(|node| node.unschedulable);
            if let Some(claim) = slot.claim.as_mut().filter(|_| is_asked) {
                let only = self.volumes.get(&claim.uid).and_then(|volume| volume.node.clone());
                let there = only.as_ref().and_then(|only| rest.nodes.get(only));
                claim.is_stranded = only.is_some() && there.is_none();
                claim.is_out_of_service = slot.node.is_none() && there.is_some_and(|it| it.out_of_service);
                if claim.is_out_of_service {
                    self.coverage.hit(Happening::SeenOutOfService);
                }
                claim.nodes = only.map(|only| vec![only]);
            }
        }
        let mut children = rest.children.clone();
        children.budget = if rest.budget.is_some() {
            quorate_plan::observed::Child::Ours
        } else {
            quorate_plan::observed::Child::Missing
        };
        children.budget_min_available = rest.budget.as_ref().map(|budget| budget.min_available);
        children.budget_counts = rest.budget.as_ref().and_then(|budget| budget.counts);
        let fresh_cluster_id = format!("{:032x}", super::world::CLUSTER_ID.0);
        let memory = &mut self.operators[number].memory;
        Observed {
            cluster,
            slots,
            raft: None,
            quorum_missing_before: memory.quorum_was_missing(now),
            leader_heard: memory.leader_heard(rest.renewed, now),
            unpublished: Duration::ZERO,
            failure: None,
            children,
            is_first_round: !memory.has_finished_a_round,
            storage: StorageFacts { default_class: Some(true), ..StorageFacts::default() },
            operator: OperatorFacts {
                namespace: "quorate-system".to_owned(),
                sidecar_image: "quorate/sidecar:1".to_owned(),
                sidecar_pull_policy: None,
                is_turn: false,
                fresh_cluster_id,
            },
        }
    }

    /// Everybody answered, or time is up.
    pub(super) fn asked(&mut self, number: usize, asking: Asking) -> Happened {
        let now = self.schedule.now();
        if !asking.waiting.is_empty() && now < asking.began + ASK_TIMEOUT {
            return self.ask_again(number, asking);
        }
        let Asking { mut observed, answers, views, began, .. } = asking;
        observed.raft = views.into_iter().max_by_key(|view| (view.recovery_epoch, view.term));
        if let Some(view) = &mut observed.raft {
            for server in &mut view.servers {
                server.is_volume_lost = answers.values().any(|answer| {
                    answer.raft_id == server.raft_id && answer.incarnation != server.incarnation
                });
            }
        }
        for (ordinal, answer) in answers {
            observed.slots.entry(ordinal).or_default().answer = Some(answer);
        }
        let is_led = observed.raft.is_some();
        let renewed = self.api.objects().renewed;
        observed.unpublished = self.operators[number].memory.unpublished(renewed, is_led, now);
        self.coverage.hit(Happening::Round);
        let plan = plan(&observed, self.api.time());
        self.say(|_| format!("operator {number} plans{}", shown(&plan)));
        self.operators[number].memory.note_quorum(plan.is_quorum_missing, now);
        check(self.watch.plans(&observed, &plan, began))?;
        let mut calls = VecDeque::from([Call::Status]);
        calls.extend((0..plan.ensures.len()).map(Call::Ensure));
        if observed.raft.is_some() {
            let is_settings = |(_, ensure): &(usize, &Ensure)| matches!(ensure, Ensure::SetAutopilot(_));
            let settings = plan.ensures.iter().enumerate().filter(is_settings);
            calls.extend(settings.map(|(at, _)| Call::Settings(at)));
            calls.push_back(Call::Facts);
        }
        if let Some(step) = &plan.step {
            calls.extend((0..step.checks.len()).map(Call::Check));
            calls.push_back(Call::Step);
        }
        let acting = Acting { observed, plan, asked: began, calls, ended: None };
        self.operators[number].stage = Stage::Acting(Box::new(acting));
        self.operator_after(number, Duration::ZERO);
        Ok(())
    }

    /// A round came to its end: the next look.
    pub(super) fn round_ended(&mut self, number: usize, look_again: Duration) {
        self.operators[number].memory.succeeded();
        self.rest(number, look_again);
    }

    /// What the plan was decided on has changed: look again soon.
    pub(super) fn round_overtaken(&mut self, number: usize, look_again: Duration) {
        self.coverage.hit(Happening::Overtaken);
        self.rest(number, look_again.min(quorate_plan::limits::LOOK_AGAIN_SOON));
    }

    fn rest(&mut self, number: usize, pause: Duration) {
        self.operators[number].stage = Stage::Resting;
        self.operator_after(number, pause);
    }

    pub(super) fn round_failed(&mut self, number: usize, why: &str, is_change: bool) {
        self.coverage.hit(Happening::RoundFailed);
        let pause = self.operators[number].memory.failed();
        let pause = if is_change { pause.min(CHANGE_BACKOFF_MAX) } else { pause };
        self.say(|_| format!("operator {number}: the round failed: {why}"));
        self.operators[number].stage = Stage::Resting;
        self.operator_after(number, pause);
    }

    /// Whether the operator dies now.
    pub(super) fn dies(&mut self, number: usize) -> bool {
        if self.is_calm() || self.options.death == 0.0 || !self.rng.random_bool(self.options.death) {
            return false;
        }
        self.coverage.hit(Happening::OperatorDied);
        self.say(|_| format!("operator {number} dies"));
        self.operators[number].stage = Stage::Down;
        let pause = Duration::from_millis(self.rng.random_range(DOWN_MS));
        self.operator_after(number, pause);
        true
    }
}

/// What a plan does, on one line.
fn shown(plan: &Plan) -> String {
    let ensures = plan.ensures.iter().map(|ensure| format!("; {ensure}"));
    let step = plan
        .step
        .iter()
        .map(|planned| format!("; STEP {} (rule {}): {}", planned.step, planned.why.rule, planned.why.text));
    let blocked = plan.blocked.iter().map(|entry| format!("; blocked by {}: {}", entry.rule, entry.message));
    ensures.chain(step).chain(blocked).collect::<Vec<_>>().concat()
}
