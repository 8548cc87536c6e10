//! How a golden story prints what members say, hold and become.

use std::fmt::Write;

use quorate_raft::{
    AppendOutcome, Body, Configuration, Entry, Event, IndexedConfiguration, Intent, Membership, Payload,
    PeerStatus, Persist, ReplicationState, Role, Server, ServerId, Status, StepDownReason, Suffrage,
};

use crate::disk::Disk;

pub(crate) fn entry(entry: &Entry) -> String {
    let says = match &entry.payload {
        Payload::Noop => "no-op".to_owned(),
        Payload::Barrier => "barrier".to_owned(),
        Payload::Configuration(_) => "configuration".to_owned(),
        Payload::Command(text) => String::from_utf8_lossy(text).into_owned(),
    };
    format!("{} {says}", entry.id())
}

pub(crate) fn entries(list: &[Entry]) -> String {
    list.iter().map(entry).collect::<Vec<_>>().join(", ")
}

pub(crate) fn body(body: &Body) -> String {
    match body {
        Body::PreVoteRequest { proposed, last } => format!("would you elect me in {proposed}? last {last}"),
        Body::PreVoteResponse { granted, .. } => if *granted { "I would" } else { "I would not" }.to_owned(),
        Body::VoteRequest { last, is_transfer } => {
            let why = if *is_transfer { ", the leader asked me to" } else { "" };
            format!("elect me, last {last}{why}")
        }
        Body::VoteResponse { granted } => if *granted { "my vote" } else { "no vote" }.to_owned(),
        Body::AppendRequest { previous, entries: list, commit, .. } => {
            format!("append after {previous} [{}] commit {commit}", entries(list))
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
        Body::VolumeLost { recorded } => format!("{} is lost", recorded.raft_id),
    }
}

/// What a write holds, in the order storage does it.
pub(crate) fn persist(persist: &Persist) -> String {
    let mut parts = Vec::new();
    if let Some(hard) = &persist.hard_state {
        let vote = hard.vote.as_ref().map_or("nobody", |vote| vote.raft_id.as_str());
        parts.push(format!("term {}, vote for {vote}", hard.term));
    }
    if let Some(meta) = &persist.install {
        parts.push(format!("snapshot {} instead of the log", meta.last));
    }
    if let Some(from) = persist.truncate_from {
        parts.push(format!("drop from {from}"));
    }
    if !persist.entries.is_empty() {
        parts.push(format!("append [{}]", entries(&persist.entries)));
    }
    parts.push(format!("commit {}", persist.commit));
    parts.join("; ")
}

/// What people would want to know of an event; nothing of the rest. `latest` is the configuration
/// in effect after the turn, `own` the member it happens to.
pub(crate) fn event(event: &Event, own: &ServerId, latest: Option<&IndexedConfiguration>) -> Option<String> {
    let text = match event {
        Event::Campaigning { term, is_pre_vote: true } => {
            format!("asks whether it would be elected in {term}")
        }
        Event::Campaigning { term, is_pre_vote: false } => format!("campaigns in term {term}"),
        Event::BecameLeader { term } => format!("leads term {term}"),
        Event::SteppedDown { term, reason } => {
            let why = match reason {
                StepDownReason::HigherTerm => "there is a higher term",
                StepDownReason::QuorumLost => "too few voters answer",
                StepDownReason::NoVote => "its vote is gone",
            };
            format!("no longer leads term {term}: {why}")
        }
        Event::LeaderChanged { leader: Some(leader), .. } if leader == own => return None,
        Event::LeaderChanged { leader: Some(leader), .. } => format!("follows {}", leader.raft_id),
        Event::LeaderChanged { leader: None, .. } => "knows no leader".to_owned(),
        Event::ConfigurationChanged { index } => {
            // The first of two in one turn is out of date when it is told: only the last one is shown.
            let shown = latest.filter(|latest| latest.index == *index);
            let shown = shown.map(|latest| format!(": {}", configuration(&latest.configuration)));
            format!("takes configuration {index}{}", shown.unwrap_or_default())
        }
        Event::ConfigurationCommitted { index } => format!("has configuration {index} committed"),
        Event::Removed { .. } => "is removed".to_owned(),
        Event::SnapshotInstalled { last } => format!("takes the snapshot {last} for its state"),
        Event::InvalidMessage { problem, .. } => format!("ignores it: {problem:?}"),
        Event::VolumeLost { recorded, .. } => format!("hears that {} is lost", recorded.raft_id),
        _ => return None,
    };
    Some(text)
}

pub(crate) fn configuration(configuration: &Configuration) -> String {
    let name = |server: &Server| match &server.intent {
        Intent::Voter => server.id.raft_id.as_str().to_owned(),
        Intent::ReadReplica => format!("{} (replica)", server.id.raft_id),
        Intent::ReplacementFor(old) => format!("{} (for {})", server.id.raft_id, old.raft_id),
    };
    let names = |suffrages: &[Suffrage]| {
        let servers = configuration.servers().iter().filter(|server| suffrages.contains(&server.suffrage));
        servers.map(name).collect::<Vec<_>>().join(" ")
    };
    let voters = if configuration.is_joint() {
        let (old, new) = ([Suffrage::Voter, Suffrage::Outgoing], [Suffrage::Voter, Suffrage::Incoming]);
        format!("{} and {}, both must agree", names(&old), names(&new))
    } else {
        names(&[Suffrage::Voter])
    };
    let non_voters = names(&[Suffrage::NonVoter]);
    if non_voters.is_empty() {
        format!("voters {voters}")
    } else {
        format!("voters {voters}, non-voters {non_voters}")
    }
}

/// One line: what a member is, knows and holds.
pub(crate) fn member(name: &str, status: &Status, disk: &Disk) -> String {
    let role = match status.role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    };
    let place = match status.membership {
        Membership::Voter => "",
        Membership::NonVoter => " (non-voter)",
        Membership::Removed => " (removed)",
        Membership::NotYet => " (in no configuration yet)",
    };
    let compacted =
        if disk.previous.index.0 > 0 { format!(" after {}:", disk.previous) } else { String::new() };
    let leader = status.leader.as_ref().map_or("none", |leader| leader.id.raft_id.as_str());
    format!(
        "{name} {role}{place} term {} leader {leader} commit {} applied {} on disk{compacted}{}",
        status.term,
        status.commit,
        status.applied,
        terms(&disk.entries)
    )
}

/// The terms of a log; long runs are counted.
fn terms(entries: &[Entry]) -> String {
    const LONG: usize = 8;
    let mut text = String::new();
    for run in entries.chunk_by(|a, b| a.term == b.term) {
        let (term, count) = (run[0].term, run.len());
        if count > LONG {
            write!(text, " {term} ({count} times)").unwrap();
        } else {
            text.push_str(&format!(" {term}").repeat(count));
        }
    }
    text
}

/// One line: how a leader supplies a peer.
pub(crate) fn peer(peer: &PeerStatus) -> String {
    let how = match peer.replication {
        ReplicationState::Probe => "probe".to_owned(),
        ReplicationState::Replicate => "replicate".to_owned(),
        ReplicationState::Snapshot(None) => "snapshot".to_owned(),
        ReplicationState::Snapshot(Some(last)) => format!("snapshot {last}"),
    };
    let heard = peer
        .last_ack
        .map_or_else(|| "never heard".to_owned(), |age| format!("heard {} ms ago", age.as_millis()));
    format!("{} {how} matched {} next {}, {heard}", peer.id.raft_id, peer.matched, peer.next)
}
