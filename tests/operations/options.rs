//! What a seed draws: the size of the cluster, what people want of it, what breaks, and how fast everything is.
//!
//! Not every run has every kind of fault (swarm testing): what hides a bug in one is missing in another.

use std::fmt;
use std::time::Duration;

use quorate_raft::Settings;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// The behaviour of one run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What everything is drawn from.
    pub seed: u64,
    /// Members asked for at first.
    pub replicas: i32,
    /// Members asked for at any time, at most.
    pub replicas_max: i32,
    /// Timing of the group.
    pub settings: Settings,
    /// Unbroken health for a vote, in seconds.
    pub stabilization_secs: u64,
    /// Silence after which a voter is dead, in seconds.
    pub dead_secs: u64,
    /// One voter in each zone, the others stand by.
    pub has_zones: bool,
    /// Votes move by version, and people upgrade by new members (docs/decisions/0010).
    pub has_upgrades: bool,
    /// Nodes.
    pub nodes: usize,
    /// Volumes are on their nodes' own disks.
    pub has_local_volumes: bool,
    /// The API server.
    pub api: ApiServer,
    /// How likely a message between members is lost.
    pub loss: f64,
    /// A Pod's scheduling and each start take between the first and the second.
    pub start: (Duration, Duration),
    /// Operators at once.
    pub operators: usize,
    /// How likely an operator dies after a call.
    pub death: f64,
    /// What people do.
    pub edits: Vec<Edit>,
    /// Mean time between two edits.
    pub edit_every: Duration,
    /// What breaks.
    pub faults: Vec<Fault>,
    /// Mean time between two faults.
    pub fault_every: Duration,
    /// A node is cut off for up to so long.
    pub cut_max: Duration,
    /// How long faults and edits go on; then the cluster must converge.
    pub restless: Duration,
}

/// How the API server behaves.
#[derive(Clone, Copy, Debug)]
pub struct ApiServer {
    /// A call takes between the first and the second.
    pub takes: (Duration, Duration),
    /// How likely a call fails without effect.
    pub fails: f64,
    /// How likely a call takes effect and its answer is lost.
    pub loses_answer: f64,
    /// Reads are at most this old.
    pub lag: Duration,
}

/// What people do to the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Another number of replicas.
    Scale,
    /// Another image.
    Image,
    /// An image that does not exist, until the next edit of the image.
    BadImage,
    /// What becomes of the claims of those that leave.
    WhenScaled,
    /// Sleep, or wake.
    Hibernate,
    /// Pause, or go on.
    Pause,
    /// Annotation `replace` for some voter, or none any more.
    Replace,
    /// A new version and twice as many members; half of them again once votes have moved.
    Upgrade,
}

/// What can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A process is killed.
    Kill,
    /// A Pod is deleted.
    DeletePod,
    /// A kubelet ends a Pod for good.
    EndPod,
    /// A node is cut off for a while.
    CutNode,
    /// A node that is cut off is declared to be out of service.
    OutOfService,
    /// A node is drained and comes back.
    Drain,
    /// A claim is deleted under its Pod.
    DeleteClaim,
    /// A claim and its Pod are deleted.
    LoseVolume,
    /// A directory is emptied.
    EmptyVolume,
    /// A directory is damaged.
    DamageVolume,
    /// A node is gone for ever, with its volumes.
    LoseNode,
    /// More than half of the voters lose their volumes at once; once in a run.
    LoseMajority,
    /// The API server is away for a while.
    ApiDown,
    /// Pods are refused for a while.
    RefusePods,
    /// A Service, Secret or budget is deleted.
    DeleteChild,
}

const EDITS: [Edit; 7] =
    [Edit::Scale, Edit::Image, Edit::BadImage, Edit::WhenScaled, Edit::Hibernate, Edit::Pause, Edit::Replace];

const FAULTS: [Fault; 15] = [
    Fault::Kill,
    Fault::DeletePod,
    Fault::EndPod,
    Fault::CutNode,
    Fault::OutOfService,
    Fault::Drain,
    Fault::DeleteClaim,
    Fault::LoseVolume,
    Fault::EmptyVolume,
    Fault::DamageVolume,
    Fault::LoseNode,
    Fault::LoseMajority,
    Fault::ApiDown,
    Fault::RefusePods,
    Fault::DeleteChild,
];

/// How likely a run is one of scaling only, in which nothing may be noticed by a client.
const SCALING_ONLY: f64 = 0.1;
/// Every so many seeds is one of redundancy zones.
const ZONES_EVERY: u64 = 5;
/// Every so many seeds is one of upgrades by new members, every other of these without faults.
const UPGRADES_EVERY: u64 = 7;
/// Every so many seeds is one in which members are restarted for new images, and nothing else happens.
const RESTARTS_EVERY: u64 = 11;
/// Members before an upgrade at most: there are twice as many in between.
const UPGRADED_MAX: i32 = 3;
/// Members of a run of restarts at least: with fewer a restart is an outage (I2).
const RESTARTED_MIN: i32 = 3;
/// Kubernetes gives up the Pods of a node that is cut off longer than this.
const LONG_CUT_MAX: Duration = Duration::from_secs(500);
const SHORT_CUT_MAX: Duration = Duration::from_secs(200);

impl Options {
    /// Draws the options of `seed`, and hands out the generator for the rest of the run.
    pub fn draw(seed: u64) -> (Self, SmallRng) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let is_scaling_only = rng.random_bool(SCALING_ONLY);
        let has_long_cuts = rng.random_bool(0.3);
        let replicas_max = pick(&mut rng, &[3, 5, 5, 7]);
        let election_timeout = Duration::from_millis(rng.random_range(1_800..3_000));
        let options = Self {
            seed,
            replicas: rng.random_range(1..=replicas_max),
            replicas_max,
            settings: Settings {
                heartbeat_interval: election_timeout / 4,
                election_timeout,
                check_quorum: election_timeout,
                ..Settings::default()
            },
            stabilization_secs: rng.random_range(2..=15),
            dead_secs: rng.random_range(60..=240),
            // By number and not drawn: the known seeds are what they were.
            // An upgrade in zones waits for a person where a zone has fewer new members than old ones: `together` has these.
            has_zones: seed.is_multiple_of(ZONES_EVERY) && seed % UPGRADES_EVERY != 1,
            has_upgrades: seed % UPGRADES_EVERY == 1,
            nodes: rng.random_range(3..=8),
            has_local_volumes: rng.random_bool(0.5),
            api: ApiServer::draw(is_scaling_only, &mut rng),
            loss: if rng.random_bool(0.6) || is_scaling_only { 0.0 } else { rng.random_range(0.0..0.05) },
            start: (secs(&mut rng, 0, 2), secs(&mut rng, 3, 12)),
            operators: if rng.random_bool(0.15) { 2 } else { 1 },
            death: pick(&mut rng, &[0.0, 0.01, 0.05, 0.2]),
            edits: if is_scaling_only { vec![Edit::Scale] } else { some(&EDITS, 0.5, &mut rng) },
            edit_every: secs(&mut rng, 10, 150),
            faults: if is_scaling_only { Vec::new() } else { some(&FAULTS, 0.4, &mut rng) },
            fault_every: secs(&mut rng, 10, 150),
            cut_max: if has_long_cuts { LONG_CUT_MAX } else { SHORT_CUT_MAX },
            restless: secs(&mut rng, 200, 900),
        };
        (options.consistent(has_long_cuts), rng)
    }

    /// A claim that is being deleted goes with its Pod: whoever cuts nodes off for long must not delete claims, or more is
    /// lost than anybody could bear.
    fn consistent(mut self, has_long_cuts: bool) -> Self {
        self.faults.retain(|fault| !has_long_cuts || *fault != Fault::DeleteClaim);
        if self.has_upgrades {
            self.replicas = self.replicas.min(UPGRADED_MAX);
            // What else changes the template or the size is not drawn: one thing is upgraded at a time.
            self.edits.retain(|edit| matches!(edit, Edit::Pause | Edit::WhenScaled));
            self.edits.push(Edit::Upgrade);
            if (self.seed / UPGRADES_EVERY).is_multiple_of(2) {
                self.without_faults();
            }
        } else if self.seed % RESTARTS_EVERY == 2 {
            self.replicas = self.replicas.max(RESTARTED_MIN);
            self.replicas_max = self.replicas;
            self.edits = vec![Edit::Image];
            self.without_faults();
        }
        self
    }

    fn without_faults(&mut self) {
        self.faults.clear();
        self.loss = 0.0;
    }

    /// A run in which members are restarted and replaced on purpose, and nothing else happens to them.
    pub fn is_restarting_only(&self) -> bool {
        let is_on_purpose = |edit: &Edit| {
            matches!(edit, Edit::Image | Edit::BadImage | Edit::Upgrade | Edit::Pause | Edit::WhenScaled)
        };
        self.faults.is_empty() && self.loss == 0.0 && self.edits.iter().all(is_on_purpose)
    }

    /// A run in which clients must notice nothing (operator.md, "What must be true", 21).
    pub fn is_scaling_only(&self) -> bool {
        self.faults.is_empty() && self.edits == [Edit::Scale] && self.loss == 0.0
    }
}

impl ApiServer {
    fn draw(is_flawless: bool, rng: &mut SmallRng) -> Self {
        let fast = Duration::from_millis(rng.random_range(2..20));
        let is_flaky = !is_flawless && rng.random_bool(0.5);
        Self {
            takes: (fast, fast + Duration::from_millis(pick(rng, &[5, 50, 400]))),
            fails: if is_flaky { rng.random_range(0.0..0.1) } else { 0.0 },
            loses_answer: if is_flaky { rng.random_range(0.0..0.1) } else { 0.0 },
            lag: Duration::from_millis(pick(rng, &[0, 0, 500, 3_000])),
        }
    }
}

fn some<T: Copy>(all: &[T], likelihood: f64, rng: &mut SmallRng) -> Vec<T> {
    all.iter().copied().filter(|_| rng.random_bool(likelihood)).collect()
}

fn secs(rng: &mut SmallRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.random_range(from * 1_000..=to * 1_000))
}

fn pick<T: Copy>(rng: &mut SmallRng, from: &[T]) -> T {
    // The lists are written here, and none is empty.
    from.choose(rng).copied().unwrap_or(from[0])
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, replicas, replicas_max, nodes, .. } = self;
        let volumes = if self.has_local_volumes { "local" } else { "network" };
        let zones = if self.has_zones { "redundancy zones, " } else { "" };
        let upgrades = if self.has_upgrades { "upgrades by new members, " } else { "" };
        writeln!(
            f,
            "seed {seed}: {zones}{upgrades}{replicas} replicas at first, up to {replicas_max}, on {nodes} nodes with {volumes} volumes, restless for {:?}",
            self.restless
        )?;
        writeln!(
            f,
            "  group: election timeout {:?}, {} s of health for a vote, dead after {} s, {:.3} of messages lost",
            self.settings.election_timeout, self.stabilization_secs, self.dead_secs, self.loss
        )?;
        let ApiServer { takes, fails, loses_answer, lag } = self.api;
        writeln!(
            f,
            "  API server: a call takes {:?} to {:?}, {fails:.3} fail, {loses_answer:.3} lose their answer, reads are up to {lag:?} old",
            takes.0, takes.1
        )?;
        writeln!(
            f,
            "  {} operator(s), each dies after {:.2} of its calls; Pods take {:?} to {:?} to start",
            self.operators, self.death, self.start.0, self.start.1
        )?;
        writeln!(f, "  an edit every {:?} of: {:?}", self.edit_every, self.edits)?;
        write!(
            f,
            "  a fault every {:?} of: {:?}; nodes are cut off for up to {:?}",
            self.fault_every, self.faults, self.cut_max
        )
    }
}
