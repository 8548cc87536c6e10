//! How long no write is answered when the leader is lost, again and again in one cluster.
//!
//! Writes are due at a fixed rate through the members that stay, so that a gap is seen by whoever asks meanwhile and not
//! only by calls that happened to be under way. A gap is the longest time between two answers that follow each other
//! and of which the second came after the loss. What the lost member was asked does not count: its clients are lost
//! with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::call::{Caller, Draws};
use crate::histogram::Latencies;
use crate::pace::Due;
use crate::shape::{Loss, Shape};
use crate::system::{System, signal};

/// About how long one takes, with all that lies between; for the estimate at the start.
pub(crate) const LOSS_SECONDS: u64 = 6;

/// Writes due in a second, over all members: how finely a gap is seen.
const WRITES_A_SECOND: u32 = 200;
/// Two thirds of them are free to make every write that is due in a gap of three seconds, which is longer than either
/// system takes; in a longer one, later writes wait for a client.
pub(crate) const CLIENTS: usize = 900;
/// All members serve for so long before each loss, which is also what a stopped leader needs to hear that it is none.
const CALM: Duration = Duration::from_secs(2);
/// Writes are under way for so long before.
const BEFORE: Duration = Duration::from_millis(500);
/// And for so long after the first answer: a second gap that follows belongs to the same loss.
const AFTER: Duration = Duration::from_millis(500);
/// A cluster that answers nothing for so long has not recovered.
const LONGEST: Duration = Duration::from_secs(20);
/// How often it is looked.
const GLANCE: Duration = Duration::from_millis(20);

/// Loses the leader so many times; the caller at `n` is one of member `n` modulo their number.
pub(crate) async fn gaps<S: System>(
    system: &mut S,
    shape: &Shape,
    (loss, losses): (Loss, u32),
    mut callers: Vec<S::Caller>,
) -> Result<Latencies> {
    let mut gaps = Latencies::new();
    for number in 1..=losses {
        system.whole().await?;
        sleep(CALM).await;
        let leader = system.leader().await?;
        let watched = gap(system, shape, (loss, leader), callers);
        let (gap, back) = watched.await.with_context(|| format!("loss {number} of the leader"))?;
        gaps.record(gap);
        callers = back;
    }
    Ok(gaps)
}

/// One loss. Gives the callers back in their order.
async fn gap<S: System>(
    system: &mut S,
    shape: &Shape,
    (loss, leader): (Loss, usize),
    callers: Vec<S::Caller>,
) -> Result<(Duration, Vec<S::Caller>)> {
    let beat = Arc::new(Beat::new());
    let mut workers = JoinSet::new();
    for (number, caller) in callers.into_iter().enumerate() {
        let is_used = loss == Loss::HandedOver || number % shape.members != leader;
        workers.spawn(at_work(number, caller, is_used.then(|| Arc::clone(&beat)), *shape));
    }
    sleep(BEFORE).await;
    let lost = Instant::now();
    match loss {
        Loss::Killed => system.kill(leader),
        Loss::Gone => signal(system, leader, "STOP")?,
        Loss::HandedOver => system.hand_over(leader, (leader + 1) % shape.members).await?,
    }
    let gap = beat.gap_after(lost).await;
    beat.is_over.store(true, Ordering::Relaxed);
    match loss {
        Loss::Killed => system.start(leader)?,
        Loss::Gone => signal(system, leader, "CONT")?,
        Loss::HandedOver => {}
    }
    let mut back = workers.join_all().await;
    back.sort_by_key(|(number, _)| *number);
    Ok((gap?, back.into_iter().map(|(_, caller)| caller).collect()))
}

/// Writes when one is due, until it is over; not at all without a beat.
async fn at_work<C: Caller>(
    number: usize,
    mut caller: C,
    beat: Option<Arc<Beat>>,
    shape: Shape,
) -> (usize, C) {
    let Some(beat) = beat else { return (number, caller) };
    let mut draws = Draws::of(&shape, u64::try_from(number).unwrap_or(u64::MAX));
    while !beat.is_over.load(Ordering::Relaxed) {
        let Some(due) = beat.due.next().await else { break };
        if caller.call(draws.next()).await.is_ok() {
            beat.answers().push(Answer { due, at: Instant::now() });
        }
    }
    (number, caller)
}

/// Writes at their pace, and when they were answered.
struct Beat {
    due: Due,
    answers: Mutex<Vec<Answer>>,
    is_over: AtomicBool,
}

/// A write that was answered.
#[derive(Clone, Copy)]
struct Answer {
    due: Instant,
    at: Instant,
}

impl Beat {
    fn new() -> Self {
        let due = Due::at(WRITES_A_SECOND, Instant::now(), BEFORE + LONGEST + AFTER);
        Self { due, answers: Mutex::default(), is_over: AtomicBool::new(false) }
    }

    fn answers(&self) -> MutexGuard<'_, Vec<Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until writes that were due after the loss are answered, and says how long none was.
    async fn gap_after(&self, lost: Instant) -> Result<Duration> {
        while !self.answers().iter().any(|answer| answer.due > lost) {
            if lost.elapsed() > LONGEST {
                bail!("no write was answered for {LONGEST:?}");
            }
            sleep(GLANCE).await;
        }
        sleep(AFTER).await;
        let times = self.answers().iter().map(|answer| answer.at).collect();
        longest_gap(times, lost).context("no write was answered before the loss")
    }
}

/// The longest time between two answers that follow each other and of which the second came after the loss.
fn longest_gap(mut answers: Vec<Instant>, lost: Instant) -> Option<Duration> {
    answers.sort_unstable();
    answers.windows(2).filter(|pair| pair[1] > lost).map(|pair| pair[1] - pair[0]).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_ends_after_the_loss_and_is_the_longest_of_those() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        // Out of order, as answers of several clients are noted; the pause before the loss is none of its.
        let answers = vec![at(10), at(900), at(300), at(305), at(910), at(950)];
        assert_eq!(longest_gap(answers.clone(), at(306)), Some(Duration::from_millis(595)));
        assert_eq!(longest_gap(answers, at(905)), Some(Duration::from_millis(40)));
        assert_eq!(longest_gap(vec![at(10)], at(5)), None);
    }
}
