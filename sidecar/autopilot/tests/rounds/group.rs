//! A group of servers as a leader sees it, second by second: `group("a b c").non_voter("d")`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_autopilot::{
    Action, Defaults, Fact, Input, Membership, Observer, PodFact, Report, Round, Settings, SettingsChange,
    State, Stats, VersionInput, round,
};
use quorate_raft::{
    Address, Configuration, Incarnation, Index, Intent, LogId, Now, RaftId, Server, ServerId, Suffrage, Term,
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const STABILIZATION: Duration = Duration::from_secs(10);

pub(crate) fn id(name: &str) -> ServerId {
    ServerId::new(RaftId::new(name).unwrap(), Incarnation(7))
}

pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(Term(term), Index(index))
}

/// Heard this long ago, and level with the leader unless said otherwise.
pub(crate) fn stats(contact: Duration, last: LogId) -> Stats {
    Stats { last_contact: Some(contact), last, snapshot: None }
}

pub(crate) struct Group {
    pub(crate) now: Now,
    pub(crate) term: u64,
    pub(crate) configuration_index: u64,
    pub(crate) leader: Option<ServerId>,
    pub(crate) own_id: ServerId,
    pub(crate) last: LogId,
    pub(crate) servers: Vec<Server>,
    /// Heard 10 ms ago in every round, level with the leader.
    pub(crate) well: BTreeSet<ServerId>,
    /// Heard last at this time, or never; they are listed, so their silence is known.
    pub(crate) muted: BTreeMap<ServerId, Option<Now>>,
    /// What is said of the others, and of these instead.
    pub(crate) stats: BTreeMap<ServerId, Stats>,
    pub(crate) facts: BTreeMap<ServerId, Fact>,
    pub(crate) is_first_leadership: bool,
    pub(crate) is_changing: bool,
    pub(crate) reports: BTreeMap<ServerId, Report>,
    pub(crate) version: VersionInput,
    pub(crate) is_reconciling: bool,
    pub(crate) settings: Settings,
    pub(crate) observer: Observer,
}

/// Voters, the first of them leading; all of them well.
pub(crate) fn group(voters: &str) -> Group {
    let names: Vec<&str> = voters.split(' ').collect();
    let mut group = Group {
        now: Now(Duration::from_hours(1)),
        term: 3,
        configuration_index: 40,
        leader: Some(id(names[0])),
        own_id: id(names[0]),
        last: log_id(3, 1_000),
        servers: Vec::new(),
        well: BTreeSet::new(),
        muted: BTreeMap::new(),
        stats: BTreeMap::new(),
        facts: BTreeMap::new(),
        is_first_leadership: false,
        is_changing: false,
        reports: BTreeMap::new(),
        version: VersionInput::default(),
        is_reconciling: true,
        settings: Settings::new(&SettingsChange::default(), &Defaults::kubernetes(3)),
        observer: Observer::default(),
    };
    for name in names {
        group.add(name, Suffrage::Voter, Intent::Voter);
    }
    group
}

impl Group {
    pub(crate) fn add(&mut self, name: &str, suffrage: Suffrage, intent: Intent) {
        let address = Address::new(&format!("{name}.members:7400")).unwrap();
        self.servers.push(Server { id: id(name), address, suffrage, intent });
        self.well.insert(id(name));
    }

    /// Joined by servers that are meant to vote, and well.
    pub(crate) fn with_non_voters(mut self, names: &str) -> Self {
        for name in names.split(' ') {
            self.add(name, Suffrage::NonVoter, Intent::Voter);
        }
        self
    }

    pub(crate) fn silence(&mut self, name: &str) {
        self.well.remove(&id(name));
        self.stats.remove(&id(name));
    }

    pub(crate) fn hear(&mut self, name: &str) {
        self.muted.remove(&id(name));
        self.stats.remove(&id(name));
        self.well.insert(id(name));
    }

    /// From now on these are not heard any more, and the leader knows it.
    pub(crate) fn mute(&mut self, names: &str) {
        for name in names.split_whitespace() {
            self.well.remove(&id(name));
            self.muted.insert(id(name), Some(self.now));
        }
    }

    /// Never heard under this leader.
    pub(crate) fn never_heard(&mut self, names: &str) {
        for name in names.split_whitespace() {
            self.well.remove(&id(name));
            self.muted.insert(id(name), None);
        }
    }

    /// What it says of itself, to be changed.
    pub(crate) fn says(&mut self, name: &str) -> &mut Report {
        self.reports.entry(id(name)).or_default()
    }

    /// Puts servers into zones: `"a:x b:y"`.
    pub(crate) fn zones(&mut self, pairs: &str) {
        "zone".clone_into(&mut self.settings.redundancy_zone_tag);
        for (name, zone) in pairs.split(' ').filter_map(|pair| pair.split_once(':')) {
            self.says(name).zone = Some(zone.to_owned());
        }
    }

    /// Gives servers an upgrade version: `"a b", "1.0.0"`.
    pub(crate) fn versions(&mut self, names: &str, version: &str) {
        "version".clone_into(&mut self.settings.upgrade_version_tag);
        for name in names.split(' ') {
            self.says(name).upgrade_version = Some(version.to_owned());
        }
    }

    /// From now on this is what is known of it.
    pub(crate) fn report(&mut self, name: &str, stats: Stats) {
        self.well.remove(&id(name));
        self.stats.insert(id(name), stats);
    }

    pub(crate) fn fact(&mut self, name: &str, pod: PodFact, has_left: bool) {
        let fact = Fact { pod, has_left, is_claim_gone: false, observed: self.now };
        self.facts.insert(id(name), fact);
    }

    pub(crate) fn input(&self) -> Input {
        let well = self.well.iter().map(|id| (id.clone(), stats(Duration::from_millis(10), self.last)));
        let muted = self.muted.iter().map(|(id, heard)| {
            let last_contact = heard.map(|heard| self.now.since(heard));
            (id.clone(), Stats { last_contact, last: self.last, snapshot: None })
        });
        Input {
            now: self.now,
            own_id: self.own_id.clone(),
            own_last: self.last,
            membership: Membership {
                term: Term(self.term),
                leader: self.leader.clone(),
                is_first_leadership: self.is_first_leadership,
                configuration: Configuration::new(self.servers.clone()).unwrap(),
                configuration_index: Index(self.configuration_index),
                is_changing: self.is_changing,
            },
            stats: well.chain(muted).chain(self.stats.clone()).collect(),
            facts: self.facts.clone(),
            reports: self.reports.clone(),
            version: self.version,
            is_reconciling: self.is_reconciling,
        }
    }

    /// One round now.
    pub(crate) fn round(&mut self) -> Round {
        let input = self.input();
        round(&mut self.observer, &self.settings, &input)
    }

    /// One round after a pause.
    pub(crate) fn after(&mut self, pause: Duration) -> Round {
        self.now = self.now.plus(pause);
        self.round()
    }

    /// A round every second for so many seconds; the last one.
    pub(crate) fn seconds(&mut self, count: u64) -> Round {
        (1..count).for_each(|_| {
            self.after(SECOND);
        });
        self.after(SECOND)
    }
}

impl Group {
    /// Carries an action out, as the core would, and says it.
    pub(crate) fn carry_out(&mut self, action: &Action) -> String {
        self.configuration_index += 1;
        match action {
            Action::Promote { server, .. } => {
                self.server(server).suffrage = Suffrage::Voter;
                format!("promote {}", server.raft_id)
            }
            Action::Demote { server, .. } => {
                self.server(server).suffrage = Suffrage::NonVoter;
                format!("demote {}", server.raft_id)
            }
            Action::Remove { server, .. } => {
                self.servers.retain(|each| each.id != *server);
                format!("remove {}", server.raft_id)
            }
            Action::Replace { old, server, .. } => {
                self.servers.retain(|each| each.id != *old);
                let new = self.server(server);
                (new.suffrage, new.intent) = (Suffrage::Voter, Intent::Voter);
                format!("replace {} by {}", old.raft_id, server.raft_id)
            }
            Action::TransferLeadership { to, .. } => {
                self.lead(to.clone());
                format!("lead {}", to.raft_id)
            }
            Action::RaiseVersion { to, .. } => format!("raise to {to}"),
        }
    }

    /// A new term, led by this one.
    pub(crate) fn lead(&mut self, leader: ServerId) {
        self.term += 1;
        self.last = log_id(self.term, self.last.index.0 + 1);
        self.own_id = leader.clone();
        self.leader = Some(leader);
        self.observer = Observer::default();
    }

    fn server(&mut self, id: &ServerId) -> &mut Server {
        self.servers.iter_mut().find(|each| each.id == *id).unwrap()
    }

    /// A round every second for so many seconds, each carried out; what was done.
    pub(crate) fn live(&mut self, seconds: u64) -> Vec<String> {
        let mut done = Vec::new();
        for _ in 0..seconds {
            for action in self.after(SECOND).actions {
                done.push(self.carry_out(&action));
            }
        }
        done
    }

    /// As [`Group::live`], until the dead server threshold has passed and a while more, in ten steps a threshold.
    pub(crate) fn live_past_the_dead_threshold(&mut self) -> Vec<String> {
        let threshold = self.settings.dead_server_last_contact_threshold;
        let mut done = self.live(5);
        for _ in 0..10 {
            self.now = self.now.plus(threshold / 10);
            done.extend(self.live(1));
        }
        done.extend(self.live(10));
        done
    }

    /// Who votes, sorted by name.
    pub(crate) fn voters(&self) -> Vec<&str> {
        let voters = self.servers.iter().filter(|server| server.suffrage.has_vote());
        let mut names: Vec<&str> = voters.map(|server| server.id.raft_id.as_str()).collect();
        names.sort_unstable();
        names
    }
}

/// The kinds of reasons why something of this server is held back.
pub(crate) fn reasons(round: &Round, name: &str) -> Vec<(&'static str, &'static str)> {
    let of = round.state.blocked.iter().filter(|blocked| blocked.server == id(name));
    of.map(|blocked| (blocked.action.as_str(), blocked.reason.as_str())).collect()
}

/// Whom a round promotes.
pub(crate) fn promoted(round: &Round) -> Vec<String> {
    let name = |action: &Action| match action {
        Action::Promote { server, .. } | Action::Replace { server, .. } => Some(server.raft_id.to_string()),
        _ => None,
    };
    round.actions.iter().filter_map(name).collect()
}

/// Why a server is held back, for people.
pub(crate) fn blocked(round: &Round, name: &str) -> Option<String> {
    let entry = round.state.blocked.iter().find(|blocked| blocked.server == id(name))?;
    Some(entry.message(name))
}

pub(crate) fn is_healthy(state: &State, name: &str) -> bool {
    state.server(&id(name)).unwrap().health.is_healthy
}

pub(crate) fn stable_since(state: &State, name: &str) -> Now {
    state.server(&id(name)).unwrap().health.stable_since
}
