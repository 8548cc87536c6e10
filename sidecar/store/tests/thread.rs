//! The storage thread: order, group commit, one error and then silence.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use fixture::{Member, append, commands, frozen, machine_at};
use quorate_raft::{Index, Sequence};
use quorate_store::{Call, Fault, Log, LogThread, Rejected, Report, Request, StoreError, limits};

const DEADLINE: Duration = Duration::from_secs(20);

fn start(log: Log) -> (LogThread, Receiver<Report>) {
    let (sender, reports) = channel();
    let thread = LogThread::start(log, move |report| drop(sender.send(report))).unwrap();
    (thread, reports)
}

fn submit(thread: &LogThread, mut request: Request) {
    while let Err(Rejected::Full(back)) = thread.submit(request) {
        request = back;
        std::thread::yield_now();
    }
}

/// Everything queued goes into one commit; reports come in order and cover every request.
#[test]
fn queued_requests_are_committed_in_groups_and_reported_in_order() {
    let member = Member::new();
    let opened = member.open();
    let syncs = member.disk.count(Call::Sync);
    let (thread, reports) = start(opened.log);
    let requests = 3_000;
    for index in 1..=requests {
        submit(&thread, Request::Persist(append(index, commands(1, index, index))));
    }
    let mut last = Sequence(0);
    let mut commits = 0;
    while last.0 < requests {
        let Ok(Report::Committed(committed)) = reports.recv_timeout(DEADLINE) else {
            panic!("after {last:?}")
        };
        let sequence = committed.sequence.unwrap();
        assert!(sequence > last);
        assert!(sequence.0 - last.0 <= limits::BATCH_ENTRIES_MAX as u64);
        last = sequence;
        commits += 1;
    }
    assert!(commits < requests, "{commits} commits for {requests} requests: they were not grouped");
    // Growing the file syncs once more, and does so rarely.
    assert!(member.disk.count(Call::Sync) - syncs <= commits + 10);
    thread.stop();
}

/// What was submitted before the handle was dropped is durable afterwards (shutdown loses nothing).
#[test]
fn stopping_finishes_what_was_submitted() {
    let member = Member::new();
    let opened = member.open();
    let (thread, _reports) = start(opened.log);
    for index in 1..=100 {
        submit(&thread, Request::Persist(append(index, commands(1, index, index))));
    }
    thread.stop();
    drop((opened.state, opened.directory));
    assert_eq!(member.crash_and_open(1).log.last().index, Index(100));
}

/// A storage error is reported once, and is the last thing said; later requests are not taken.
#[test]
fn the_first_error_is_the_last_report() {
    let member = Member::new();
    let opened = member.open();
    member.disk.fail_after(Call::Sync, 0, Fault::NoSpace);
    let (thread, reports) = start(opened.log);
    submit(&thread, Request::Persist(append(1, commands(1, 1, 1))));
    let report = reports.recv_timeout(DEADLINE).unwrap();
    assert!(matches!(report, Report::Failed(StoreError::NoSpace { .. })), "{report:?}");
    // The sender is dropped with the thread, so this ends when the thread has.
    assert!(reports.recv_timeout(DEADLINE).is_err());
    let rejected = thread.submit(Request::Persist(append(2, commands(1, 1, 1)))).unwrap_err();
    assert!(matches!(rejected, Rejected::Stopped(Request::Persist(_))));
}

/// K3, K7: compaction goes through the same thread, in steps, to the bound that was asked for.
#[test]
fn compaction_runs_in_steps_until_it_is_done() {
    let member = Member::new();
    let opened = member.open();
    let mut log = opened.log;
    let rows = 2 * limits::COMPACT_ROWS_MAX as u64 + 10;
    for index in 1..=rows {
        log.commit(&[append(index, commands(1, index, index))]).unwrap();
    }
    let mut machine = machine_at(&opened.state, 1, rows);
    opened.state.flush(&frozen(&mut machine)).unwrap();
    let (thread, reports) = start(log);
    submit(&thread, Request::Compact { upto: Index(rows - 1) });
    let mut steps = 0;
    loop {
        let Ok(Report::Committed(committed)) = reports.recv_timeout(DEADLINE) else {
            panic!("after {steps} steps")
        };
        steps += 1;
        if !committed.compaction_pending {
            assert_eq!(committed.compacted, Some(Index(rows)));
            break;
        }
    }
    assert!(steps >= 3);
}
