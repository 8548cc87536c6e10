//! Visitors at every member all the time, none of whom may be forgotten.
//!
//! Each Pod's example application is visited without end. A visit is answered with its number, one more than the last,
//! by compare-and-set on a replicated key. So no acknowledged visit was lost exactly if
//!   no number is given twice: a lost visit's number would be given again,
//!   each visitor's numbers rise, whichever members lead meanwhile,
//!   and in the end every member knows at least the highest one.
//! A visit that fails, or whose outcome is unknown, promises nothing and is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::cluster::Cluster;
use crate::wait::{Look, until};

/// The example application's port.
const PORT: u16 = 8080;
/// A visitor's own patience: longer than the application's with its sidecar, so that an answer is not missed.
const VISIT_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two visits of one visitor: all members are busy, and the machine has room for other tests.
const BETWEEN_VISITS: Duration = Duration::from_millis(40);
/// Failures in a row after which a visitor leaves; a new one is sent if the Pod is still there.
const FAILURES_MAX: u32 = 10;
/// How often new Pods are looked for.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
/// Visits under way to be recorded.
const RECORDS_MAX: usize = 1_024;
/// An answer of the application is a line.
const ANSWER_BYTES_MAX: u64 = 64 * 1_024;
/// How long the members may take to know the highest number in the end.
const SETTLE: Duration = Duration::from_secs(30);

/// One acknowledged visit.
struct Visit {
    pod: String,
    number: u64,
    at: Instant,
}

/// Visitors at work.
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    visits: JoinHandle<Vec<Visit>>,
}

/// What the visitors saw.
pub(crate) struct Tally {
    /// Acknowledged visits.
    pub(crate) acknowledged: usize,
    /// The longest time without one, anywhere.
    pub(crate) longest_gap: Duration,
    /// The Pods that acknowledged one.
    pub(crate) pods: BTreeSet<String>,
    highest: u64,
}

impl Load {
    /// Sends a visitor to every Pod of the cluster, now and whenever one comes.
    pub(crate) fn on(cluster: &Cluster<'_>) -> Self {
        let pods = Api::namespaced(cluster.namespace.client.clone(), &cluster.namespace.name);
        let (stop, stopped) = watch::channel(false);
        let visits = tokio::spawn(record(pods, cluster.selector(), stopped));
        Self { stop, visits }
    }

    /// Ends the visits and checks that none was forgotten: not among the visitors, and not by any member.
    pub(crate) async fn finish(self, cluster: &Cluster<'_>) -> Result<Tally> {
        self.stop.send_replace(true);
        let tally = tally(self.visits.await?)?;
        for (name, pod) in cluster.pods().await? {
            let address = address(&pod).with_context(|| format!("{name} has no address"))?;
            until(&format!("{name} to know visit {}", tally.highest), SETTLE, async || {
                let number: u64 = number(&get(&address, "/visits").await?)?;
                Ok(if number >= tally.highest { Look::Found(()) } else { Look::NotYet(number.to_string()) })
            })
            .await?;
        }
        cluster.namespace.say(&format!(
            "{} writes acknowledged through {}, none lost; longest gap {:.1} s",
            tally.acknowledged,
            tally.pods.iter().cloned().collect::<Vec<_>>().join(", "),
            tally.longest_gap.as_secs_f32()
        ));
        Ok(tally)
    }
}

/// Checks the visits against each other and adds them up.
fn tally(mut visits: Vec<Visit>) -> Result<Tally> {
    ensure!(!visits.is_empty(), "no visit was ever acknowledged");
    let mut given = BTreeSet::new();
    let mut last_of: BTreeMap<&str, u64> = BTreeMap::new();
    for visit in &visits {
        ensure!(
            given.insert(visit.number),
            "visit {} was given twice: an acknowledged one was lost",
            visit.number
        );
        let last = last_of.insert(&visit.pod, visit.number).unwrap_or_default();
        ensure!(last < visit.number, "{} gave {} after {last}", visit.pod, visit.number);
    }
    visits.sort_by_key(|visit| visit.at);
    let gaps = visits.windows(2).map(|pair| pair[1].at - pair[0].at);
    Ok(Tally {
        acknowledged: visits.len(),
        longest_gap: gaps.max().unwrap_or_default(),
        pods: visits.iter().map(|visit| visit.pod.clone()).collect(),
        highest: given.last().copied().unwrap_or_default(),
    })
}

/// Sends visitors and collects what they report until told to stop. Visits of one Pod stay in order.
async fn record(pods: Api<Pod>, selector: String, stopped: watch::Receiver<bool>) -> Vec<Visit> {
    let (report, mut reports) = mpsc::channel(RECORDS_MAX);
    let mut sent = JoinSet::new();
    let mut visited = BTreeSet::new();
    let mut looks = interval(BETWEEN_LOOKS);
    let mut visits = Vec::new();
    let mut stop = stopped.clone();
    loop {
        tokio::select! {
            Some(visit) = reports.recv() => visits.push(visit),
            Some(left) = sent.join_next() => { visited.remove(&left.unwrap_or_default()); }
            _ = looks.tick() => {
                // A list that fails is repeated at the next look: faults are the point of these tests.
                let listed = pods.list(&ListParams::default().labels(&selector)).await;
                for pod in listed.into_iter().flat_map(|list| list.items) {
                    let (Some(name), Some(address)) = (pod.metadata.name.clone(), address(&pod)) else { continue };
                    if visited.insert(address.clone()) {
                        sent.spawn(visit_for_ever(name, address, report.clone(), stopped.clone()));
                    }
                }
            }
            // Told, or the test is gone.
            _ = stop.changed() => break,
        }
    }
    drop(report);
    // What is under way when the visits end counts as well: it may be acknowledged.
    while let Some(visit) = reports.recv().await {
        visits.push(visit);
    }
    visits
}

/// Visits one Pod until told to stop, or until it fails again and again: then its address may be another's.
async fn visit_for_ever(
    pod: String,
    address: String,
    report: mpsc::Sender<Visit>,
    stopped: watch::Receiver<bool>,
) -> String {
    let mut pace = interval(BETWEEN_VISITS);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failures = 0;
    while !*stopped.borrow() && failures < FAILURES_MAX {
        pace.tick().await;
        let Ok(number) = visit(&address).await else {
            failures += 1;
            continue;
        };
        failures = 0;
        let at = Instant::now();
        if report.send(Visit { pod: pod.clone(), number, at }).await.is_err() {
            break;
        }
    }
    address
}

/// One visit: its number.
async fn visit(address: &str) -> Result<u64> {
    let answer = get(address, "/").await?;
    number(answer.lines().last().and_then(|line| line.strip_prefix("visit ")).unwrap_or_default())
}

fn number(text: &str) -> Result<u64> {
    text.trim().parse().with_context(|| format!("{text:?} is not a number"))
}

/// Where a Pod's application listens, once it may.
pub(crate) fn address(pod: &Pod) -> Option<String> {
    let ip = pod.status.as_ref()?.pod_ip.as_ref().filter(|ip| !ip.is_empty())?;
    Some(format!("{ip}:{PORT}"))
}

/// The body of a plain HTTP answer of 200. One request per connection: a visitor must not outlive its Pod's address.
pub(crate) async fn get(address: &str, path: &str) -> Result<String> {
    timeout(VISIT_TIMEOUT, async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
        let status = head.lines().next().unwrap_or_default();
        if status.split(' ').nth(1) != Some("200") {
            bail!("{path} of {address}: {status}: {}", body.trim());
        }
        Ok(body.to_owned())
    })
    .await
    .with_context(|| format!("{path} of {address}: no answer within {} s", VISIT_TIMEOUT.as_secs()))?
}
