//! The question which index a linearizable read must have applied, asked once for all reads that wait (K11).
//!
//! The core confirms leadership in rounds that reads share; here the same is done for the way there, so that a follower
//! with a hundred readers asks its leader one question and not a hundred.
//!
//! Invariant: a read is answered by a question that was asked after the read began. One that comes while a question
//! is under way waits for the next.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_mutants::{Mutant, broken};
use quorate_raft::{Index, ServerId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::error::{CallError, ErrorKind};
use crate::limits::READS_WAITING_MAX;

type Answer = Result<Index, CallError>;

/// Reads that wait for a question, by whom they take for the leader: another member, or this one.
#[derive(Default)]
pub(crate) struct ReadRounds {
    rounds: Mutex<HashMap<ServerId, Round>>,
}

/// There while somebody asks; dropped with the last read that waits.
#[derive(Default)]
struct Round {
    /// For the next question.
    waiting: Vec<oneshot::Sender<Answer>>,
    /// For the one under way.
    asked: Vec<oneshot::Sender<Answer>>,
}

impl ReadRounds {
    /// The answer to the next question to `leader`, which `ask` asks if nobody does yet.
    pub(super) async fn index<F>(
        self: &Arc<Self>,
        leader: ServerId,
        deadline: Instant,
        ask: impl Fn() -> F + Send + 'static,
    ) -> Answer
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        if self.is_first(&leader, reply)? {
            tokio::spawn(Arc::clone(self).ask_while_wanted(leader, ask));
        }
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(CallError::stopping()),
            Err(_) => Err(CallError::not_applied(
                ErrorKind::Deadline,
                "the leader did not confirm an index to read at in time: retry",
            )),
        }
    }

    /// Lets a read wait; whether it is the first, and somebody has to ask.
    fn is_first(&self, leader: &ServerId, reply: oneshot::Sender<Answer>) -> Result<bool, CallError> {
        let mut rounds = self.lock();
        let Some(round) = rounds.get_mut(leader) else {
            rounds.insert(leader.clone(), Round { waiting: vec![reply], asked: Vec::new() });
            return Ok(true);
        };
        if round.waiting.len() >= READS_WAITING_MAX {
            return Err(CallError::busy("the line of reads"));
        }
        let line = if broken(Mutant::K11Joined) { &mut round.asked } else { &mut round.waiting };
        line.push(reply);
        Ok(false)
    }

    async fn ask_while_wanted<F: Future<Output = Answer>>(
        self: Arc<Self>,
        leader: ServerId,
        ask: impl Fn() -> F,
    ) {
        while self.begin(&leader) {
            let answer = ask().await;
            for reply in self.end(&leader) {
                // Who is gone does not want the answer.
                let _ = reply.send(answer.clone());
            }
        }
    }

    /// A question is asked for all that wait now. False if nobody does any more.
    fn begin(&self, leader: &ServerId) -> bool {
        let mut rounds = self.lock();
        let Some(round) = rounds.get_mut(leader) else { return false };
        round.waiting.retain(|reply| !reply.is_closed());
        round.asked.append(&mut round.waiting);
        let is_wanted = !round.asked.is_empty();
        if !is_wanted {
            rounds.remove(leader);
        }
        is_wanted
    }

    /// Those that it was asked for.
    fn end(&self, leader: &ServerId) -> Vec<oneshot::Sender<Answer>> {
        self.lock().get_mut(leader).map(|round| std::mem::take(&mut round.asked)).unwrap_or_default()
    }

    /// Held for moments only, and whole even if a holder panicked.
    fn lock(&self) -> MutexGuard<'_, HashMap<ServerId, Round>> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quorate_raft::{Incarnation, RaftId};
    use tokio::sync::mpsc;
    use tokio::task::JoinHandle;

    use super::*;

    /// A leader that is asked and answers when the test says so.
    struct Asked {
        rounds: Arc<ReadRounds>,
        questions: mpsc::UnboundedReceiver<oneshot::Sender<Answer>>,
        line: mpsc::UnboundedSender<oneshot::Sender<Answer>>,
    }

    impl Asked {
        fn new() -> Self {
            let (line, questions) = mpsc::unbounded_channel();
            Self { rounds: Arc::default(), questions, line }
        }

        /// A read that waits by the time this returns.
        async fn read(&self) -> JoinHandle<Answer> {
            let (rounds, line) = (Arc::clone(&self.rounds), self.line.clone());
            let ask = move || {
                let (reply, answer) = oneshot::channel();
                line.send(reply).unwrap();
                async { answer.await.unwrap() }
            };
            let deadline = Instant::now() + Duration::from_secs(20);
            let leader = ServerId { raft_id: RaftId::new("a").unwrap(), incarnation: Incarnation(1) };
            let read = tokio::spawn(async move { rounds.index(leader, deadline, ask).await });
            tokio::task::yield_now().await;
            read
        }

        async fn question(&mut self) -> oneshot::Sender<Answer> {
            self.questions.recv().await.unwrap()
        }
    }

    /// K11: what the second read must see may have been written after the first question was asked.
    #[tokio::test]
    async fn a_read_that_comes_during_a_question_waits_for_the_next() {
        let mut asked = Asked::new();
        let first = asked.read().await;
        let question = asked.question().await;
        let (second, third) = (asked.read().await, asked.read().await);
        question.send(Ok(Index(5))).unwrap();
        assert_eq!(first.await.unwrap(), Ok(Index(5)));
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        assert!(
            !second.is_finished() && !third.is_finished(),
            "answered by a question asked before they came"
        );
        asked.question().await.send(Ok(Index(9))).unwrap();
        assert_eq!((second.await.unwrap(), third.await.unwrap()), (Ok(Index(9)), Ok(Index(9))));
        assert!(asked.questions.try_recv().is_err(), "one question for both");
    }

    #[tokio::test]
    async fn an_error_is_everybodys_and_the_next_read_asks_anew() {
        let mut asked = Asked::new();
        let (first, second) = (asked.read().await, asked.read().await);
        // The second may have come before the question was asked or during it.
        asked.question().await.send(Err(CallError::no_leader())).unwrap();
        assert_eq!(first.await.unwrap(), Err(CallError::no_leader()));
        if !second.is_finished() {
            asked.question().await.send(Err(CallError::no_leader())).unwrap();
        }
        assert_eq!(second.await.unwrap(), Err(CallError::no_leader()));
        let third = asked.read().await;
        asked.question().await.send(Ok(Index(3))).unwrap();
        assert_eq!(third.await.unwrap(), Ok(Index(3)));
    }

    #[tokio::test]
    async fn nobody_asks_for_reads_that_are_gone() {
        let mut asked = Asked::new();
        let first = asked.read().await;
        let question = asked.question().await;
        asked.read().await.abort();
        tokio::task::yield_now().await;
        question.send(Ok(Index(5))).unwrap();
        first.await.unwrap().unwrap();
        tokio::task::yield_now().await;
        assert!(asked.questions.try_recv().is_err());
        assert!(asked.rounds.lock().is_empty());
    }
}
