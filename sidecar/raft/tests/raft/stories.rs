//! Golden stories: commands, then what the group says and becomes (`REWRITE=1` writes them anew).
//!
//! Time stands still but for `campaign`, `tick-election` and `tick-heartbeat`; nothing is delivered
//! but by `deliver`, `stabilize` and `send-snapshot`. Disks and machines are done at once unless
//! stopped. Requests are numbered in the order they are made, and answered by that number.
//!
//! | command | does |
//! |---|---|
//! | `group voters=(a,b) [nonvoters=(c)] [terms-a=(1,2)] [term-a=5] [retention=0] [retention-max=0]` | founds it and tells nothing; `terms-x` are x's entries after the first, `term-x` its term if higher, the retentions are in bytes |
//! | `add x` | x starts with an empty disk, in no configuration |
//! | `bootstrap x` | x, started empty, becomes the one voter of the cluster |
//! | `crash x`, `start x` | x loses what is not on its disk; it starts again from that |
//! | `campaign x` | x's election timer fires: time moves on to it, and only x notices |
//! | `tick-election on=(x,...)` | an election timeout passes, and only these notice |
//! | `tick-heartbeat x [times=n] [drop=...]` | a heartbeat interval passes for x; with `times` all that follows is delivered unseen |
//! | `propose x text [times=n]`, `barrier x`, `read x` | requests to x; n of them make n turns |
//! | `change x add=y [replica] [for=z]`, `change x promote=y`, `demote=y`, `remove=y [lost]` | a change of membership at x; `[expected=i] [stable=t]` if not the index and term in effect |
//! | `change x replace=y by=z [left]` | z gets the vote of y, in joint form; with `left` y was declared to go |
//! | `transfer x [to=y]` | x is asked to hand over leadership |
//! | `unreachable x to=y` | x hears that its connection to y broke |
//! | `deliver [from=x] [to=y] [drop=...]` | what is on the wire arrives, the answers not yet |
//! | `stabilize [drop=...]` | messages and their answers arrive until nothing is on the wire |
//! | `wire` | what is on the wire: for each direction the number of messages and the last one |
//! | `stop-disk x`, `persist x [writes=n]` | x's writes wait; n of them are done, without n all, and its disk goes on |
//! | `stop-machine x`, `apply x` | x's machine waits; it applies all, and goes on |
//! | `compact x` | x's state is flushed and synced: its log drops what it may |
//! | `send-snapshot x to=y [attempt=n] [unreported]`, `fail-snapshot x to=y` | the newest (nth) snapshot x was asked to send arrives, and x's transfer reports so; x's transfer fails |
//! | `log x` | x's log, an entry in each line |
//! | `state` | one line for each member |
//! | `status x` | the configuration at x, and how it supplies its peers |
//!
//! `drop=(x-y,z)` loses what goes from x to y, and all from and to z. `quiet` with any command that
//! delivers only counts the messages.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use datadriven::TestCase;
use quorate_raft::{
    Change, Index, Input, Intent, Message, Now, RaftId, RemoveReason, Settings, SnapshotMeta, Term, Ticket,
};

use crate::cluster::{CLUSTER, add, address, founded, id};
use crate::disk::Disk;
use crate::solo::command;
use crate::story::{Actor, LOST, Snapshot, Story};
use crate::story_text as text;

/// The arguments of a command.
struct Args<'a>(&'a TestCase);

impl Args<'_> {
    fn list(&self, name: &str) -> Vec<String> {
        self.0.args.get(name).cloned().unwrap_or_default()
    }

    fn value(&self, name: &str) -> Option<String> {
        self.list(name).first().cloned()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.value(name).map(|text| text.parse().expect("a number"))
    }

    fn flag(&self, name: &str) -> bool {
        self.0.args.contains_key(name)
    }

    /// The words without a value, and not flags.
    fn words(&self) -> Vec<String> {
        let is_flag = |word: &str| ["quiet", "left", "lost", "replica", "unreported"].contains(&word);
        let plain = self.0.args.iter().filter(|(word, list)| list.is_empty() && !is_flag(word));
        plain.map(|(word, _)| word.clone()).collect()
    }
}

impl Story {
    fn run(&mut self, case: &TestCase) -> String {
        let args = Args(case);
        let words = args.words();
        let member = words.iter().find(|word| self.members.contains_key(*word)).or(words.first());
        let x = member.cloned().unwrap_or_default();
        let other = words.iter().find(|word| **word != x).cloned().unwrap_or_default();
        match case.directive.as_str() {
            "group" => self.found(&args),
            "add" => self.add(&x, Disk::default(), self.members.len() as u64),
            "crash" => self.crash(&x),
            "start" => {
                self.start(&x);
                self.step(&x, Input::Tick);
            }
            "campaign" => self.campaign(&x),
            "tick-election" => self.tick_election(&args.list("on")),
            "tick-heartbeat" => self.tick_heartbeat(&x, args.number("times"), &args.list("drop")),
            "propose" => {
                for _ in 0..args.number("times").unwrap_or(1) {
                    let (ticket, command) = (self.ticket(), Bytes::from(other.clone()));
                    self.step(&x, Input::Propose { ticket, command });
                }
                if args.flag("times") {
                    self.said = format!("to #{}\n", self.requests);
                }
            }
            "bootstrap" | "barrier" | "read" | "change" | "transfer" => {
                self.request(&case.directive, &x, &args);
            }
            "unreachable" => self.step(&x, Input::PeerUnreachable(id(&args.value("to").unwrap()))),
            "deliver" => self.deliver(&args),
            "stabilize" => self.stabilize(&args.list("drop")),
            "wire" => self.show_wire(),
            "stop-disk" => self.actor(&x).is_disk_stopped = true,
            "persist" => self.persist(&x, args.number("writes")),
            "stop-machine" => self.actor(&x).is_machine_stopped = true,
            "apply" => {
                self.actor(&x).is_machine_stopped = false;
                self.apply(&x);
            }
            "compact" => self.compact(&x),
            "send-snapshot" => self.send_snapshot(&x, &args),
            "fail-snapshot" => self.fail_snapshot(&x, &args.value("to").unwrap()),
            "log" => self.show_log(&x),
            "state" => self.show_state(),
            "status" => self.show_status(&x),
            unknown => panic!("no such command: {unknown}"),
        }
        if args.flag("quiet") {
            self.count_said();
        }
        std::mem::take(&mut self.said)
    }

    /// Only the numbers of what was said.
    fn count_said(&mut self) {
        let messages = self.said.lines().filter(|line| !line.starts_with(' '));
        let (lost, delivered): (Vec<_>, Vec<_>) = messages.partition(|line| line.ends_with(LOST));
        self.said = format!("{} messages delivered, {} lost\n", delivered.len(), lost.len());
    }

    // ---- members

    fn found(&mut self, args: &Args<'_>) {
        let settings = Settings {
            retention_bytes: args.number("retention").unwrap_or(Settings::default().retention_bytes),
            retention_bytes_max: args
                .number("retention-max")
                .unwrap_or(Settings::default().retention_bytes_max),
            ..Settings::default()
        };
        *self = Self { now: Now(Duration::from_secs(10)), settings, ..Self::default() };
        let (voters, non_voters) = (args.list("voters"), args.list("nonvoters"));
        let voters: Vec<&str> = voters.iter().map(String::as_str).collect();
        let non_voters: Vec<&str> = non_voters.iter().map(String::as_str).collect();
        for (seed, name) in voters.iter().chain(&non_voters).enumerate() {
            let mut disk = founded(&voters, &non_voters, true);
            for (at, term) in args.list(&format!("terms-{name}")).iter().enumerate() {
                let term: u64 = term.parse().unwrap();
                disk.entries.push(command(term, at as u64 + 2, &format!("{term}.{at}")));
                disk.hard_state.term = Term(term);
            }
            if let Some(term) = args.number(&format!("term-{name}")) {
                disk.hard_state.term = Term(term);
            }
            self.add(name, disk, seed as u64);
        }
        for name in voters.iter().chain(&non_voters) {
            // What was committed before the story began is applied before it, too.
            self.step(name, Input::Tick);
        }
        self.said.clear();
    }

    // ---- time

    fn campaign(&mut self, name: &str) {
        // The next deadline may be another one, by which the commit index is stored (K6).
        for _ in 0..2 {
            self.now = self.raft(name).next_deadline().max(self.now);
            self.step(name, Input::Tick);
            if self.said.contains("asks whether") {
                return;
            }
        }
    }

    fn tick_election(&mut self, names: &[String]) {
        self.now = self.now.plus(self.settings.election_timeout);
        for name in names {
            self.step(name, Input::Tick);
        }
    }

    fn tick_heartbeat(&mut self, name: &str, times: Option<u64>, drop: &[String]) {
        for _ in 0..times.unwrap_or(1) {
            self.now = self.now.plus(self.settings.heartbeat_interval);
            self.step(name, Input::Tick);
            if times.is_some() {
                self.stabilize(drop);
                self.said.clear();
            }
        }
    }

    // ---- requests

    fn ticket(&mut self) -> Ticket {
        self.requests += 1;
        self.say(&format!("#{}", self.requests));
        Ticket(self.requests)
    }

    fn request(&mut self, kind: &str, name: &str, args: &Args<'_>) {
        let ticket = self.ticket();
        let input = match kind {
            "bootstrap" => {
                let mode = quorate_raft::Mode::KeyValue;
                Input::Bootstrap {
                    ticket,
                    cluster_id: CLUSTER,
                    server: id(name),
                    address: address(name),
                    mode,
                }
            }
            "barrier" => Input::Barrier { ticket },
            "read" => Input::ReadIndex { ticket },
            "transfer" => {
                let target = args.value("to").map(|target| RaftId::new(&target).unwrap());
                Input::TransferLeadership { ticket, target }
            }
            _ => {
                let status = self.raft(name).status();
                let latest = status.latest.map_or(Index(0), |latest| latest.index);
                let expected = args.number("expected").map_or(latest, Index);
                let stable_in_term = args.number("stable").map_or(status.term, Term);
                Input::ChangeMembership { ticket, expected, change: change(args, stable_in_term) }
            }
        };
        self.step(name, input);
    }

    // ---- the wire

    fn deliver(&mut self, args: &Args<'_>) {
        let (from, to, drop) = (args.value("from"), args.value("to"), args.list("drop"));
        let wanted = |message: &Message| {
            from.as_ref().is_none_or(|from| message.from.raft_id.as_str() == from)
                && to.as_ref().is_none_or(|to| message.to.raft_id.as_str() == to)
        };
        let (due, rest): (VecDeque<_>, VecDeque<_>) = self.wire.drain(..).partition(wanted);
        self.wire = rest;
        for message in due {
            self.receive(message, &drop);
        }
    }

    fn show_wire(&mut self) {
        let mut ways: BTreeMap<String, (usize, String)> = BTreeMap::new();
        for message in &self.wire {
            let way = format!("{}>{}", message.from.raft_id, message.to.raft_id);
            let (count, last) = ways.entry(way).or_default();
            *count += 1;
            *last = text::body(&message.body);
        }
        for (way, (count, last)) in ways {
            self.say(&format!("{way} {count}, the last: {last}"));
        }
    }

    // ---- snapshots

    fn compact(&mut self, name: &str) {
        let actor = self.actor(name);
        actor.disk.state = actor.state.clone();
        let applied = actor.disk.state.applied;
        self.step(name, Input::DurableApplied { applied });
    }

    fn send_snapshot(&mut self, name: &str, args: &Args<'_>) {
        let to = args.value("to").unwrap();
        let attempts: Vec<&Snapshot> =
            self.snapshots.iter().filter(|each| each.from == name && each.to == to).collect();
        let at = args.number("attempt").map_or(attempts.len(), |at| usize::try_from(at).unwrap());
        let snapshot = attempts[at - 1];
        let (term, epoch, state) = (snapshot.term, snapshot.epoch, snapshot.state.clone());
        let last = state.applied;
        let meta = SnapshotMeta { last, configuration: state.configuration.clone().unwrap() };
        self.say(&format!("{name}>{to} term {term}: snapshot {last}"));
        if !args.flag("unreported") {
            self.step(name, Input::SnapshotSent { to: id(&to), epoch, delivered: Some(last) });
        }
        self.actor(&to).received.insert(last, state);
        self.step(&to, Input::SnapshotReceived { from: id(name), term, epoch, meta });
    }

    fn fail_snapshot(&mut self, name: &str, to: &str) {
        let is_attempt = |each: &&Snapshot| each.from == name && each.to == to;
        let epoch = self.snapshots.iter().rfind(is_attempt).expect("an attempt").epoch;
        self.step(name, Input::SnapshotSent { to: id(to), epoch, delivered: None });
    }

    // ---- what is shown

    fn show_log(&mut self, name: &str) {
        let disk = &self.members[name].disk;
        let lines: Vec<String> = disk.entries.iter().map(text::entry).collect();
        let previous = disk.previous;
        if previous.index.0 > 0 {
            self.say(&format!("begins after {previous}"));
        }
        for line in lines {
            self.say(&line);
        }
    }

    fn show_state(&mut self) {
        let line = |(name, actor): (&String, &Actor)| match &actor.raft {
            Some(raft) => text::member(name, &raft.status(), &actor.disk),
            None => format!("{name} is down"),
        };
        let lines: Vec<String> = self.members.iter().map(line).collect();
        for line in lines {
            self.say(&line);
        }
    }

    fn show_status(&mut self, name: &str) {
        let status = self.raft(name).status();
        if let Some(latest) = &status.latest {
            let is_committed = status.committed.as_ref().is_some_and(|known| known.index == latest.index);
            let end = if is_committed { "" } else { ", not committed" };
            self.say(&format!(
                "configuration {}: {}{end}",
                latest.index,
                text::configuration(&latest.configuration)
            ));
        }
        for peer in &status.peers {
            self.say(&text::peer(peer));
        }
    }
}

fn change(args: &Args<'_>, stable_in_term: Term) -> Change {
    let named = |name: &str| args.value(name).map(|text| id(&text));
    if let Some(id) = named("promote") {
        Change::Promote { id, stable_in_term }
    } else if let Some(old) = named("replace") {
        let new = named("by").expect("who takes its vote");
        Change::Replace { old, new, stable_in_term, old_has_left: args.flag("left") }
    } else if let Some(id) = named("demote") {
        Change::Demote { id }
    } else if let Some(id) = named("remove") {
        let reason = if args.flag("lost") { RemoveReason::VolumeLost } else { RemoveReason::Requested };
        Change::Remove { id, reason }
    } else {
        let name = args.value("add").expect("a change");
        match (named("for"), args.flag("replica")) {
            (None, false) => add(&name),
            (old, _) => {
                let intent = old.map_or(Intent::ReadReplica, Intent::ReplacementFor);
                Change::AddNonVoter {
                    id: id(&name),
                    address: address(&name),
                    intent,
                    versions: quorate_raft::Versions::OURS,
                }
            }
        }
    }
}

const STORIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stories");

#[test]
fn the_stories_read_as_written() {
    datadriven::walk(STORIES, |file| {
        let mut story = Story::default();
        file.run(|case| story.run(case));
    });
}

/// raft.md 3, §7 (18): every scenario of the list has its story.
#[test]
fn every_scenario_of_the_list_has_its_story() {
    let names = [
        "async_storage_writes",
        "async_storage_writes_append_aba_race",
        "campaign",
        "campaign_learner_must_vote",
        "checkquorum",
        "confchange_disable_validation",
        "confchange_v1_add_single",
        "confchange_v1_remove_leader",
        "confchange_v1_remove_leader_stepdown",
        "confchange_v2_add_double_auto",
        "confchange_v2_add_double_implicit",
        "confchange_v2_add_single_auto",
        "confchange_v2_add_single_explicit",
        "confchange_v2_replace_leader",
        "confchange_v2_replace_leader_stepdown",
        "forget_leader",
        "forget_leader_prevote_checkquorum",
        "forget_leader_read_only_lease_based",
        "heartbeat_resp_recovers_from_probing",
        "lagging_commit",
        "prevote",
        "prevote_checkquorum",
        "probe_and_replicate",
        "replicate_pause",
        "single_node",
        "slow_follower_after_compaction",
        "snapshot_succeed_via_app_resp",
        "snapshot_succeed_via_app_resp_behind",
    ];
    for name in names {
        let story = std::fs::read_to_string(format!("{STORIES}/{name}.txt"));
        // A story says first what it shows.
        assert!(story.is_ok_and(|story| story.starts_with("# ")), "{name}");
    }
}
