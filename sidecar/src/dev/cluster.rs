//! Several members in one process, and the operator's part in forming a cluster of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quorate_raft::{
    Address, Change, ClusterId, Intent, Membership, Mode, RaftId, RecoveryEpoch, Refusal, ServerId, Settings,
    Versions,
};
use quorate_store::Disk;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::info;

use super::authority::Authority;
use super::ports::MemberPorts;
use crate::autopilot::{DefaultSettings, Words};
use crate::driver::{CallError, ErrorKind, Handle, View};
use crate::exit::{Code, Failure};
use crate::member::Member;
use crate::serve::OutsideSettings;
use crate::settings::{MemberSettings, open_disk};

/// How a cluster differs from the usual.
#[derive(Clone)]
pub struct ClusterOptions {
    /// Chooses the ports of member `n`.
    pub ports: fn(u16) -> Result<MemberPorts, Failure>,
    /// Timing and retention.
    pub raft: Settings,
    /// What members speak that are new.
    pub versions: Versions,
    /// Clients from outside the Pod (K46).
    pub outside: Option<OutsideSettings>,
    /// The zone of member `n`; empty: none.
    pub zone: fn(u16) -> String,
    /// Whose defaults autopilot's settings have.
    pub defaults: DefaultSettings,
    /// What the cluster is for (K22); none: a new one is for keys, and one that is continued is what it is.
    pub mode: Option<Mode>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            ports: MemberPorts::free,
            raft: Settings::default(),
            versions: Versions::OURS,
            zone: |_| String::new(),
            defaults: DefaultSettings::HashiCorp,
            mode: None,
            outside: None,
        }
    }
}

/// One slot of the cluster; its member may be down.
struct Slot {
    settings: MemberSettings,
    ports: MemberPorts,
    member: Option<Member>,
}

/// Members on localhost under one throw-away CA.
pub struct Cluster {
    authority: Authority,
    id: ClusterId,
    admin_token: String,
    directory: PathBuf,
    options: ClusterOptions,
    /// The minimum for members that are new.
    recovery_epoch: RecoveryEpoch,
    slots: Vec<Slot>,
}

impl Cluster {
    /// Starts `count` members with data below `directory`, forms a cluster of them, and returns when all are
    /// members; votes follow (see [`Cluster::wait_until_all_vote`]).
    pub async fn start(count: usize, directory: &Path) -> Result<Self, Failure> {
        Self::start_with(count, directory, ClusterOptions::default()).await
    }

    /// As [`Cluster::start`], with options. A directory used before is continued.
    pub async fn start_with(
        count: usize,
        directory: &Path,
        options: ClusterOptions,
    ) -> Result<Self, Failure> {
        let cluster_id = remembered_cluster_id(directory)?;
        let authority = Authority::new(cluster_id.0)
            .map_err(|error| Failure::new(Code::Unavailable, format!("cannot create a CA: {error}")))?;
        let admin_token = uuid::Uuid::new_v4().simple().to_string();
        let mut cluster = Self {
            authority,
            id: cluster_id,
            admin_token,
            directory: directory.to_path_buf(),
            options,
            recovery_epoch: RecoveryEpoch::default(),
            slots: Vec::new(),
        };
        for _ in 0..count {
            cluster.start_member().await?;
        }
        if let Err(failure) = cluster.form().await {
            // Its directories are let go of.
            cluster.stop().await;
            return Err(failure);
        }
        Ok(cluster)
    }

    /// Starts one more member; it is in no configuration yet. Returns its number.
    pub async fn start_member(&mut self) -> Result<usize, Failure> {
        let disk = open_disk(&self.directory_of(self.slots.len()))?;
        self.start_member_on(disk).await
    }

    /// As [`Cluster::start_member`], on any disk.
    pub async fn start_member_on(&mut self, disk: Arc<dyn Disk>) -> Result<usize, Failure> {
        let number = self.slots.len();
        let short = u16::try_from(number).map_err(|_| Failure::new(Code::Usage, "too many members"))?;
        let ports = (self.options.ports)(short)?;
        let invalid = |error: &dyn std::fmt::Display| Failure::new(Code::Usage, error);
        let raft_id = RaftId::new(&format!("dev-{number}")).map_err(|error| invalid(&error))?;
        let advertise =
            Address::new(&format!("127.0.0.1:{}", ports.peer)).map_err(|error| invalid(&error))?;
        let issued = self.authority.issue(raft_id.as_str()).map_err(|error| invalid(&error))?;
        let credentials = issued.credentials().map_err(|error| invalid(&error))?;
        // The sender may go: nothing changes these certificates.
        let (_, credentials) = watch::channel(credentials);
        let settings = MemberSettings {
            name: raft_id.to_string(),
            cluster_id: self.id,
            disk,
            raft_id,
            recovery_epoch_min: self.recovery_epoch,
            recovery: None,
            versions: self.options.versions,
            advertise,
            credentials,
            admin_token: Some(self.admin_token.clone()),
            control_socket: None,
            kubernetes: None,
            outside: self.options.outside.clone(),
            defaults: self.options.defaults,
            node: String::new(),
            words: self.words(short).fixed(),
            is_reconciling: true,
        };
        self.slots.push(Slot { settings, ports, member: None });
        self.start_again(number).await?;
        Ok(number)
    }

    fn words(&self, number: u16) -> Words {
        Words {
            build: env!("CARGO_PKG_VERSION").to_owned(),
            zone: (self.options.zone)(number),
            ..Words::default()
        }
    }

    /// Starts a member that was stopped.
    pub async fn start_again(&mut self, number: usize) -> Result<(), Failure> {
        let slot = &mut self.slots[number];
        let addresses = slot.ports.addresses(slot.settings.outside.is_some());
        let settings = slot.settings.clone();
        slot.member = Some(Member::start_again(settings, &addresses, self.options.raft).await?);
        Ok(())
    }

    /// As [`Cluster::start_again`], but tried once.
    pub async fn start_now(&mut self, number: usize) -> Result<(), Failure> {
        let slot = &mut self.slots[number];
        let raft = self.options.raft;
        let addresses = slot.ports.addresses(slot.settings.outside.is_some());
        let started = Member::start_with(slot.settings.clone(), &addresses, raft).await;
        slot.member = Some(started?);
        Ok(())
    }

    /// Stops a member gracefully.
    pub async fn stop_member(&mut self, number: usize) {
        if let Some(member) = self.slots[number].member.take() {
            member.stop().await;
        }
    }

    /// Stops a member without handing anything over.
    pub async fn abort_member(&mut self, number: usize) {
        if let Some(member) = self.slots[number].member.take() {
            member.abort().await;
        }
    }

    /// A stopped member becomes one of another build (K24).
    pub fn set_versions(&mut self, number: usize, versions: Versions) {
        self.slots[number].settings.versions = versions;
    }

    /// Where a member's files are.
    pub fn member_directory(&self, number: usize) -> PathBuf {
        self.directory_of(number)
    }

    /// Makes a stopped member's directory anew, empty, as when its volume was lost.
    pub fn recreate_directory(&mut self, number: usize) -> Result<(), Failure> {
        self.slots[number].settings.disk = open_disk(&self.directory_of(number))?;
        Ok(())
    }

    /// Members that are new from now on are started for a cluster recovered at this epoch (K18).
    pub fn set_recovery_epoch(&mut self, epoch: RecoveryEpoch) {
        self.recovery_epoch = epoch;
    }

    fn directory_of(&self, number: usize) -> PathBuf {
        self.directory.join(format!("dev-{number}"))
    }

    /// A running member.
    ///
    /// # Panics
    /// If it is stopped.
    pub fn member(&self, number: usize) -> &Member {
        #[allow(clippy::expect_used)] // Asking a stopped member is a mistake of the caller's.
        self.slots[number].member.as_ref().expect("the member runs")
    }

    /// The way to ask a running member.
    pub fn handle(&self, number: usize) -> &Handle {
        self.member(number).handle()
    }

    /// A member's ports.
    pub fn ports(&self, number: usize) -> MemberPorts {
        self.slots[number].ports
    }

    /// How many slots there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The CA; it can issue a certificate for `operator`.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The cluster's ID.
    pub fn cluster_id(&self) -> ClusterId {
        self.id
    }

    /// Opens membership and autopilot writes on the plain ports (K23).
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// The number of the member that leads, waiting for one.
    pub async fn leader(&self, timeout: Duration) -> Result<usize, Failure> {
        let deadline = Instant::now() + timeout;
        loop {
            for (number, slot) in self.slots.iter().enumerate() {
                let Some(member) = &slot.member else { continue };
                let view = member.handle().view();
                if view.is_leader() && view.status.is_ready {
                    return Ok(number);
                }
            }
            if Instant::now() >= deadline {
                return Err(Failure::new(Code::Unavailable, format!("no leader within {timeout:?}")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Adds a running member as a non-voter meant to vote.
    pub async fn add_non_voter(&self, number: usize, deadline: Instant) -> Result<(), Failure> {
        self.add_for(number, Intent::Voter, deadline).await
    }

    /// Adds a running member as a non-voter with this intent.
    pub async fn add_for(&self, number: usize, intent: Intent, deadline: Instant) -> Result<(), Failure> {
        let server = self.handle(number).view().identity.server.clone();
        let address = self.slots[number].settings.advertise.clone();
        loop {
            let leader = self.handle(self.leader(deadline.saturating_duration_since(Instant::now())).await?);
            let status = leader.view().status.clone();
            let Some(latest) = &status.latest else { continue };
            if latest.configuration.contains(&server) {
                return Ok(());
            }
            let (id, address, intent) = (server.clone(), address.clone(), intent.clone());
            let versions = self.slots[number].settings.versions;
            let change = Change::AddNonVoter { id, address, intent, versions };
            match leader.change_membership(latest.index, change, deadline).await {
                Ok(_) => return Ok(()),
                // The picture was old, or the leader changed: look again.
                Err(error) if is_passing(&error) && Instant::now() < deadline => {
                    tokio::time::sleep(POLL).await;
                }
                Err(error) => return Err(Failure::new(Code::Unavailable, error)),
            }
        }
    }

    /// Waits until every running member has its vote.
    pub async fn wait_until_all_vote(&self, timeout: Duration) -> Result<(), Failure> {
        let votes = |view: &View| view.status.membership == Membership::Voter && view.is_ready;
        self.wait_until("every member votes", timeout, votes).await?;
        let leader = self.leader(timeout).await?;
        let voters = |view: &View| {
            let committed = view.status.committed.as_ref();
            committed.map_or(0, |committed| committed.configuration.voters().count())
        };
        let wanted = self.slots.iter().filter(|slot| slot.member.is_some()).count();
        let deadline = Instant::now() + timeout;
        let mut view = self.handle(leader).watch_view();
        let reached = view.wait_for(|view| voters(view) >= wanted);
        match tokio::time::timeout_at(deadline, reached).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Failure::new(Code::Unavailable, "not every member got its vote in time")),
        }
    }

    /// Waits until every running member's view is so.
    pub async fn wait_until(
        &self,
        what: &str,
        timeout: Duration,
        is_so: impl Fn(&View) -> bool,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + timeout;
        for member in self.slots.iter().filter_map(|slot| slot.member.as_ref()) {
            let mut view = member.handle().watch_view();
            let reached = view.wait_for(|view| is_so(view));
            if !matches!(tokio::time::timeout_at(deadline, reached).await, Ok(Ok(_))) {
                let view = member.handle().view();
                return Err(Failure::new(
                    Code::Unavailable,
                    format!(
                        "waited {timeout:?} in vain until {what}; the last state seen: {:?}",
                        view.status
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Waits until a member can't go on, and says why.
    pub async fn failed(&self) -> Failure {
        let failures =
            self.slots.iter().filter_map(|slot| slot.member.as_ref()).map(|member| Box::pin(member.failed()));
        futures::future::select_all(failures).await.0
    }

    /// Stops all, the leader last, so that leadership moves at most once.
    pub async fn stop(&mut self) {
        let (leaders, followers): (Vec<_>, Vec<_>) = self
            .slots
            .iter_mut()
            .filter_map(|slot| slot.member.take())
            .partition(|member| member.handle().view().is_leader());
        futures::future::join_all(followers.into_iter().map(Member::abort)).await;
        futures::future::join_all(leaders.into_iter().map(Member::abort)).await;
    }

    /// Bootstraps the first member if the cluster is new, then adds the others.
    async fn form(&self) -> Result<(), Failure> {
        let Some(first) = self.slots.first().and_then(|slot| slot.member.as_ref()) else { return Ok(()) };
        let deadline = Instant::now() + FORM_TIMEOUT;
        let view = first.handle().view();
        if let Some(latest) = &view.status.latest {
            let founded = latest.configuration.mode();
            if let Some(asked) = self.options.mode.filter(|asked| *asked != founded) {
                let why = Refusal::OtherMode { founded, asked };
                return Err(Failure::new(Code::Usage, why));
            }
        } else {
            let server: ServerId = view.identity.server.clone();
            first
                .handle()
                .bootstrap(self.id, server, self.options.mode.unwrap_or_default(), deadline)
                .await
                .map_err(|error| Failure::new(Code::Unavailable, error))?;
        }
        for number in 1..self.slots.len() {
            self.add_non_voter(number, deadline).await?;
            info!(member = number, "added");
        }
        Ok(())
    }

    /// How many voters a member knows of.
    pub fn voters(&self, number: usize) -> usize {
        let view = self.handle(number).view();
        view.status.latest.as_ref().map_or(0, |latest| latest.configuration.voters().count())
    }
}

/// Between two looks at something that has no channel to wait on.
const POLL: Duration = Duration::from_millis(20);
/// Bootstrap and additions together.
const FORM_TIMEOUT: Duration = Duration::from_secs(30);

fn is_passing(error: &CallError) -> bool {
    matches!(
        error.kind,
        ErrorKind::ConfigurationChanging
            | ErrorKind::ConfigurationMismatch
            | ErrorKind::NoLeader
            | ErrorKind::WouldLoseQuorum
            | ErrorKind::LeadershipLost
            | ErrorKind::Busy
    )
}

/// A cluster that is continued keeps its ID: the files name it.
fn remembered_cluster_id(directory: &Path) -> Result<ClusterId, Failure> {
    let path = directory.join("cluster-id");
    let failed = |error: std::io::Error| {
        Failure::new(Code::CannotCreate, format!("cannot use {}: {error}", path.display()))
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => u128::from_str_radix(text.trim(), 16)
            .map(ClusterId)
            .map_err(|_| Failure::new(Code::CorruptData, format!("{} holds no cluster ID", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let id = uuid::Uuid::new_v4().as_u128();
            std::fs::create_dir_all(directory).map_err(failed)?;
            std::fs::write(&path, format!("{id:032x}\n")).map_err(failed)?;
            Ok(ClusterId(id))
        }
        Err(error) => Err(failed(error)),
    }
}
