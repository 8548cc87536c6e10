//! What a seed draws: the size of the cluster, what may break in it, and how badly its parts behave.
//!
//! One seed is one run. Everything that is chosen later is drawn from the generator this starts, so a run is
//! replayed by its seed alone. The options are printed first, because they are the first thing one wants to know.
//!
//! Not every run has every kind of fault (swarm testing): what hides a bug in one is missing in another.

use std::fmt;
use std::time::Duration;

use quorate_raft::{Settings, Version, Versions};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::updates::Releases;

/// The behaviour of one run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What everything is drawn from.
    pub seed: u64,
    /// Members at the start, 3 to 7; membership changes move between 1 and one more than this.
    pub members: usize,
    /// Timing and retention of the group.
    pub settings: Settings,
    /// How the network behaves when it is whole.
    pub network: Links,
    /// A commit takes between the first and the second.
    pub sync: (Duration, Duration),
    /// How likely a machine flushes after it applied something: with it the log may be compacted.
    pub flush: f64,
    /// A flush takes between the first and the second, and more is applied meanwhile.
    pub flush_takes: (Duration, Duration),
    /// What may break; drawn from with equal likelihood.
    pub faults: Vec<Fault>,
    /// Mean time between two faults.
    pub fault_every: Duration,
    /// Mean time between two membership changes or transfers; none: the membership stays.
    pub change_every: Option<Duration>,
    /// How likely a transfer of an archive to a member that lacks it breaks off.
    pub fetch_breaks: f64,
    /// Mean time between two archives to be restored; none: there is none.
    pub restore_every: Option<Duration>,
    /// What the members' binaries speak.
    pub releases: Releases,
    /// Mean time between two members updated, or versions asked for; none: all run one release.
    pub update_every: Option<Duration>,
    /// When a majority is lost for good, from when faults begin; none: never.
    pub disaster_after: Option<Duration>,
    /// Clients, each one call at a time.
    pub clients: usize,
    /// Keys they share.
    pub keys: usize,
    /// The longest rest of a client between two calls.
    pub rest: Duration,
    /// How likely a client numbers its commands, so that it may send them again.
    pub numbered: f64,
    /// How long faults go on; then they stop and the cluster must converge.
    pub safety_phase: Duration,
}

/// The behaviour of links.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    /// How likely a message is lost, 0 to 0.2.
    pub loss: f64,
    /// How likely a message arrives twice.
    pub duplication: f64,
    /// Messages take between the first and the second.
    pub delay: (Duration, Duration),
    /// How likely a message takes ten times as long, so that later ones overtake it.
    pub straggler: f64,
}

/// What can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A member loses power.
    Power,
    /// A member loses power within a call of its disk.
    PowerWithin,
    /// All members lose power at once.
    PowerOfAll,
    /// A process is killed.
    Kill,
    /// A process is killed within a call of its disk.
    KillWithin,
    /// A process is stopped in order.
    Stop,
    /// A call of a disk fails.
    DiskCall,
    /// A disk is full for a while.
    DiskFull,
    /// A disk is slow for a while.
    DiskSlow,
    /// A process is paused for a while.
    Pause,
    /// A clock changes its rate.
    Clock,
    /// The network is cut in two.
    Partition,
    /// Some can speak to others, but not the other way round.
    PartitionOneWay,
    /// The leader is cut off.
    CutLeader,
    /// Links hold back what is sent over them.
    Clog,
    /// Members cannot dial the leader's process, though it lives.
    DialsRefused,
    /// The network is put back.
    Heal,
}

const FAULTS: [Fault; 16] = [
    Fault::Power,
    Fault::PowerWithin,
    Fault::PowerOfAll,
    Fault::Kill,
    Fault::KillWithin,
    Fault::Stop,
    Fault::DiskCall,
    Fault::DiskFull,
    Fault::DiskSlow,
    Fault::Pause,
    Fault::Clock,
    Fault::Partition,
    Fault::PartitionOneWay,
    Fault::CutLeader,
    Fault::Clog,
    Fault::DialsRefused,
];

/// How likely the transfer of an archive to a member that lacks it ends in the middle. Where hardly any gets through, the
/// others have forgotten the archive before the last one has it.
const FETCH_BREAKS: [f64; 3] = [0.25, 0.9, 0.98];

impl Options {
    /// Draws the options of `seed`, and hands out the generator for the rest of the run.
    pub fn draw(seed: u64) -> (Self, SmallRng) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let sync_min = Duration::from_micros(rng.random_range(50..3_000));
        let update_every = rng.random_bool(0.35).then(|| ms(&mut rng, 100, 1_500));
        let options = Self {
            seed,
            members: pick(&mut rng, &[3, 3, 3, 4, 5, 5, 6, 7]),
            settings: settings(&mut rng),
            network: Links::draw(&mut rng),
            sync: (sync_min, sync_min + ms(&mut rng, 1, 40)),
            flush: pick(&mut rng, &[0.01, 0.05, 0.3]),
            flush_takes: (sync_min, sync_min + Duration::from_millis(pick(&mut rng, &[10, 60, 300]))),
            faults: faults(&mut rng),
            fault_every: ms(&mut rng, 150, 4_000),
            change_every: rng.random_bool(0.8).then(|| ms(&mut rng, 300, 6_000)),
            fetch_breaks: pick(&mut SmallRng::seed_from_u64(!seed), &FETCH_BREAKS),
            restore_every: rng.random_bool(0.4).then(|| ms(&mut rng, 300, 6_000)),
            releases: releases(&mut rng, update_every.is_some()),
            update_every,
            disaster_after: rng.random_bool(0.25).then(|| ms(&mut rng, 500, 14_000)),
            clients: rng.random_range(1..=6),
            keys: rng.random_range(1..=4),
            rest: ms(&mut rng, 5, 150),
            numbered: pick(&mut rng, &[0.0, 0.5, 1.0]),
            safety_phase: ms(&mut rng, 6_000, 20_000),
        };
        (options, rng)
    }
}

impl Links {
    fn draw(rng: &mut SmallRng) -> Self {
        let delay_min = Duration::from_micros(rng.random_range(50..2_000));
        Self {
            // Half of the runs have a flawless network: then only the other faults are left to blame.
            loss: if rng.random_bool(0.5) { 0.0 } else { rng.random_range(0.0..0.2) },
            duplication: if rng.random_bool(0.5) { 0.0 } else { rng.random_range(0.0..0.1) },
            delay: (delay_min, delay_min + ms(rng, 1, 60)),
            straggler: if rng.random_bool(0.5) { 0.0 } else { rng.random_range(0.0..0.1) },
        }
    }
}

fn settings(rng: &mut SmallRng) -> Settings {
    let election_timeout = ms(rng, 400, 1_200);
    let retention_bytes = match rng.random_range(0..4) {
        0 => 0,
        1 => rng.random_range(500..8_000),
        2 => rng.random_range(8_000..200_000),
        _ => Settings::default().retention_bytes,
    };
    let kept_longer = pick(rng, &[1, 4]);
    Settings {
        heartbeat_interval: election_timeout / 10,
        election_timeout,
        check_quorum: election_timeout,
        early_pre_vote: rng.random_bool(0.8),
        retention_bytes,
        retention_bytes_max: retention_bytes * kept_longer,
        cache_bytes_max: pick(rng, &[300, 3_000, 30_000, Settings::default().cache_bytes_max]),
    }
}

fn faults(rng: &mut SmallRng) -> Vec<Fault> {
    let mut faults: Vec<_> = FAULTS.into_iter().filter(|_| rng.random_bool(0.5)).collect();
    // Where the network breaks it is also mended: mostly before the next break.
    let is_cut = |fault: &&Fault| {
        matches!(fault, Fault::Partition | Fault::PartitionOneWay | Fault::CutLeader | Fault::Clog)
    };
    let cuts = faults.iter().filter(is_cut).count();
    faults.extend(std::iter::repeat_n(Fault::Heal, cuts));
    faults
}

fn releases(rng: &mut SmallRng, are_two: bool) -> Releases {
    if !are_two {
        return Releases { old: Versions::OURS, new: Versions::OURS };
    }
    // Commands belong to version 1: where all begin with the one before, none may be written until it is raised.
    let version = Version(pick(rng, &[0, 1, 1]));
    let old = Versions { min: version, max: version };
    Releases { old, new: Versions { min: version, max: version.next() } }
}

fn ms(rng: &mut SmallRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.random_range(from..=to))
}

fn pick<T: Copy>(rng: &mut SmallRng, from: &[T]) -> T {
    // The lists are written here, and none is empty.
    from.choose(rng).copied().unwrap_or(from[0])
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Links { loss, duplication, delay, straggler } = self.network;
        writeln!(f, "seed {}: {} members, safety phase {:?}", self.seed, self.members, self.safety_phase)?;
        writeln!(
            f,
            "  group: election timeout {:?}, retention {} to {} bytes, {} bytes in memory, a flush after {:.0} % of applies",
            self.settings.election_timeout,
            self.settings.retention_bytes,
            self.settings.retention_bytes_max,
            self.settings.cache_bytes_max,
            self.flush * 100.0,
        )?;
        writeln!(
            f,
            "  network: loss {loss:.3}, duplication {duplication:.3}, delay {:?} to {:?}, stragglers {straggler:.3}",
            delay.0, delay.1
        )?;
        let (sync, flush) = (self.sync, self.flush_takes);
        writeln!(
            f,
            "  disk: a commit takes {:?} to {:?}, a flush {:?} to {:?}",
            sync.0, sync.1, flush.0, flush.1
        )?;
        writeln!(f, "  a fault every {:?} of: {:?}", self.fault_every, self.faults)?;
        match self.change_every {
            Some(every) => writeln!(f, "  a membership change or transfer every {every:?}")?,
            None => writeln!(f, "  the membership stays")?,
        }
        if let Some(every) = self.restore_every {
            let breaks = self.fetch_breaks;
            writeln!(
                f,
                "  an archive to be restored every {every:?}, transfers to who lacks it break: {breaks:.2}"
            )?;
        }
        if let Some(every) = self.update_every {
            let Releases { old, new } = self.releases;
            writeln!(f, "  releases that speak {old} and {new}, an update every {every:?}")?;
        }
        if let Some(after) = self.disaster_after {
            writeln!(f, "  a majority lost for good after {after:?}")?;
        }
        write!(
            f,
            "  {} clients on {} keys, rests up to {:?}, {:.0} % of them number their commands",
            self.clients,
            self.keys,
            self.rest,
            self.numbered * 100.0
        )
    }
}
