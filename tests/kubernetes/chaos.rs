//! Everything that can happen to a cluster, drawn from a seed, while visitors come through every Pod and Service.
//!
//! The user sees pauses. Afterwards no acknowledged visit is lost, every answer was in order, the cluster has the size asked
//! for, and nothing is left over. `make chaos [MINUTES=n] [SEED=s]`; without them a few minutes from one seed.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::bed::{OPERATOR_NAMESPACE, acting_operator, attempt, fault, kubectl, operators_ready};
use crate::cluster::{Cluster, condition, container};
use crate::forms_and_scales::bootstrapped_once;
use crate::history::History;
use crate::load::Load;
use crate::namespace::namespace_alone;
use crate::wait::{Look, until};

/// Without `CHAOS_MINUTES`.
const MINUTES_DEFAULT: u64 = 5;
/// Without `CHAOS_SEED`: a change is judged by the same draw as the one before.
const SEED_DEFAULT: u64 = 1;
/// The nodes of the bed.
const NODES: [&str; 4] = ["n0", "n1", "n2", "n3"];
/// Sizes that are asked for.
const SIZES: [u32; 2] = [3, 5];
/// The longest pause between two faults.
const PAUSE_MAX: Duration = Duration::from_secs(8);
/// How long a fault holds that is undone again: up to an election, and well beyond the time a node is called unreachable.
const HOLD_SECONDS: std::ops::RangeInclusive<f64> = 1.0..=25.0;
/// One command of ours; the API server may be the one that does not answer.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(40);
/// After the last fault: containers that ended often are started again after five minutes only.
const CALM: Duration = Duration::from_mins(10);
/// The application's port, as the Services have it.
const PORT: u16 = 8080;

/// What can happen.
#[derive(Clone, Debug)]
enum Fault {
    CutNode(&'static str),
    Drain(&'static str),
    PauseApiServer,
    PauseSidecar(Member),
    KillSidecar(Member),
    DeletePod(Member),
    LoseVolume(Member),
    KillOperator,
    Scale(u32),
    EditTemplate(u32),
}

/// A member and its node.
#[derive(Clone, Debug)]
struct Member {
    pod: String,
    node: String,
}

struct Chaos<'a> {
    cluster: &'a Cluster<'a>,
    draw: SmallRng,
    size: u32,
    edits: u32,
    /// What holds, and until when.
    held: Vec<(Instant, Fault)>,
}

/// operator.md §8.18-24, §8.28, §8.30, §8.33; I8, I10; api.md: linearizable through every member and Service.
#[tokio::test]
async fn whatever_happens_nothing_is_lost_and_the_cluster_is_ready_in_the_end() -> Result<()> {
    let seed = from_environment("CHAOS_SEED", SEED_DEFAULT)?;
    let minutes = from_environment("CHAOS_MINUTES", MINUTES_DEFAULT)?;
    namespace_alone("chaos", async |namespace| {
        namespace.say(&format!("seed {seed}; again: make chaos MINUTES={minutes} SEED={seed}"));
        let mut app = container("localhost/quorate-example:dev");
        app["ports"] = json!([{"name": "http", "containerPort": PORT}]);
        let template = json!({"spec": {"containers": [app]}});
        let cluster = namespace.cluster("db").replicas(3).with_template(&template)?.apply().await?;
        let history = History::of(&cluster);
        let began_as = cluster.wait_ready(3).await?.cluster_id;
        bootstrapped_once(&cluster).await?;
        let load = Load::with(&cluster, services(&cluster).await?);
        let draw = SmallRng::seed_from_u64(seed);
        let mut chaos = Chaos { cluster: &cluster, draw, size: 3, edits: 0, held: Vec::new() };
        let raged = chaos.rage(Duration::from_mins(minutes)).await;
        // Whatever happened, other tests need the bed.
        chaos.calm().await?;
        raged?;
        let size = chaos.size;
        let is_now = ready_again(&cluster, size).await?;
        // Not by the event of a second bootstrap: Kubernetes forgets events after an hour.
        ensure!(is_now == began_as, "another cluster was begun: {is_now:?}, it was {began_as:?}");
        load.finish(&cluster).await?;
        history.had_one_leader_a_term()?;
        nothing_is_left_over(&cluster, size).await
    })
    .await
}

/// A number that may be set.
pub(crate) fn from_environment(key: &str, default: u64) -> Result<u64> {
    match std::env::var(key) {
        Ok(text) if !text.is_empty() => text.parse().with_context(|| format!("{key}={text} is not a number")),
        _ => Ok(default),
    }
}

/// The leader's Service and the one for all, by address.
async fn services(cluster: &Cluster<'_>) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for name in ["db-leader", "db-read"] {
        let address = ["get", "service", name, "-o", "jsonpath={.spec.clusterIP}"];
        let ip = cluster.namespace.kubectl(&address).await?;
        found.push((name.to_owned(), format!("{ip}:{PORT}")));
    }
    Ok(found)
}

impl Chaos<'_> {
    async fn rage(&mut self, lasts: Duration) -> Result<()> {
        let ends = Instant::now() + lasts;
        while Instant::now() < ends {
            let fault = self.drawn().await;
            self.begin(fault).await;
            // Not a wait for anything: the moment of the next fault is what is drawn.
            sleep(PAUSE_MAX.mul_f64(self.draw.random())).await;
            let (over, held) = self.held.drain(..).partition(|(until, _)| *until <= Instant::now());
            self.held = held;
            for (_, fault) in over {
                self.undo(&fault).await;
            }
        }
        Ok(())
    }

    /// The next fault. What is drawn is the kind and a place; who is there is asked, and may not be known now.
    async fn drawn(&mut self) -> Fault {
        let node = NODES[self.draw.random_range(0..NODES.len())];
        let place: usize = self.draw.random_range(0..60);
        let kind = self.draw.random_range(0..20);
        let size = SIZES[self.draw.random_range(0..SIZES.len())];
        let member = self.member(place).await;
        match (kind, member) {
            (0..=3, _) => Fault::CutNode(node),
            (4, _) => Fault::Drain(node),
            (5, _) => Fault::PauseApiServer,
            (6..=7, Some(member)) => Fault::PauseSidecar(member),
            (8..=9, Some(member)) => Fault::KillSidecar(member),
            (10..=12, Some(member)) => Fault::DeletePod(member),
            (13..=14, Some(member)) if self.can_lose_a_volume().await => Fault::LoseVolume(member),
            (13..=15, _) => Fault::KillOperator,
            (16..=17, _) => Fault::Scale(size),
            _ => Fault::EditTemplate(self.edits + 1),
        }
    }

    async fn member(&self, place: usize) -> Option<Member> {
        let pods = timeout(COMMAND_TIMEOUT, self.cluster.pods()).await.ok()?.ok()?;
        let members: Vec<Member> = pods
            .into_iter()
            .filter_map(|(pod, found)| Some(Member { pod, node: found.spec?.node_name? }))
            .collect();
        members.get(place % members.len().max(1)).cloned()
    }

    /// A volume that is lost while others are away may be the last one with an acknowledged write: that is no defect.
    async fn can_lose_a_volume(&self) -> bool {
        let Ok(Ok(status)) = timeout(COMMAND_TIMEOUT, self.cluster.status()).await else { return false };
        let is_ready = condition(&status, "Ready").is_some_and(|ready| ready.status == "True");
        self.held.is_empty() && is_ready && status.failure_tolerance.is_some_and(|more| more >= 1)
    }

    /// Faults are commands, and what they disturb may be what they need: one that could not be done is said and left.
    async fn begin(&mut self, fault: Fault) {
        let hold = Duration::from_secs_f64(self.draw.random_range(HOLD_SECONDS));
        let done = timeout(COMMAND_TIMEOUT, self.do_it(&fault)).await.context("it takes too long");
        match done.and_then(|done| done) {
            Ok(()) => self.say(&format!("{fault:?}")),
            Err(error) => self.say(&format!("{fault:?} could not be done: {error:#}")),
        }
        if matches!(
            fault,
            Fault::CutNode(_) | Fault::Drain(_) | Fault::PauseApiServer | Fault::PauseSidecar(_)
        ) {
            self.held.push((Instant::now() + hold, fault));
        }
    }

    async fn do_it(&mut self, what: &Fault) -> Result<()> {
        let namespace = self.cluster.namespace;
        match what {
            Fault::CutNode(node) => fault(&["cut", node]).await.map(drop),
            Fault::PauseApiServer => fault(&["pause-api"]).await.map(drop),
            Fault::Drain(node) => {
                let words =
                    ["drain", *node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=20s"];
                // It may well not come to its end in time; then the node is cordoned, and some Pods are gone.
                attempt("kubectl", &words, None).await.map(drop)
            }
            Fault::PauseSidecar(member) => self.signal("pause-container", member).await,
            Fault::KillSidecar(member) => self.signal("kill-container", member).await,
            Fault::DeletePod(member) => {
                namespace.kubectl(&["delete", "pod", &member.pod, "--wait=false"]).await.map(drop)
            }
            Fault::LoseVolume(member) => {
                let claim = format!("raft-{}", member.pod);
                namespace.kubectl(&["delete", "pvc", &claim, "--wait=false"]).await?;
                namespace.kubectl(&["delete", "pod", &member.pod, "--wait=false"]).await.map(drop)
            }
            Fault::KillOperator => {
                let (pod, node) = acting_operator().await?;
                let pod = format!("{OPERATOR_NAMESPACE}/{pod}");
                fault(&["kill-container", &node, &pod, "operator"]).await.map(drop)
            }
            Fault::Scale(size) => {
                let replicas = format!("--replicas={size}");
                namespace.kubectl(&["scale", "raftcluster", "db", &replicas]).await?;
                self.size = *size;
                Ok(())
            }
            Fault::EditTemplate(edit) => {
                let patch = format!(
                    "{{\"spec\":{{\"template\":{{\"metadata\":{{\"annotations\":{{\"edit\":\"{edit}\"}}}}}}}}}}"
                );
                namespace.kubectl(&["patch", "raftcluster", "db", "--type=merge", "-p", &patch]).await?;
                self.edits = *edit;
                Ok(())
            }
        }
    }

    async fn signal(&self, verb: &str, member: &Member) -> Result<()> {
        let pod = format!("{}/{}", self.cluster.namespace.name, member.pod);
        fault(&[verb, &member.node, &pod, "quorate-sidecar"]).await.map(drop)
    }

    async fn undo(&self, held: &Fault) {
        let undone = match held {
            Fault::CutNode(node) => fault(&["heal", node]).await,
            Fault::PauseApiServer => fault(&["resume-api"]).await,
            Fault::Drain(node) => kubectl(&["uncordon", node, "--request-timeout=20s"]).await,
            // It may have been killed meanwhile, by a probe or by another fault.
            Fault::PauseSidecar(member) => {
                self.signal("resume-container", member).await.map(|()| String::new())
            }
            _ => return,
        };
        match undone {
            Ok(_) => self.say(&format!("over: {held:?}")),
            Err(error) => self.say(&format!("over, in its way: {held:?}: {error:#}")),
        }
    }

    /// Undoes all that holds, and what may hold without our knowing.
    async fn calm(&mut self) -> Result<()> {
        fault(&["resume-api"]).await?;
        for (_, held) in std::mem::take(&mut self.held) {
            self.undo(&held).await;
        }
        for node in NODES {
            fault(&["heal", node]).await?;
            until(&format!("{node} to take Pods"), CALM, async || {
                kubectl(&["uncordon", node, "--request-timeout=20s"]).await.map(|_| Look::Found(()))
            })
            .await?;
        }
        operators_ready().await?;
        self.say("calm");
        Ok(())
    }

    fn say(&self, what: &str) {
        self.cluster.namespace.say(what);
    }
}

/// Ready as it was asked for last; says which cluster it is.
async fn ready_again(cluster: &Cluster<'_>, size: u32) -> Result<Option<String>> {
    let generation = cluster.get().await?.metadata.generation;
    let voters = format!("{size}/{size}");
    let ready = cluster
        .wait_status(&format!("Ready with {size} members"), CALM, |status| {
            status.observed_generation == generation
                && condition(status, "Ready").is_some_and(|ready| ready.status == "True")
                && status.voters.as_deref() == Some(&voters)
        })
        .await?;
    cluster.namespace.say(ready.summary.as_deref().unwrap_or_default());
    Ok(ready.cluster_id)
}

/// Members = Pods = claims in use, and nobody who left has kept anything but a claim that says so.
async fn nothing_is_left_over(cluster: &Cluster<'_>, size: u32) -> Result<()> {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.metadata.annotations.quorate\\.dev/member-state}{\"\\n\"}{end}";
    let size = usize::try_from(size)?;
    until("claims and Pods of members only", CALM, async || {
        let listed = cluster.namespace.kubectl(&["get", "pvc", "-o", path]).await?;
        let claims: BTreeSet<String> = listed
            .lines()
            .filter_map(|line| line.strip_suffix(" Member")?.strip_prefix("raft-").map(str::to_owned))
            .collect();
        let unfinished: Vec<&str> =
            listed.lines().filter(|line| !line.ends_with(" Member") && !line.ends_with(" Retired")).collect();
        let pods: BTreeSet<String> = cluster.pods().await?.into_keys().collect();
        let members = crate::cluster::raft_ids(&cluster.status().await?).into_keys().collect::<BTreeSet<_>>();
        let is_clean = unfinished.is_empty() && claims == pods && pods == members && members.len() == size;
        Ok(if is_clean {
            Look::Found(())
        } else {
            Look::NotYet(format!("members {members:?}, Pods {pods:?}, claims:\n{listed}"))
        })
    })
    .await?;
    ensure!(cluster.status().await?.leader.is_some_and(|leader| leader != "<none>"), "nobody leads");
    Ok(())
}
