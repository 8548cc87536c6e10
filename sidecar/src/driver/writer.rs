//! Who waits for a write: a call of its own, or a stream that has many under way.

use tokio::sync::{mpsc, oneshot};

use super::error::{CallError, ErrorKind};
use super::handle::Applied;

/// What came of a write.
pub(crate) type Answer = Result<Applied, CallError>;

/// Where a stream hears what came of its writes, each by the place the stream gave it. As long as it has writes under
/// way, which is what bounds it.
pub(crate) type Answers = mpsc::UnboundedSender<(u64, Answer)>;

/// One who waits. Told once; who is gone is not told.
pub(crate) enum Writer {
    Call(oneshot::Sender<Answer>),
    Stream(Place),
}

/// A stream's place for one write. Unlike a call the stream would not notice if it was dropped, so it says so itself.
pub(crate) struct Place {
    number: u64,
    answers: Option<Answers>,
}

impl Writer {
    pub(crate) fn of_stream(number: u64, answers: &Answers) -> Self {
        Self::Stream(Place { number, answers: Some(answers.clone()) })
    }

    pub(crate) fn tell(self, answer: Answer) {
        match self {
            Self::Call(reply) => drop(reply.send(answer)),
            Self::Stream(mut place) => place.tell(answer),
        }
    }
}

impl Place {
    fn tell(&mut self, answer: Answer) {
        if let Some(answers) = self.answers.take() {
            let _ = answers.send((self.number, answer));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.tell(Err(stopped()));
    }
}

/// The driver is gone, and the write with it.
pub(super) fn stopped() -> CallError {
    CallError::unknown(
        ErrorKind::Stopping,
        "this member stopped before the write was known to be committed: outcome unknown",
    )
}

/// Nobody waits any longer.
pub(crate) fn overdue() -> CallError {
    CallError::unknown(
        ErrorKind::Deadline,
        "the deadline passed before the write was known to be committed: outcome unknown",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every write is answered once, by the driver or by its end.
    #[test]
    fn a_place_that_is_dropped_says_that_the_outcome_is_unknown() {
        let (answers, mut told) = mpsc::unbounded_channel();
        let refused = CallError::no_leader();
        Writer::of_stream(1, &answers).tell(Err(refused.clone()));
        drop(Writer::of_stream(2, &answers));
        assert_eq!(told.try_recv(), Ok((1, Err(refused))));
        assert_eq!(told.try_recv(), Ok((2, Err(stopped()))));
        assert!(told.try_recv().is_err());
    }
}
