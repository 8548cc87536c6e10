//! Callers at work: as fast as answers come, or at a fixed rate.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::task::JoinSet;

use crate::call::{Caller, Draws};
use crate::histogram::Latencies;
use crate::pace::Due;
use crate::shape::{Operation, Pace, Shape};

/// A caller rests after a call that failed, so that a system that is down is not asked in a frenzy.
const REST: Duration = Duration::from_millis(10);
/// Open loop: so long after the last call was due, those that nobody made yet are given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of a load.
pub(crate) struct Tally {
    /// Of calls that were answered.
    pub(crate) latencies: Latencies,
    /// Calls that failed.
    pub(crate) failed: u64,
    /// Open loop: calls that were due and never made.
    pub(crate) given_up: u64,
    /// What the first failure said.
    pub(crate) failure: Option<String>,
    /// From the beginning to the end.
    pub(crate) lasted: Duration,
}

/// What all callers of one load share.
struct Work {
    tally: Mutex<Tally>,
    shape: Shape,
    due: Option<Due>,
    /// Closed loop: no call begins after it, and none that ends after it counts. Open loop: patience ends with it.
    ends: Instant,
}

/// Lets the callers work for so long, and gives them back.
pub(crate) async fn drive<C: Caller>(
    callers: Vec<C>,
    shape: &Shape,
    lasts: Duration,
) -> Result<(Vec<C>, Tally)> {
    let began = Instant::now();
    let (due, ends) = match shape.pace {
        Pace::Closed => (None, began + lasts),
        Pace::Open(per_second) => (Some(Due::at(per_second, began, lasts)), began + lasts + PATIENCE),
    };
    let work = Arc::new(Work { tally: Mutex::new(Tally::new()), shape: *shape, due, ends });
    let mut workers = JoinSet::new();
    for (caller, seed) in callers.into_iter().zip(0..) {
        workers.spawn(at_work(caller, seed, Arc::clone(&work)));
    }
    let callers = workers.join_all().await;
    let mut tally = std::mem::replace(&mut *work.tally(), Tally::new());
    if shape.operation == Operation::Idle {
        tokio::time::sleep(lasts).await;
        return Ok((callers, Tally { lasted: lasts, ..tally }));
    }
    tally.lasted = if shape.pace == Pace::Closed { lasts } else { began.elapsed().max(lasts) };
    if tally.latencies.count() == 0 {
        bail!("no call was answered: {}", tally.failure.unwrap_or_else(|| "none was made".to_owned()));
    }
    Ok((callers, tally))
}

/// Writes every key once.
pub(crate) async fn fill<C: Caller>(callers: Vec<C>, shape: &Shape) -> Result<Vec<C>> {
    let share = callers.len().max(1);
    let mut workers = JoinSet::new();
    for (caller, number) in callers.into_iter().zip(0..) {
        workers.spawn(write_share(
            caller,
            Draws::of(shape, number.into()),
            (number..shape.keys).step_by(share),
        ));
    }
    workers.join_all().await.into_iter().collect()
}

async fn write_share<C: Caller>(
    mut caller: C,
    mut draws: Draws,
    keys: impl Iterator<Item = u32> + Send,
) -> Result<C> {
    for key in keys {
        if let Err(error) = caller.call(draws.write(key)).await {
            bail!("writing the keys: {error}");
        }
    }
    Ok(caller)
}

async fn at_work<C: Caller>(mut caller: C, seed: u64, work: Arc<Work>) -> C {
    let mut draws = Draws::of(&work.shape, seed);
    while let Some(began) = work.next().await {
        let answer = caller.call(draws.next()).await;
        let is_failed = answer.is_err();
        work.count(answer, began);
        if is_failed {
            tokio::time::sleep(REST).await;
        }
    }
    caller
}

impl Work {
    /// From when the next call counts, once it may be made; none if there is none.
    async fn next(&self) -> Option<Instant> {
        let Some(due) = &self.due else {
            let now = Instant::now();
            return (now < self.ends).then_some(now);
        };
        loop {
            let intended = due.next().await?;
            if Instant::now() < self.ends {
                return Some(intended);
            }
            self.tally().given_up += 1;
        }
    }

    fn count(&self, answer: Result<(), String>, began: Instant) {
        let now = Instant::now();
        if self.due.is_none() && now > self.ends {
            return;
        }
        let mut tally = self.tally();
        match answer {
            Ok(()) => tally.latencies.record(now - began),
            Err(failure) => {
                tally.failed += 1;
                tally.failure.get_or_insert(failure);
            }
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn new() -> Self {
        Self { latencies: Latencies::new(), failed: 0, given_up: 0, failure: None, lasted: Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Call;
    use crate::shape::closed;

    /// Takes its time for each call.
    struct Slow(Duration);

    impl Caller for Slow {
        async fn call(&mut self, _: Call) -> Result<(), String> {
            tokio::time::sleep(self.0).await;
            Ok(())
        }
    }

    /// Answers nothing.
    struct Down;

    impl Caller for Down {
        async fn call(&mut self, _: Call) -> Result<(), String> {
            Err("it is down".to_owned())
        }
    }

    fn shape(pace: Pace) -> Shape {
        Shape { pace, ..closed("test", Operation::Write, 1) }
    }

    /// Ten calls are due within 100 ms at a caller that needs 50 ms for each: the last one was due 410 ms before its
    /// answer. Measured from when it was made, each would seem to take 50 ms.
    #[tokio::test]
    async fn a_call_at_a_fixed_rate_counts_from_when_it_was_due() {
        let slow = vec![Slow(Duration::from_millis(50))];
        let (_, tally) = drive(slow, &shape(Pace::Open(100)), Duration::from_millis(100)).await.unwrap();
        assert_eq!((tally.latencies.count(), tally.failed, tally.given_up), (10, 0, 0));
        let told = tally.latencies.quantiles();
        assert!(told.max >= 409.0, "{told:?}");
        assert!(told.p50 >= 209.0, "{told:?}");
        assert!(tally.lasted >= Duration::from_millis(500));
    }

    #[tokio::test]
    async fn a_closed_loop_counts_what_was_answered_in_time() {
        let slow = || Slow(Duration::from_millis(20));
        let (callers, tally) =
            drive(vec![slow(), slow()], &shape(Pace::Closed), Duration::from_millis(500)).await.unwrap();
        assert_eq!(callers.len(), 2);
        assert!((1..=50).contains(&tally.latencies.count()), "{}", tally.latencies.count());
    }

    #[tokio::test]
    async fn a_load_without_an_answer_has_failed_and_says_why() {
        let error = drive(vec![Down], &shape(Pace::Closed), Duration::from_millis(50)).await.err().unwrap();
        assert_eq!(error.to_string(), "no call was answered: it is down");
    }
}
