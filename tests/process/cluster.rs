//! Several members under one authority, formed as the operator forms them.

use std::time::Duration;

use quorate_api::v1::{MemberState, StatusResponse, Suffrage};
use quorate_sidecar::dev::Authority;
use tempfile::TempDir;

use crate::member::{CLUSTER_ID, Member};
use crate::operator::{Operator, leads};
use crate::ports::Ports;
use crate::roads::Roads;
use crate::story::Story;
use crate::wait::{PATIENCE, until};

/// How much of each member's log a failure shows.
const LOG_LINES: usize = 40;

/// A cluster on this machine. When a test fails, its story and the ends of the logs are printed.
pub(crate) struct Cluster {
    /// The processes; ended before the directory goes.
    pub(crate) members: Vec<Member>,
    /// Asks and changes.
    pub(crate) operator: Operator,
    /// What happened so far.
    pub(crate) story: Story,
    /// The ways between the members, if they are not direct.
    roads: Option<Roads>,
    directory: TempDir,
}

impl Cluster {
    /// Members that were never started.
    pub(crate) fn new(story: &Story, count: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(CLUSTER_ID).unwrap();
        let members = (0..count).map(|number| Member::new(number, directory.path(), &authority)).collect();
        let operator = Operator::new(&authority);
        Self { members, operator, story: story.clone(), roads: None, directory }
    }

    /// As [`Cluster::new`], with proxies between the members, which know each other by names.
    pub(crate) async fn with_roads(story: &Story, count: usize) -> Self {
        let mut cluster = Self::new(story, count);
        let mut roads = Roads::new(count, cluster.directory.path());
        for (number, member) in cluster.members.iter_mut().enumerate() {
            member.address = roads.address(number);
            member.hosts = Some(roads.hosts(number));
        }
        roads.build(&cluster.ports()).await;
        cluster.roads = Some(roads);
        cluster
    }

    /// The members' ports.
    pub(crate) fn ports(&self) -> Vec<Ports> {
        self.members.iter().map(|member| member.ports).collect()
    }

    /// The ways between the members.
    pub(crate) fn roads(&mut self) -> &mut Roads {
        self.roads.as_mut().unwrap()
    }

    /// Starts all, bootstraps the first, adds the others, and waits until all vote.
    pub(crate) async fn form(&mut self) {
        for number in 0..self.members.len() {
            self.start(number);
        }
        let (this, first) = (&*self, &self.members[0]);
        until("a bootstrap", PATIENCE, async || this.operator.bootstrap(first).await).await;
        for joiner in &this.members[1..] {
            until(&format!("{} to be added", joiner.name), PATIENCE, async || {
                let leader = this.leader_now().await?;
                this.operator.add(&this.members[leader], joiner).await
            })
            .await;
        }
        until("every member to vote", PATIENCE, async || {
            let leader = this.leader_now().await?;
            let servers = this.operator.list(&this.members[leader]).await?.servers;
            let voters = servers.iter().filter(|server| server.suffrage() == Suffrage::Voter).count();
            if voters == this.members.len() { Ok(()) } else { Err(format!("{voters} voters")) }
        })
        .await;
        this.all_ready().await;
        this.story.tell("the cluster is formed");
    }

    /// Starts a member.
    pub(crate) fn start(&mut self, number: usize) {
        self.story.tell(format!("{} is started", self.members[number].name));
        self.members[number].start();
    }

    /// Kills a member.
    pub(crate) fn kill(&mut self, number: usize) {
        self.story.tell(format!("{} is killed", self.members[number].name));
        self.members[number].kill();
    }

    /// The pictures of all members that run and answer.
    pub(crate) async fn statuses(&self) -> Vec<(usize, StatusResponse)> {
        let asked = self.members.iter().enumerate().filter(|(_, member)| member.is_up());
        let asked = asked.map(async |(number, member)| (number, self.operator.status(member).await));
        let answered = futures::future::join_all(asked).await;
        answered.into_iter().filter_map(|(number, status)| Some((number, status.ok()?))).collect()
    }

    /// The number of the member that leads now, as far as members that answer know; of two, the one of the newer term.
    pub(crate) async fn leader_now(&self) -> Result<usize, String> {
        let statuses = self.statuses().await;
        let leader =
            statuses.iter().filter(|(_, status)| leads(status)).max_by_key(|(_, status)| status.term);
        leader.map(|(number, _)| *number).ok_or_else(|| format!("no leader: {}", shown(&statuses)))
    }

    /// Waits for a leader.
    pub(crate) async fn leader(&self) -> usize {
        self.leader_within(PATIENCE).await
    }

    /// Waits for a leader, so long.
    pub(crate) async fn leader_within(&self, patience: Duration) -> usize {
        until("a leader", patience, async || self.leader_now().await).await
    }

    /// Waits until every member is up, votes, has caught up and knows a leader.
    pub(crate) async fn all_ready(&self) {
        until("every member to be ready", PATIENCE, async || {
            let statuses = self.statuses().await;
            let is_ready = |status: &StatusResponse| {
                status.is_ready
                    && status.member_state() == MemberState::Voter
                    && !status.leader_raft_id.is_empty()
            };
            let ready = statuses.iter().filter(|(_, status)| is_ready(status)).count();
            if ready == self.members.len() { Ok(()) } else { Err(shown(&statuses)) }
        })
        .await;
    }

    /// Asserts that no member ended by itself.
    pub(crate) fn assert_alive(&mut self) {
        self.members.iter_mut().for_each(Member::assert_alive);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        self.story.print();
        for member in &self.members {
            println!("\n---- the end of the log of {} ----\n{}", member.name, member.log_tail(LOG_LINES));
        }
    }
}

/// Pictures in a few words.
pub(crate) fn shown(statuses: &[(usize, StatusResponse)]) -> String {
    let one = |(_, status): &(usize, StatusResponse)| {
        format!(
            "{} {} term {} applied {} ready {} leader {:?}",
            status.name,
            status.role().as_str_name(),
            status.term,
            status.applied_index,
            status.is_ready,
            status.leader_raft_id
        )
    };
    statuses.iter().map(one).collect::<Vec<_>>().join("; ")
}
