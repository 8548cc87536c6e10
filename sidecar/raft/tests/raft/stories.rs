//! Golden stories: commands, then what the group says and becomes (`REWRITE=1` writes them anew).
//!
//! Time stands still but for `timeout` and `beat`; nothing is delivered but by `deliver`. Commands:
//!
//! | command | does |
//! |---|---|
//! | `group voters=(a,b) [nonvoters=(c)] [terms-a=(1,2)]` | founds it; `terms-x` are x's entries after the first |
//! | `timeout x` | x's election timer fires |
//! | `beat x [times=n drop=(x-y)]` | a heartbeat interval passes for leader x; several are delivered unseen |
//! | `propose x command` | x is given a command |
//! | `deliver [drop=(x-y,...)]` | messages arrive, and the answers to them, until it is quiet |
//! | `stop-disk x`, `sync-disk x` | x's writes wait; they are done |
//! | `state` | one line for each member |

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use datadriven::TestCase;
use quorate_raft::{
    AppendOutcome, Body, Entry, Event, Identity, Input, Message, Now, Output, Payload, Persist, Raft,
    RecoveryEpoch, Role, Settings, Ticket,
};

use crate::cluster::{CLUSTER, founded, id};
use crate::disk::Disk;
use crate::solo::command;

#[derive(Default)]
struct Story {
    now: Now,
    members: BTreeMap<String, Actor>,
    wire: VecDeque<Message>,
    said: String,
}

struct Actor {
    raft: Raft,
    disk: Disk,
    writes: VecDeque<Persist>,
    is_stopped: bool,
}

impl Story {
    fn run(&mut self, case: &TestCase) -> String {
        let named = |name: &str| case.args.get(name).cloned().unwrap_or_default();
        // A word without a value: the member's name, or what is proposed.
        let plain: Vec<String> =
            case.args.iter().filter(|(_, list)| list.is_empty()).map(|(word, _)| word.clone()).collect();
        let member = plain.iter().find(|word| self.members.contains_key(*word)).cloned().unwrap_or_default();
        match case.directive.as_str() {
            "group" => self.found(&named("voters"), &named("nonvoters"), named),
            "timeout" => {
                self.now = self.members[&member].raft.next_deadline().max(self.now);
                self.step(&member, Input::Tick);
            }
            "beat" => {
                let times = named("times").first().map_or(1, |times| times.parse::<u32>().unwrap());
                for _ in 0..times {
                    self.now = self.now.plus(Settings::default().heartbeat_interval);
                    self.step(&member, Input::Tick);
                    if times > 1 {
                        self.deliver(&named("drop"));
                        self.said.clear();
                    }
                }
            }
            "propose" => {
                let text = plain.iter().find(|word| **word != member).cloned().unwrap_or_default();
                self.step(&member, Input::Propose { ticket: Ticket(1), command: Bytes::from(text) });
            }
            "deliver" => self.deliver(&named("drop")),
            "stop-disk" => self.members.get_mut(&member).unwrap().is_stopped = true,
            "sync-disk" => {
                self.members.get_mut(&member).unwrap().is_stopped = false;
                self.sync(&member);
            }
            "state" => self.state(),
            other => panic!("no such command: {other}"),
        }
        std::mem::take(&mut self.said)
    }

    fn found(&mut self, voters: &[String], non_voters: &[String], named: impl Fn(&str) -> Vec<String>) {
        *self = Self { now: Now(Duration::from_secs(10)), ..Self::default() };
        let voters: Vec<&str> = voters.iter().map(String::as_str).collect();
        let non_voters: Vec<&str> = non_voters.iter().map(String::as_str).collect();
        for (seed, name) in voters.iter().chain(&non_voters).enumerate() {
            let mut disk = founded(&voters, &non_voters, true);
            for (at, term) in named(&format!("terms-{name}")).iter().enumerate() {
                let term: u64 = term.parse().unwrap();
                disk.entries.push(command(term, at as u64 + 2, &format!("{term}.{at}")));
                disk.hard_state.term = quorate_raft::Term(term);
            }
            let identity =
                Identity { cluster_id: CLUSTER, recovery_epoch: RecoveryEpoch(0), server: id(name) };
            let stored = disk.stored(1_000);
            let raft = Raft::new(identity, Settings::default(), stored, seed as u64, self.now).unwrap();
            let actor = Actor { raft, disk, writes: VecDeque::new(), is_stopped: false };
            self.members.insert((*name).to_owned(), actor);
        }
    }

    fn step(&mut self, name: &str, input: Input) {
        let mut out = Vec::new();
        self.members.get_mut(name).unwrap().raft.step(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Persist(persist) => self.members.get_mut(name).unwrap().writes.push_back(persist),
                Output::Send(message) => self.wire.push_back(message),
                Output::Apply(apply) => {
                    for entry in &apply.entries {
                        self.say(&format!("  {name} applies {}", entry_text(entry)));
                    }
                }
                Output::Event(event) => self.tell(name, &event),
                Output::Answer { result: Err(refusal), .. } => {
                    self.say(&format!("  {name} refuses: {refusal}"));
                }
                _ => {}
            }
        }
        if !self.members[name].is_stopped {
            self.sync(name);
        }
    }

    fn sync(&mut self, name: &str) {
        loop {
            let actor = self.members.get_mut(name).unwrap();
            let Some(persist) = actor.writes.pop_front() else { return };
            actor.disk.commit(&persist, None);
            self.step(name, Input::Persisted { sequence: persist.sequence });
        }
    }

    fn deliver(&mut self, dropped: &[String]) {
        while let Some(message) = self.wire.pop_front() {
            let (from, to) =
                (message.from.raft_id.as_str().to_owned(), message.to.raft_id.as_str().to_owned());
            let is_dropped = dropped.contains(&format!("{from}-{to}"));
            let lost = if is_dropped { "   (lost)" } else { "" };
            self.say(&format!("{from}>{to} term {}: {}{lost}", message.term, body_text(&message.body)));
            if !is_dropped {
                self.step(&to, Input::Receive(message));
            }
        }
    }

    fn tell(&mut self, name: &str, event: &Event) {
        match event {
            Event::BecameLeader { term } => self.say(&format!("  {name} leads term {term}")),
            Event::SteppedDown { term, .. } => self.say(&format!("  {name} no longer leads term {term}")),
            Event::InvalidMessage { .. } => self.say(&format!("  {name} ignores it: invalid")),
            _ => {}
        }
    }

    fn state(&mut self) {
        let mut lines = String::new();
        for (name, actor) in &self.members {
            let status = actor.raft.status();
            let role = match status.role {
                Role::Follower => "follower",
                Role::PreCandidate => "pre-candidate",
                Role::Candidate => "candidate",
                Role::Leader => "leader",
            };
            let terms: Vec<String> = actor.disk.entries.iter().map(|entry| entry.term.to_string()).collect();
            let (term, commit, log) = (status.term, status.commit, terms.join(" "));
            writeln!(lines, "{name} {role} term {term} commit {commit} on disk {log}").unwrap();
        }
        self.said.push_str(&lines);
    }

    fn say(&mut self, line: &str) {
        self.said.push_str(line);
        self.said.push('\n');
    }
}

fn entry_text(entry: &Entry) -> String {
    let says = match &entry.payload {
        Payload::Noop => "no-op".to_owned(),
        Payload::Barrier => "barrier".to_owned(),
        Payload::Configuration(_) => "configuration".to_owned(),
        Payload::Command(text) => String::from_utf8_lossy(text).into_owned(),
    };
    format!("{} {says}", entry.id())
}

fn body_text(body: &Body) -> String {
    match body {
        Body::PreVoteRequest { proposed, last } => format!("would you elect me in {proposed}? last {last}"),
        Body::PreVoteResponse { granted, .. } => if *granted { "I would" } else { "I would not" }.to_owned(),
        Body::VoteRequest { last, .. } => format!("elect me, last {last}"),
        Body::VoteResponse { granted } => if *granted { "my vote" } else { "no vote" }.to_owned(),
        Body::AppendRequest { previous, entries, commit, .. } => {
            let entries: Vec<String> = entries.iter().map(entry_text).collect();
            format!("append after {previous} [{}] commit {commit}", entries.join(", "))
        }
        Body::AppendResponse { outcome: AppendOutcome::Accepted { matched }, .. } => {
            format!("matches to {matched}")
        }
        Body::AppendResponse { outcome: AppendOutcome::Rejected { previous, hint }, .. } => {
            format!("no match at {previous}, perhaps {hint}")
        }
        Body::HeartbeatRequest { round, .. } => format!("heartbeat, round {}", round.0),
        Body::HeartbeatResponse { round, commit, .. } => format!("here, round {}, commit {commit}", round.0),
        Body::TimeoutNow => "campaign now".to_owned(),
        Body::VolumeLost { recorded } => format!("{recorded} is lost"),
    }
}

#[test]
fn the_stories_read_as_written() {
    datadriven::walk(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stories"), |file| {
        let mut story = Story::default();
        file.run(|case| story.run(case));
    });
}
