//! The driver's own eye on what passes through it: tells the [`Tally`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_raft::{Body, Configuration, Event, Message, Output, RaftId, Role, Sequence, StepDownReason};

use super::request::Ask;
use super::tally::{Count, PeerCount, Tally, as_f64};
use crate::link::FromPeer;

pub(super) struct Meter {
    tally: Arc<Tally>,
    role: Role,
    /// A leader's writes that storage has not confirmed; bounded as its queue is.
    writes: VecDeque<(Sequence, Instant)>,
    /// Peers with a label.
    peers: Vec<RaftId>,
}

impl Meter {
    pub(super) fn new(tally: Arc<Tally>) -> Self {
        Self { tally, role: Role::Follower, writes: VecDeque::new(), peers: Vec::new() }
    }

    pub(super) fn asked(&self, ask: &Ask) {
        match ask {
            Ask::Propose { .. } => self.tally.count(Count::Apply),
            Ask::ProposeMany(proposals) => self.tally.add(Count::Apply, proposals.len()),
            Ask::Barrier { .. } => self.tally.count(Count::Barrier),
            Ask::ReadIndex { .. } => self.tally.count(Count::VerifyLeader),
            _ => {}
        }
    }

    pub(super) fn heard(&self, from: &FromPeer) {
        match from {
            FromPeer::Message(message) => self.received(&message.body),
            FromPeer::Snapshot { .. } => self.tally.count(Count::RpcInstallSnapshot),
            _ => {}
        }
    }

    fn received(&self, body: &Body) {
        match body {
            Body::AppendRequest { entries, .. } => {
                self.tally.count(Count::RpcAppendEntries);
                self.tally.add(Count::RpcStoreLogs, entries.len());
            }
            Body::HeartbeatRequest { .. } => self.tally.count(Count::RpcHeartbeat),
            Body::VoteRequest { .. } => self.tally.count(Count::RpcRequestVote),
            Body::PreVoteRequest { .. } => self.tally.count(Count::RpcRequestPreVote),
            _ => {}
        }
    }

    /// Something the core puts out is about to be carried out.
    pub(super) fn saw(&mut self, output: &Output) {
        match output {
            Output::Persist(persist) if self.role == Role::Leader && !persist.entries.is_empty() => {
                self.tally.dispatch_num_logs.observe(as_f64(persist.entries.len()));
                self.writes.push_back((persist.sequence, Instant::now()));
            }
            Output::Compact { .. } => self.tally.count(Count::CompactLogs),
            Output::Send(message) => self.sent(message),
            Output::Apply(apply) => {
                self.tally.commit_num_logs.observe(as_f64(apply.entries.len()));
                self.tally.count(Count::FsmEnqueue);
            }
            Output::SendSnapshot { to, .. } => {
                self.tally.count(Count::SnapshotCreate);
                if self.peers.contains(&to.raft_id) {
                    self.tally.add_for(&to.raft_id, PeerCount::InstallSnapshot, 1);
                }
            }
            Output::Event(event) => self.event(event),
            _ => {}
        }
    }

    fn sent(&self, message: &Message) {
        let peer = &message.to.raft_id;
        if !self.peers.contains(peer) {
            // One that left, and is told so: it has no label any more.
            return;
        }
        match &message.body {
            Body::HeartbeatRequest { .. } => self.tally.add_for(peer, PeerCount::Heartbeat, 1),
            Body::AppendRequest { entries, .. } => {
                self.tally.add_for(peer, PeerCount::AppendRpc, 1);
                self.tally.add_for(peer, PeerCount::AppendLogs, entries.len());
            }
            _ => {}
        }
    }

    fn event(&self, event: &Event) {
        match event {
            Event::Campaigning { is_pre_vote: true, .. } => {
                // The tries after a first one that failed are no new reason.
                if self.role == Role::Follower {
                    self.tally.count(Count::HeartbeatTimeout);
                }
                self.tally.count(Count::PreElectSelf);
            }
            Event::Campaigning { .. } => self.tally.count(Count::ElectSelf),
            Event::SteppedDown { reason: StepDownReason::QuorumLost, .. } => {
                self.tally.count(Count::LeaseTimeout);
            }
            _ => {}
        }
    }

    /// Storage has confirmed its writes up to this one.
    pub(super) fn stored(&mut self, upto: Sequence) {
        while let Some((_, since)) = self.writes.pop_front_if(|(sequence, _)| *sequence <= upto) {
            self.tally.dispatch_log.observe(since.elapsed().as_secs_f64());
        }
    }

    /// A write that was proposed then is committed.
    pub(super) fn committed(&self, proposed: Option<Instant>) {
        if let Some(proposed) = proposed {
            self.tally.commit_time.observe(proposed.elapsed().as_secs_f64());
        }
    }

    /// A turn is over, in which the driver was busy for so long; what the core is now.
    pub(super) fn turned(&mut self, busy: Duration, role: Role) {
        self.tally.main_busy.inc_by(busy.as_secs_f64());
        if std::mem::replace(&mut self.role, role) != role {
            match role {
                Role::Follower => self.tally.count(Count::StateFollower),
                Role::Candidate => self.tally.count(Count::StateCandidate),
                Role::Leader => self.tally.count(Count::StateLeader),
                // Something of ours; what it leads to is counted.
                Role::PreCandidate => {}
            }
        }
    }

    /// The configuration changed: each peer in it is counted from now on, from zero.
    pub(super) fn follow(&mut self, own: &RaftId, configuration: &Configuration) {
        let is_gone = |id: &RaftId| configuration.by_raft_id(id).is_none();
        for gone in self.peers.iter().filter(|id| is_gone(id)) {
            self.tally.forget_departed(gone);
        }
        let ids = configuration.servers().iter().map(|server| &server.id.raft_id);
        self.peers = ids.filter(|id| *id != own).cloned().collect();
        for peer in &self.peers {
            self.tally.know(peer);
        }
    }
}
