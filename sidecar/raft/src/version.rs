//! The version gate: nothing is written that a member does not read (K24, S27).
//!
//! ```text
//! build       reads and writes   1 … 2     1 … 2     1 … 2          each binary: N−1 and N
//! connection                     told      told      told           present ones only, non-voters too
//! cluster                        1 ────────────────▶ 2              one step, by a configuration entry
//! entries of kinds since 2       refused             appended
//! ```
//!
//! The cluster's version stands in its configuration, so it is replicated, snapshotted, rolled back and
//! recovered with it, and raised as any other change: one at a time, on an expected index, checked when it
//! is appended. Formats follow the *committed* one. When it is time to raise it is the autopilot's judgement.
//! Invariant: each server of the latest configuration spoke the version it is raised to when it was raised.

use quorate_mutants::{Mutant, broken};

use crate::entry::{Entry, Payload};
use crate::membership::Configuration;
use crate::output::Event;
use crate::raft::Raft;
use crate::refusal::Refusal;
use crate::types::{ServerId, Version, Versions};

impl Payload {
    /// The table: since which version of the cluster a kind is written. A leader's first entry and
    /// configurations carry the gate itself and wait for nothing.
    pub const fn since(&self) -> Version {
        match self {
            Self::Noop | Self::Configuration(_) => Version(0),
            Self::Command(_) | Self::Barrier => Version(1),
        }
    }
}

impl Raft {
    /// The version everything is written in: that of the newest committed configuration (of a new cluster
    /// the only one). None before the first. It never falls, so a lagging member knows too little, never too much.
    pub(crate) fn version(&self) -> Option<Version> {
        let committed = self.configurations.committed().filter(|_| !broken(Mutant::K24Committed));
        let known = committed.or(self.configurations.latest());
        known.map(|known| known.configuration.version())
    }

    /// A connection to a peer began (and says what it speaks) or ended.
    pub(crate) fn peer_versions(&mut self, id: ServerId, versions: Option<Versions>) {
        let is_server = |id: &ServerId| {
            self.configurations.latest().is_some_and(|latest| latest.configuration.contains(id))
        };
        match versions.filter(|_| is_server(&id)) {
            Some(versions) => drop(self.versions.insert(id, versions)),
            None if broken(Mutant::K24Raise) => {}
            None => drop(self.versions.remove(&id)),
        }
    }

    /// Who left is not remembered: if it comes back, it must say again what it speaks.
    pub(crate) fn forget_versions(&mut self, configuration: &Configuration) {
        self.versions.retain(|id, _| configuration.contains(id));
    }

    /// Entries of a new kind wait until every member reads them.
    pub(crate) fn check_kind(&self, payload: &Payload) -> Result<(), Refusal> {
        let needed = payload.since();
        match self.version().filter(|cluster| *cluster < needed && !broken(Mutant::K24Kind)) {
            Some(cluster) => Err(Refusal::VersionTooLow { needed, cluster }),
            None => Ok(()),
        }
    }

    /// A server that joins must speak the cluster's version.
    pub(crate) fn check_joining(&self, id: &ServerId, versions: Versions) -> Result<(), Refusal> {
        self.version()
            .filter(|_| !broken(Mutant::K24Join))
            .map_or(Ok(()), |version| check_speaks(id, Some(versions), version))
    }

    /// All servers of the configuration, by what their present connections say, speak `to`.
    pub(crate) fn check_raise(&self, next: &Configuration, to: Version) -> Result<(), Refusal> {
        next.servers().iter().try_for_each(|server| {
            let own = (server.id == *self.id()).then_some(self.identity.versions);
            check_speaks(&server.id, own.or(self.versions.get(&server.id).copied()), to)
        })
    }

    /// Whether a leader's entries or snapshot would take us to a version that we do not speak; then nothing
    /// of it is taken, and people are told. The gate makes it impossible unless this binary was replaced since.
    pub(crate) fn is_beyond_us(&mut self, from: &ServerId, newest: Option<Version>) -> bool {
        let is_newer = |newest: &Version| *newest > self.identity.versions.max && !broken(Mutant::S27);
        let Some(version) = newest.filter(is_newer) else { return false };
        self.event(Event::VersionTooNew { from: from.clone(), version });
        true
    }
}

/// The newest version of the cluster that `entries` bring.
pub(crate) fn newest_version(entries: &[Entry]) -> Option<Version> {
    entries.iter().filter_map(|entry| entry.payload.configuration()).map(Configuration::version).max()
}

fn check_speaks(id: &ServerId, spoken: Option<Versions>, version: Version) -> Result<(), Refusal> {
    if spoken.is_some_and(|versions| versions.contains(version)) {
        return Ok(());
    }
    Err(Refusal::VersionNotSpoken { id: id.clone(), spoken, version })
}
