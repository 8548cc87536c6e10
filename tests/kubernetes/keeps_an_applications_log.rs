//! An application brings its own state machine (`spec.application.mode: Log`): a replica of it at every member proposes
//! entries and applies all of them.
//!
//! They see one log: what was acknowledged is in it, once, in the same order everywhere, while Pods are deleted and
//! members come and go; and a member that comes later begins from the snapshot that another replica offered.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quorate_client::{Client, Log, LogEvent};
use quorate_crds::ApplicationMode;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::cluster::{Cluster, PATIENCE};
use crate::load::get;
use crate::namespace::namespace;
use crate::wait::{Look, until};

/// Where a member speaks to the containers of its own Pod.
const PORT: u16 = 7401;
/// Its metrics.
const OPS_PORT: u16 = 7402;
/// How long one call waits: less than a client's default, because whose connection broke opens another one.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// Between two proposals of one replica.
const BETWEEN_PROPOSALS: Duration = Duration::from_millis(50);
/// Before another connection is tried.
const BETWEEN_CONNECTIONS: Duration = Duration::from_millis(500);
/// Entries that replicas acknowledge before the next thing happens.
const ENTRIES: usize = 30;

/// K22, K20, P1: over the end of the leader's Pod and a scale 3 → 5 → 3 every replica comes to the same entries; a snapshot trims the
/// log, and newcomers begin from it.
#[tokio::test]
async fn every_replica_of_an_application_applies_the_same_log() -> Result<()> {
    namespace("app-log", async |namespace| {
        let of_log = |spec: &mut quorate_crds::RaftClusterSpec| spec.application.mode = ApplicationMode::Log;
        let cluster = namespace.cluster("db").replicas(3).with(of_log).apply().await?;
        cluster.wait_ready(3).await?;
        let mut replicas = Replicas::default();
        replicas.join(&cluster).await?;
        replicas.go_on(ENTRIES).await?;
        cluster.restart(&cluster.leader().await?).await?;
        replicas.go_on(ENTRIES).await?;
        cluster.wait_ready(3).await?;

        let snapshot = replicas.offer_snapshot().await?;
        wait_trimmed(&cluster, snapshot).await?;
        cluster.scale(5).await?;
        cluster.wait_ready(5).await?;
        replicas.join(&cluster).await?;
        replicas.go_on(ENTRIES).await?;
        replicas.agree().await?;
        let newcomers = replicas.began_from(snapshot);
        ensure!(newcomers == 2, "{newcomers} replicas began from the snapshot, not the two that came later");

        cluster.scale(3).await?;
        cluster.wait_ready(3).await?;
        replicas.leave(&cluster).await?;
        replicas.go_on(ENTRIES).await?;
        let (acknowledged, in_all) = replicas.agree().await?;
        namespace.say(&format!(
            "{acknowledged} entries acknowledged, each once among the {in_all} of every replica; 2 began from a snapshot of {snapshot}"
        ));
        Ok(())
    })
    .await
}

/// Waits until every member says that nothing up to `snapshot` is kept.
async fn wait_trimmed(cluster: &Cluster<'_>, snapshot: u64) -> Result<()> {
    let line = format!("\nquorate_application_trimmed_index {snapshot}\n");
    until(&format!("the log to be trimmed up to {snapshot}"), PATIENCE, async || {
        for (name, pod) in cluster.pods().await? {
            let ip = pod
                .status
                .and_then(|status| status.pod_ip)
                .with_context(|| format!("{name} has no address"))?;
            if !get(&format!("{ip}:{OPS_PORT}"), "/metrics").await?.contains(&line) {
                return Ok(Look::NotYet(format!("it is not at {name}")));
            }
        }
        Ok(Look::Found(()))
    })
    .await
}

/// A member's port as a container of its Pod has it.
struct Forward {
    address: String,
    // It ends with them.
    _kubectl: Child,
    _lines: Lines<BufReader<ChildStdout>>,
}

impl Forward {
    async fn to(namespace: &str, pod: &str) -> Result<Self> {
        let mut kubectl = Command::new("kubectl")
            .args(["-n", namespace, "port-forward", &format!("pod/{pod}"), &format!(":{PORT}")])
            .stdout(Stdio::piped())
            // That a Pod is not there is no news: they are deleted here.
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(kubectl.stdout.take().context("kubectl has an output")?).lines();
        let line = lines.next_line().await?.with_context(|| format!("no connection to {pod}"))?;
        let address = line.strip_prefix("Forwarding from ").and_then(|rest| rest.split(' ').next());
        let address = address.with_context(|| format!("kubectl port-forward says {line:?}"))?.to_owned();
        Ok(Self { address, _kubectl: kubectl, _lines: lines })
    }

    fn log(&self) -> Result<Log> {
        Ok(Client::new(&self.address)?.with_timeout(CALL_TIMEOUT).log())
    }
}

/// Index and text of every entry, in the order in which they came.
type Entries = Vec<(u64, String)>;

/// What one replica has, durable as long as the test lives: its member's Pod may come and go.
#[derive(Default)]
struct State {
    entries: Entries,
    /// The snapshot that it began from.
    restored: Option<u64>,
    acknowledged: Entries,
}

impl State {
    fn applied(&self) -> u64 {
        self.entries.last().map_or(0, |(index, _)| *index)
    }

    /// What a snapshot of it holds: a line for each entry.
    fn text(&self) -> String {
        let lines: Vec<String> =
            self.entries.iter().map(|(index, text)| format!("{index} {text}\n")).collect();
        lines.concat()
    }

    fn restore(&mut self, text: &str, index: u64) -> Result<()> {
        let entry = |line: &str| -> Result<(u64, String)> {
            let (index, text) = line.split_once(' ').with_context(|| format!("no entry: {line}"))?;
            Ok((index.parse()?, text.to_owned()))
        };
        self.entries = text.lines().map(entry).collect::<Result<_>>()?;
        ensure!(self.applied() == index, "a snapshot of {index} ends with {}", self.applied());
        self.restored = Some(index);
        Ok(())
    }
}

/// One replica of the application, at one member; it ends when it is dropped.
struct Replica {
    namespace: String,
    pod: String,
    state: Arc<Mutex<State>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Replica {
    fn at(namespace: &str, pod: &str) -> Self {
        let state = Arc::<Mutex<State>>::default();
        let (namespace, pod) = (namespace.to_owned(), pod.to_owned());
        let following = tokio::spawn({
            let (namespace, pod, state) = (namespace.clone(), pod.clone(), Arc::clone(&state));
            async move {
                loop {
                    // Whatever ended it: it goes on after what it has.
                    let _ = follow_log(&namespace, &pod, &state).await;
                    sleep(BETWEEN_CONNECTIONS).await;
                }
            }
        });
        let proposing = tokio::spawn({
            let (namespace, pod, state) = (namespace.clone(), pod.clone(), Arc::clone(&state));
            async move {
                let mut number = 0;
                loop {
                    // What was not acknowledged may be in the log all the same; it is never proposed again.
                    let _ = propose(&namespace, &pod, &state, &mut number).await;
                    sleep(BETWEEN_CONNECTIONS).await;
                }
            }
        });
        Self { namespace, pod, state, tasks: [following, proposing] }
    }

    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Applies what is committed, over one connection.
async fn follow_log(namespace: &str, pod: &str, state: &Mutex<State>) -> Result<()> {
    let forward = Forward::to(namespace, pod).await?;
    let log = forward.log()?;
    let held = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let applied = held().applied();
    let mut events = log.subscribe(applied).await?;
    loop {
        match events.next().await? {
            LogEvent::Entries(entries) => {
                let mut state = held();
                for entry in entries {
                    state.entries.push((entry.index, String::from_utf8(entry.data.to_vec())?));
                }
                events.applied(state.applied());
            }
            LogEvent::SnapshotRequired(_) => {
                let file = tempfile::NamedTempFile::new()?;
                let snapshot = log.restore_snapshot(file.reopen()?).await?;
                return held().restore(&std::fs::read_to_string(file.path())?, snapshot.index);
            }
        }
    }
}

/// Proposes entries of one replica over one connection; no two have the same text.
async fn propose(namespace: &str, pod: &str, state: &Mutex<State>, number: &mut u64) -> Result<()> {
    let forward = Forward::to(namespace, pod).await?;
    let log = forward.log()?;
    loop {
        *number += 1;
        let text = format!("{pod}/{number}");
        let index = log.propose(text.clone()).await?;
        state.lock().unwrap_or_else(PoisonError::into_inner).acknowledged.push((index, text));
        sleep(BETWEEN_PROPOSALS).await;
    }
}

/// All of them, by their member's Pod.
#[derive(Default)]
struct Replicas {
    running: BTreeMap<String, Replica>,
    /// What was acknowledged to those that left.
    acknowledged: Entries,
}

impl Replicas {
    /// One for every Pod that has none yet.
    async fn join(&mut self, cluster: &Cluster<'_>) -> Result<()> {
        for pod in cluster.pods().await?.into_keys() {
            let namespace = &cluster.namespace.name;
            self.running.entry(pod.clone()).or_insert_with(|| Replica::at(namespace, &pod));
        }
        Ok(())
    }

    /// Those go whose Pods are gone.
    async fn leave(&mut self, cluster: &Cluster<'_>) -> Result<()> {
        let pods = cluster.pods().await?;
        let gone: Vec<String> = self.running.keys().filter(|pod| !pods.contains_key(*pod)).cloned().collect();
        for pod in gone {
            if let Some(replica) = self.running.remove(&pod) {
                self.acknowledged.extend(replica.look(|state| state.acknowledged.clone()));
            }
        }
        Ok(())
    }

    /// Waits until each replica has had so many more of its entries acknowledged.
    async fn go_on(&self, entries: usize) -> Result<()> {
        for replica in self.running.values() {
            let count = || replica.look(|state| state.acknowledged.len());
            let wanted = count() + entries / self.running.len();
            until(&format!("{} to have {wanted} entries acknowledged", replica.pod), PATIENCE, async || {
                let count = count();
                Ok(if count >= wanted { Look::Found(()) } else { Look::NotYet(count.to_string()) })
            })
            .await?;
        }
        Ok(())
    }

    /// One replica offers its state; the index of the last entry in it.
    async fn offer_snapshot(&self) -> Result<u64> {
        let replica = self.running.values().next().context("no replica")?;
        until("a snapshot to be taken", PATIENCE, async || {
            let (index, text) = replica.look(|state| (state.applied(), state.text()));
            let forward = Forward::to(&replica.namespace, &replica.pod).await?;
            let taken = forward.log()?.offer_snapshot(index, Cursor::new(text)).await?;
            Ok(Look::Found(taken.index))
        })
        .await
    }

    /// How many began from the snapshot of this entry.
    fn began_from(&self, snapshot: u64) -> usize {
        self.running.values().filter(|it| it.look(|state| state.restored == Some(snapshot))).count()
    }

    /// Waits until every replica has all that was acknowledged so far, and checks that it is there once and in the same place. How
    /// many were acknowledged, and how many entries there are up to the last of them.
    async fn agree(&self) -> Result<(usize, usize)> {
        let mut acknowledged = self.acknowledged.clone();
        for replica in self.running.values() {
            acknowledged.extend(replica.look(|state| state.acknowledged.clone()));
        }
        let last = acknowledged.iter().map(|(index, _)| *index).max().context("nothing was acknowledged")?;
        let mut same: Option<Entries> = None;
        for replica in self.running.values() {
            let pod = &replica.pod;
            until(&format!("{pod} to apply entry {last}"), PATIENCE, async || {
                let applied = replica.look(State::applied);
                Ok(if applied >= last { Look::Found(()) } else { Look::NotYet(applied.to_string()) })
            })
            .await?;
            let mut entries = replica.look(|state| state.entries.clone());
            let is_in_order = entries.windows(2).all(|pair| pair[0].0 < pair[1].0);
            ensure!(is_in_order, "{pod} got entries out of order, or one twice: {entries:?}");
            entries.retain(|(index, _)| *index <= last);
            let texts: BTreeSet<&String> = entries.iter().map(|(_, text)| text).collect();
            ensure!(texts.len() == entries.len(), "an entry is in the log of {pod} twice: {entries:?}");
            let found: BTreeSet<&(u64, String)> = entries.iter().collect();
            let lost: Vec<_> = acknowledged.iter().filter(|entry| !found.contains(entry)).collect();
            ensure!(
                lost.is_empty(),
                "acknowledged, and not where it should be in the log of {pod}: {lost:?}"
            );
            let first = same.get_or_insert_with(|| entries.clone());
            ensure!(*first == entries, "{pod} has another log: {entries:?}, and not {first:?}");
        }
        Ok((acknowledged.len(), same.map_or(0, |entries| entries.len())))
    }
}
