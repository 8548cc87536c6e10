//! Visitors at every member all the time, none of whom may be forgotten.
//!
//! Each Pod's example application is visited without end. A visit is answered with its number, one more than the last,
//! by compare-and-set on a replicated key. So no acknowledged visit was lost exactly if
//!   no number is given twice: a lost visit's number would be given again,
//!   whoever comes after another was answered gets a higher number, at whichever member,
//!   and in the end every member knows at least the highest one.
//! Now and then a visitor only asks how many there were, and must not hear fewer than anybody was told before. For a counter
//! this is linearizability, of reads and writes, checked over the whole history.
//! A visit that fails, or whose outcome is unknown, promises nothing and is tried again.

use std::collections::BTreeSet;
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
/// How long an answer is still waited for when the visits end: a member that is there gives it at once, and the address of one that is
/// not never answers at all.
const LAST_ANSWER: Duration = Duration::from_secs(1);
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
/// How long the members may take to know the highest number in the end, and one that was replaced to go.
const SETTLE: Duration = Duration::from_secs(90);
/// What is lost for a moment is back before this, or it is told as this long.
const OUTAGE_MAX: Duration = Duration::from_secs(10);

/// Every so many calls of a visitor is a question.
const QUESTION_EVERY: u32 = 5;

/// One answered call.
struct Call {
    /// The Pod or Service it went through.
    through: String,
    began: Instant,
    ended: Instant,
    answer: Answer,
}

/// What a visitor was told.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// The number of its visit.
    Visit(u64),
    /// How many there were.
    SoFar(u64),
}

/// Visitors at work.
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    calls: JoinHandle<Vec<Call>>,
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
    /// When each was acknowledged, in order.
    ends: Vec<Instant>,
}

impl Tally {
    /// The longest time without an acknowledged visit in the [`OUTAGE_MAX`] after this moment.
    pub(crate) fn gap_after(&self, moment: Instant) -> Duration {
        let near = |pair: &&[Instant]| pair[1] > moment && pair[0] < moment + OUTAGE_MAX;
        self.ends.windows(2).filter(near).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

impl Load {
    /// Sends a visitor to every Pod of the cluster, now and whenever one comes.
    pub(crate) fn on(cluster: &Cluster<'_>) -> Self {
        Self::with(cluster, Vec::new())
    }

    /// The same, and a visitor at each of these Services, by name and address.
    pub(crate) fn with(cluster: &Cluster<'_>, services: Vec<(String, String)>) -> Self {
        let pods = Api::namespaced(cluster.namespace.client.clone(), &cluster.namespace.name);
        let (stop, stopped) = watch::channel(false);
        let calls = tokio::spawn(record(pods, cluster.selector(), services, stopped));
        Self { stop, calls }
    }

    /// Ends the visits and checks that none was forgotten: not among the visitors, and not by any member.
    pub(crate) async fn finish(self, cluster: &Cluster<'_>) -> Result<Tally> {
        self.stop.send_replace(true);
        let tally = tally(&self.calls.await?)?;
        for (name, pod) in cluster.pods().await? {
            let address = address(&pod).with_context(|| format!("{name} has no address"))?;
            until(&format!("{name} to know visit {}", tally.highest), SETTLE, async || {
                // One that was replaced may still be going.
                if !cluster.pods().await?.contains_key(&name) {
                    return Ok(Look::Found(()));
                }
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

/// Checks what was answered and adds it up.
fn tally(calls: &[Call]) -> Result<Tally> {
    let visits: Vec<(&Call, u64)> = calls
        .iter()
        .filter_map(|call| match call.answer {
            Answer::Visit(number) => Some((call, number)),
            Answer::SoFar(_) => None,
        })
        .collect();
    ensure!(!visits.is_empty(), "no visit was ever acknowledged");
    let mut given = BTreeSet::new();
    for (_, number) in &visits {
        ensure!(given.insert(*number), "visit {number} was given twice: an acknowledged one was lost");
    }
    in_order(calls)?;
    let mut ends: Vec<Instant> = visits.iter().map(|(call, _)| call.ended).collect();
    ends.sort_unstable();
    Ok(Tally {
        acknowledged: visits.len(),
        longest_gap: ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default(),
        pods: calls.iter().map(|call| call.through.clone()).collect(),
        highest: given.last().copied().unwrap_or_default(),
        ends,
    })
}

/// Nobody hears less than what was answered before it asked: linearizability, for a counter whose numbers are given once.
fn in_order(calls: &[Call]) -> Result<()> {
    let mut by_end: Vec<&Call> = calls.iter().collect();
    by_end.sort_by_key(|call| call.ended);
    let mut by_begin: Vec<&Call> = calls.iter().collect();
    by_begin.sort_by_key(|call| call.began);
    let mut answered = by_end.into_iter().peekable();
    let mut known = (0, "nobody");
    for call in by_begin {
        while let Some(before) = answered.next_if(|before| before.ended < call.began) {
            let (Answer::Visit(number) | Answer::SoFar(number)) = before.answer;
            known = known.max((number, &before.through));
        }
        let (is_in_order, answer) = match call.answer {
            Answer::Visit(number) => (number > known.0, number),
            Answer::SoFar(number) => (number >= known.0, number),
        };
        ensure!(
            is_in_order,
            "{} answered {answer} ({:?}) to a call that began after {} had answered {}",
            call.through,
            call.answer,
            known.1,
            known.0
        );
    }
    Ok(())
}

/// Sends visitors and collects what they report until told to stop. Visits of one Pod stay in order.
async fn record(
    pods: Api<Pod>,
    selector: String,
    services: Vec<(String, String)>,
    stopped: watch::Receiver<bool>,
) -> Vec<Call> {
    let (report, mut reports) = mpsc::channel(RECORDS_MAX);
    let mut sent = JoinSet::new();
    let mut visited = BTreeSet::new();
    let mut looks = interval(BETWEEN_LOOKS);
    let mut calls = Vec::new();
    let mut stop = stopped.clone();
    loop {
        tokio::select! {
            Some(call) = reports.recv() => calls.push(call),
            Some(left) = sent.join_next() => { visited.remove(&left.unwrap_or_default()); }
            _ = looks.tick() => {
                // A list that fails is repeated at the next look: faults are the point of these tests.
                let listed = pods.list(&ListParams::default().labels(&selector)).await;
                let listed = listed.into_iter().flat_map(|list| list.items);
                let pods = listed.filter_map(|pod| Some((pod.metadata.name.clone()?, address(&pod)?)));
                for (name, address) in services.iter().cloned().chain(pods) {
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
    // What is under way when the visits end counts as well, if it is acknowledged.
    while let Some(call) = reports.recv().await {
        calls.push(call);
    }
    calls
}

/// Visits one Pod or Service until told to stop, or until it fails again and again: then its address may be another's.
async fn visit_for_ever(
    through: String,
    address: String,
    report: mpsc::Sender<Call>,
    mut stopped: watch::Receiver<bool>,
) -> String {
    let mut pace = interval(BETWEEN_VISITS);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut failures, mut made) = (0, 0_u32);
    while !*stopped.borrow() && failures < FAILURES_MAX {
        pace.tick().await;
        made = made.wrapping_add(1);
        let began = Instant::now();
        let asked = async {
            if made.is_multiple_of(QUESTION_EVERY) { so_far(&address).await } else { visit(&address).await }
        };
        let asked = tokio::select! {
            asked = asked => asked,
            () = ended(&mut stopped) => break,
        };
        let Ok(answer) = asked else {
            failures += 1;
            continue;
        };
        failures = 0;
        let call = Call { through: through.clone(), began, ended: Instant::now(), answer };
        if report.send(call).await.is_err() {
            break;
        }
    }
    address
}

/// Returns when the visits have ended, and so has the patience with the last.
async fn ended(stopped: &mut watch::Receiver<bool>) {
    // An error is that the test is gone.
    let _ = stopped.wait_for(|stopped| *stopped).await;
    tokio::time::sleep(LAST_ANSWER).await;
}

async fn so_far(address: &str) -> Result<Answer> {
    Ok(Answer::SoFar(number(&get(address, "/visits").await?)?))
}

/// One visit.
async fn visit(address: &str) -> Result<Answer> {
    let answer = get(address, "/").await?;
    let told =
        number(answer.lines().last().and_then(|line| line.strip_prefix("visit ")).unwrap_or_default())?;
    Ok(Answer::Visit(told))
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
