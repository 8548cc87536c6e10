//! When to write: pure, so that every case is a test without a clock.
//!
//! ```text
//!   a new view ──▶ differs from what was written? ──▶ more than lag? write soon : write within 10 s
//!   time ────────▶ 10 s since the last renewal? ────▶ renew the Lease, re-check the leader slice
//!   a failure ───▶ wait 0.5 s, 1 s, … 10 s, then both again
//! ```
//! Invariant: an unchanged view is never written twice, however often it arrives (K31: 0 status writes while
//! idle). Not here: the calls themselves (`status`, `lease`, `slice`).

use std::time::Duration;

use quorate_crds::RaftStatus;

use crate::limits::{BACKOFF_MAX, BACKOFF_MIN, RENEW_INTERVAL, STATUS_INTERVAL_MIN, TRAILING_INTERVAL_MIN};
use crate::view::differs_only_in_trailing;

/// Time since the publisher started.
pub(crate) type Now = Duration;

/// What is due at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Write `status.raft`.
    Status,
    /// Renew the Lease and re-check the leader slice.
    Renewal,
    /// Nothing before this moment, unless a new view arrives.
    Nothing {
        /// When to ask again.
        until: Now,
    },
}

/// The pace of one leadership: made when it begins, dropped when it ends.
#[derive(Debug)]
pub(crate) struct Pace {
    /// What the API server holds from us; `None` until the first write of this leadership, because another
    /// leader may have written since.
    written: Option<RaftStatus>,
    written_at: Now,
    renewed_at: Option<Now>,
    /// Status writes refused in a row; renewals that succeed between them do not hide that.
    status_failures: u32,
    renewal_failures: u32,
    /// A call failed since the last renewal: the sign of life goes first, or a status the API server keeps
    /// refusing would also silence the Lease.
    renewal_first: bool,
    /// After a failure nothing is tried before this moment.
    not_before: Now,
}

impl Pace {
    /// The pace of a leadership that begins at `now`: both writes are due at once.
    pub(crate) fn new(now: Now) -> Self {
        Self {
            written: None,
            written_at: now,
            renewed_at: None,
            status_failures: 0,
            renewal_failures: 0,
            renewal_first: false,
            not_before: now,
        }
    }

    /// What is due at `now` if `wanted` is what the status should say.
    pub(crate) fn due(&self, now: Now, wanted: &RaftStatus) -> Due {
        if now < self.not_before {
            return Due::Nothing { until: self.not_before };
        }
        let status_at = self.status_due_at(wanted);
        let renewal_at = self.renewed_at.map_or(now, |at| at + RENEW_INTERVAL);
        match status_at {
            _ if self.renewal_first && renewal_at <= now => Due::Renewal,
            Some(at) if at <= now => Due::Status,
            _ if renewal_at <= now => Due::Renewal,
            Some(at) => Due::Nothing { until: at.min(renewal_at) },
            None => Due::Nothing { until: renewal_at },
        }
    }

    /// As [`Self::due`] for a member whose status is another's to write by now.
    pub(crate) fn renewal_due(&self, now: Now) -> Due {
        let at = self.renewed_at.map_or(now, |at| at + RENEW_INTERVAL).max(self.not_before);
        if at <= now { Due::Renewal } else { Due::Nothing { until: at } }
    }

    fn status_due_at(&self, wanted: &RaftStatus) -> Option<Now> {
        let Some(written) = &self.written else { return Some(Now::ZERO) };
        if written == wanted {
            None
        } else if differs_only_in_trailing(written, wanted) {
            Some(self.written_at + TRAILING_INTERVAL_MIN)
        } else {
            Some(self.written_at + STATUS_INTERVAL_MIN)
        }
    }

    /// The API server took `status`.
    pub(crate) fn status_written(&mut self, now: Now, status: RaftStatus) {
        self.written = Some(status);
        self.written_at = now;
        self.status_failures = 0;
    }

    /// The Lease was renewed and the slice checked.
    pub(crate) fn renewed(&mut self, now: Now) {
        self.renewed_at = Some(now);
        self.renewal_first = false;
        self.renewal_failures = 0;
    }

    /// A status write failed: everything waits, longer each time. `jitter` spreads members that failed together.
    pub(crate) fn status_failed(&mut self, now: Now, jitter: u8) {
        self.not_before = now + backoff(self.status_failures, jitter);
        self.status_failures = self.status_failures.saturating_add(1);
        self.renewal_first = true;
    }

    /// A renewal failed: as [`Self::status_failed`].
    pub(crate) fn renewal_failed(&mut self, now: Now, jitter: u8) {
        self.not_before = now + backoff(self.renewal_failures, jitter);
        self.renewal_failures = self.renewal_failures.saturating_add(1);
    }
}

/// The wait after `failures` earlier ones: doubling, bounded, and up to a quarter longer by jitter.
fn backoff(failures: u32, jitter: u8) -> Duration {
    // 2^16 half-seconds are far beyond the bound already.
    let wait = (BACKOFF_MIN * 2u32.pow(failures.min(16))).min(BACKOFF_MAX);
    wait + wait * u32::from(jitter) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::view;

    fn at(ms: u64) -> Now {
        Now::from_millis(ms)
    }

    /// K31: an idle cluster has no status writes, however often the same view is handed in.
    #[test]
    fn an_unchanged_view_is_written_once_and_then_only_the_lease_is_renewed() {
        let status = view(7).to_status();
        let mut pace = Pace::new(at(0));
        assert_eq!(pace.due(at(0), &status), Due::Status);
        pace.status_written(at(10), status.clone());
        assert_eq!(pace.due(at(10), &status), Due::Renewal);
        pace.renewed(at(20));
        let (mut renewals, mut now) = (0, at(20));
        while now < Duration::from_mins(10) {
            match pace.due(now, &status) {
                Due::Status => panic!("an unchanged status was written at {now:?}"),
                Due::Renewal => {
                    renewals += 1;
                    pace.renewed(now);
                }
                Due::Nothing { until } => now = until,
            }
        }
        assert_eq!(renewals, 59);
    }

    /// K31: a follower that trails by changing amounts costs at most one write in ten seconds; its health, one at once.
    #[test]
    fn lag_alone_waits_but_a_change_of_state_does_not() {
        let written = view(7).to_status();
        let mut pace = Pace::new(at(0));
        pace.status_written(at(0), written);
        pace.renewed(at(0));
        let mut trailing = view(7);
        trailing.members[1].trailing = 5_000;
        assert_eq!(pace.due(at(300), &trailing.to_status()), Due::Nothing { until: at(10_000) });
        let mut unhealthy = trailing.clone();
        unhealthy.members[1].state = crate::MemberState::Unhealthy;
        assert_eq!(pace.due(at(300), &unhealthy.to_status()), Due::Status);
        assert_eq!(pace.due(at(100), &unhealthy.to_status()), Due::Nothing { until: at(250) });
    }

    /// K32: a status that is refused again and again must not silence the sign of life.
    #[test]
    fn a_refused_status_does_not_stop_the_renewals() {
        let status = view(7).to_status();
        let mut pace = Pace::new(at(0));
        assert_eq!(pace.due(at(0), &status), Due::Status);
        pace.status_failed(at(0), 0);
        assert_eq!(pace.due(at(500), &status), Due::Renewal);
        pace.renewed(at(500));
        assert_eq!(pace.due(at(500), &status), Due::Status);
    }

    /// The API server being away must not turn into a stream of calls, nor stop publishing for long once it is back.
    #[test]
    fn failures_back_off_to_ten_seconds_and_a_success_starts_over() {
        let status = view(7).to_status();
        let mut pace = Pace::new(at(0));
        let mut now = at(0);
        let mut waits = Vec::new();
        pace.renewed(now);
        for _ in 0..7 {
            pace.status_failed(now, 0);
            let Due::Nothing { until } = pace.due(now, &status) else { panic!("due during back-off") };
            waits.push(until.saturating_sub(now).as_millis());
            now = until;
        }
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        pace.status_written(now, view(8).to_status());
        pace.status_failed(now, 0);
        assert_eq!(pace.due(now, &status), Due::Nothing { until: now + BACKOFF_MIN });
    }
}
