//! What is measured: the shapes of load, each the same for both systems.

use crate::gaps;

/// Keys written and read, evenly at random, unless the shape is about that.
pub(crate) const KEYS: u32 = 10_000;
/// Bytes of a value, unless the shape is about that.
const VALUE_BYTES: usize = 256;
/// Reads of ten calls of a mix.
pub(crate) const READS_OF_TEN: u32 = 9;
/// Writes of a call that makes many.
pub(crate) const WRITES_TOGETHER: usize = 64;
/// Members of a cluster, unless the shape is about that.
const MEMBERS: usize = 3;

/// One shape of load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// What it is called on the command line and in the tables.
    pub(crate) name: &'static str,
    /// What each call is.
    pub(crate) operation: Operation,
    /// Calls under way at once, at most.
    pub(crate) clients: usize,
    /// When calls begin.
    pub(crate) pace: Pace,
    /// Bytes of each value.
    pub(crate) value_bytes: usize,
    /// Members of the cluster, all of them voters.
    pub(crate) members: usize,
    /// Keys there are: all are written before.
    pub(crate) keys: u32,
    /// A follower's process stands still (SIGSTOP) for the whole window.
    pub(crate) is_follower_stopped: bool,
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Writes, at the leader.
    Write,
    /// [`WRITES_TOGETHER`] writes, at the leader: with ours on a stream, with etcd in a transaction.
    WriteTogether,
    /// Linearizable reads, at all members alike.
    Read,
    /// Reads of what the member asked has, at all members alike.
    StaleRead,
    /// [`READS_OF_TEN`] linearizable reads to one write, at all members alike.
    Mix,
    /// No calls at all: what members use by themselves.
    Idle,
    /// Writes at every member while the leader is lost, again and again: how long none is answered.
    Lose(Loss),
    /// A follower is killed and started, again and again: how long until it serves.
    Restart,
}

/// How a leader is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Its process is killed (SIGKILL), and its host is there: connections to it are refused.
    Killed,
    /// Its process is stopped (SIGSTOP): nothing of it answers, as if its host were gone.
    Gone,
    /// It is asked to hand leadership to another member.
    HandedOver,
}

impl Operation {
    /// Whether calls are made as fast or as often as the shape says, and what comes of them is told in calls a second.
    pub(crate) fn is_load(self) -> bool {
        !matches!(self, Self::Idle | Self::Lose(_) | Self::Restart)
    }
}

/// When a call begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Closed loop: when the caller's last one was answered.
    Closed,
    /// Open loop: at a fixed rate, so many a second, however long answers take.
    Open(u32),
}

/// All of them, in the order they are measured.
pub(crate) const SHAPES: [Shape; 25] = [
    closed("idle", Operation::Idle, 0),
    closed("writes-1", Operation::Write, 1),
    closed("writes-16", Operation::Write, 16),
    closed("writes-64", Operation::Write, 64),
    closed("writes-256", Operation::Write, 256),
    closed("writes-1024", Operation::Write, 1_024),
    closed("writes-4096", Operation::Write, 4_096),
    closed("64-writes-at-once-1", Operation::WriteTogether, 1),
    closed("64-writes-at-once-64", Operation::WriteTogether, 64),
    Shape { value_bytes: 16, ..closed("writes-256-of-16", Operation::Write, 256) },
    Shape { value_bytes: 4 * 1024, ..closed("writes-256-of-4k", Operation::Write, 256) },
    Shape { keys: 1_000_000, ..closed("writes-256-to-a-million", Operation::Write, 256) },
    Shape { is_follower_stopped: true, ..closed("writes-256-one-stopped", Operation::Write, 256) },
    Shape { members: 5, ..closed("writes-256-five-members", Operation::Write, 256) },
    // Below what either system can do on two cores, so that what is seen is latency and not a queue that grows.
    Shape { pace: Pace::Open(2_000), ..closed("writes-2000-a-second", Operation::Write, 256) },
    closed("reads-64", Operation::Read, 64),
    closed("reads-256", Operation::Read, 256),
    Shape { pace: Pace::Open(2_000), ..closed("reads-2000-a-second", Operation::Read, 256) },
    closed("stale-reads-64", Operation::StaleRead, 64),
    closed("stale-reads-256", Operation::StaleRead, 256),
    closed("mix-64", Operation::Mix, 64),
    // 512 MiB of state; how much of it the log still has is each system's own affair.
    Shape { value_bytes: 4 * 1024, keys: 128 * 1024, ..closed("restart-512-mib", Operation::Restart, 256) },
    lose("leader-killed", Loss::Killed),
    lose("leader-gone", Loss::Gone),
    lose("leader-hands-over", Loss::HandedOver),
];

const fn lose(name: &'static str, loss: Loss) -> Shape {
    closed(name, Operation::Lose(loss), gaps::CLIENTS)
}

/// The plain shape of so many clients.
pub(crate) const fn closed(name: &'static str, operation: Operation, clients: usize) -> Shape {
    Shape {
        name,
        operation,
        clients,
        pace: Pace::Closed,
        value_bytes: VALUE_BYTES,
        members: MEMBERS,
        keys: KEYS,
        is_follower_stopped: false,
    }
}

/// The shapes of these names; all if there are none.
pub(crate) fn named(names: &[String]) -> Result<Vec<Shape>, String> {
    if names.is_empty() {
        return Ok(SHAPES.to_vec());
    }
    let find = |name: &String| {
        let found = SHAPES.into_iter().find(|shape| shape.name == name.as_str());
        found.ok_or_else(|| {
            let known: Vec<_> = SHAPES.iter().map(|shape| shape.name).collect();
            format!("no shape is called {name}; there are {}", known.join(", "))
        })
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_shape_is_refused_with_the_names_of_all() {
        assert_eq!(named(&[]).unwrap().len(), SHAPES.len());
        assert_eq!(named(&["reads-64".to_owned()]).unwrap()[0].operation, Operation::Read);
        let refused = named(&["reads".to_owned()]).unwrap_err();
        assert!(refused.contains("writes-1, writes-16"), "{refused}");
    }
}
