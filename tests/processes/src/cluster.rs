//! Several members under one authority, formed as the operator forms them.

use std::path::Path;
use std::time::Duration;

use quorate_api::v1::{MemberState, StatusResponse, Suffrage};
use quorate_sidecar::dev::Authority;
use tempfile::TempDir;

use crate::member::{CLUSTER_ID, Member};
use crate::operator::{Operator, leads};
use crate::ports::Ports;
use crate::story::Story;
use crate::wait::{PATIENCE, until};

/// How much of each member's log a failure shows.
const LOG_LINES: usize = 40;

/// A cluster on this machine. When a panic ends it, as a failed test does, its story and the ends of the logs are printed.
pub struct Cluster {
    /// The processes; ended before the directory goes.
    pub members: Vec<Member>,
    /// Asks and changes.
    pub operator: Operator,
    /// What happened so far.
    pub story: Story,
    directory: TempDir,
}

impl Cluster {
    /// Members that were never started, of this program, with their files where temporary files are.
    pub fn new(story: &Story, count: usize, program: &Path) -> Self {
        Self::below(&std::env::temp_dir(), story, count, program)
    }

    /// The same with their files below `root`, whose disk matters.
    pub fn below(root: &Path, story: &Story, count: usize, program: &Path) -> Self {
        let directory = tempfile::tempdir_in(root)
            .unwrap_or_else(|error| panic!("a directory below {}: {error}", root.display()));
        let authority = Authority::new(CLUSTER_ID).unwrap();
        let members =
            (0..count).map(|number| Member::new(number, directory.path(), &authority, program)).collect();
        let operator = Operator::new(&authority);
        Self { members, operator, story: story.clone(), directory }
    }

    /// Where the members' files are, and further ones may be; it goes with the cluster.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The members' ports.
    pub fn ports(&self) -> Vec<Ports> {
        self.members.iter().map(|member| member.ports).collect()
    }

    /// Starts all, bootstraps the first, adds the others, and waits until all vote.
    pub async fn form(&mut self) {
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
    pub fn start(&mut self, number: usize) {
        self.story.tell(format!("{} is started", self.members[number].name));
        self.members[number].start();
    }

    /// Kills a member.
    pub fn kill(&mut self, number: usize) {
        self.story.tell(format!("{} is killed", self.members[number].name));
        self.members[number].kill();
    }

    /// The pictures of all members that run and answer.
    pub async fn statuses(&self) -> Vec<(usize, StatusResponse)> {
        let asked = self.members.iter().enumerate().filter(|(_, member)| member.is_up());
        let asked = asked.map(async |(number, member)| (number, self.operator.status(member).await));
        let answered = futures::future::join_all(asked).await;
        answered.into_iter().filter_map(|(number, status)| Some((number, status.ok()?))).collect()
    }

    /// The number of the member that leads now, as far as members that answer know; of two, the one of the newer term.
    pub async fn leader_now(&self) -> Result<usize, String> {
        let statuses = self.statuses().await;
        let leader =
            statuses.iter().filter(|(_, status)| leads(status)).max_by_key(|(_, status)| status.term);
        leader.map(|(number, _)| *number).ok_or_else(|| format!("no leader: {}", shown(&statuses)))
    }

    /// Waits for a leader.
    pub async fn leader(&self) -> usize {
        self.leader_within(PATIENCE).await
    }

    /// Waits for a leader, so long.
    pub async fn leader_within(&self, patience: Duration) -> usize {
        until("a leader", patience, async || self.leader_now().await).await
    }

    /// Waits until every member is up, votes, has caught up and knows a leader.
    pub async fn all_ready(&self) {
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
    pub fn assert_alive(&mut self) {
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
pub fn shown(statuses: &[(usize, StatusResponse)]) -> String {
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
