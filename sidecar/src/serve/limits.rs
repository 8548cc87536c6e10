//! Every limit of what this member answers: value, reason, and what happens there.
//!
//! Limits on keys, values and transactions are the machine's.

use std::time::Duration;

/// A gRPC message in either direction (K25). Larger is refused by the transport.
pub const GRPC_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Calls one gRPC connection may have open; further ones wait in the client.
pub const GRPC_STREAMS_MAX: u32 = 1_024;

/// TLS connections of the operator and members accepted at once; further ones wait in the backlog.
pub const GRPC_TLS_CONNECTIONS_MAX: usize = 256;

/// TLS connections of callers without a certificate at once, on each port that `clientAccess: Cluster` opens; further ones
/// are closed. They never take the places above.
pub const OUTSIDE_CONNECTIONS_MAX: usize = 1_024;

/// Longest token that is reviewed; Kubernetes' own have about 1 KiB.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Answers of the API server about tokens that are kept; then the oldest goes, refusals first.
pub const REVIEWS_CACHED_MAX: usize = 1_024;

/// A reviewed token is believed for so long without asking again: one that was revoked works so much longer.
pub const REVIEW_LIFE: Duration = Duration::from_mins(1);

/// A refused token is not asked about again for so long.
pub const REVIEW_REFUSED_LIFE: Duration = Duration::from_secs(10);

/// While the API server is away, a token that was good the last time is believed until its review is so old: a pause of
/// the API server must not stop the data path.
pub const REVIEW_GRACE: Duration = Duration::from_mins(10);

/// Reviews under way at once; further callers wait for their turn, at most to their deadline.
pub const REVIEWS_AT_ONCE_MAX: usize = 16;

/// The transport ends a call at its deadline with a bare text; ours, which says more, must leave before.
pub const DEADLINE_MARGIN_MAX: Duration = Duration::from_millis(100);

/// Entries in one page of a gRPC list; asking for more is refused.
pub const LIST_ROWS_MAX: u32 = 1_000;

/// Keys and values in one page of a gRPC list, summed; the page ends there and says that there is more.
pub const LIST_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Writes of one `Kv.Write` stream under way at once. At the limit the member reads no further requests until some are
/// answered.
pub const PIPELINE_WRITES_MAX: usize = 1_024;

/// Bytes of the writes of one `Kv.Write` stream under way at once; a message more, at most. Beyond it the member reads
/// no further requests until some are answered.
pub const PIPELINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How often a stream looks for writes that are not answered in time.
pub const PIPELINE_OVERDUE_CHECK: Duration = Duration::from_secs(1);

/// Bytes of results that go into one message of a `Kv.Write` stream; one result may be larger.
pub const PIPELINE_RESULT_BYTES: usize = 256 * 1024;

/// `Kv.Watch` streams open at once. Further ones are refused as busy.
pub const KV_WATCHES_MAX: usize = 4_096;

/// A `Kv.Watch` stream on which nothing happens says so often how far it is: its client knows that it lives, and where to
/// go on without falling behind the history.
pub const WATCH_WORD_EVERY: Duration = Duration::from_secs(10);

/// Keys that one HTTP `recurse` or `keys` answers. Consul's API has no pages, so more is refused with 413.
pub const HTTP_LIST_ROWS_MAX: usize = 100_000;

/// Keys and values that one HTTP `recurse` answers, summed. More is refused with 413.
pub const HTTP_LIST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long an HTTP call waits for a leader and its commit: Consul's hold. Then 500.
pub const HTTP_HOLD: Duration = Duration::from_secs(7);

/// Blocking queries open at once. Further ones are answered 500: at once they would be asked again without pause.
pub const WATCHES_MAX: usize = 4_096;

/// A blocking query that was woken by a change of other keys looks again only after this pause.
pub const WATCH_REST: Duration = Duration::from_millis(100);
/// HTTP connections of the Pod's applications at once; further ones wait in the backlog.
pub const HTTP_CONNECTIONS_MAX: usize = 8_192;

/// An HTTP connection on which no request begins for so long is closed: longer than clients pool theirs (90 s in Go).
pub const HTTP_IDLE_MAX: Duration = Duration::from_mins(2);

/// Connections to the ops port at once; further ones wait in the backlog.
pub const OPS_CONNECTIONS_MAX: usize = 256;

/// A connection to the ops port on which no request begins for so long is closed. Kubelets use a new one for each probe.
pub const OPS_IDLE_MAX: Duration = Duration::from_secs(10);

/// How long a blocking query waits if it does not say (Consul's values, as are the next two).
pub const WAIT_DEFAULT: Duration = Duration::from_mins(5);

/// The longest wait of a blocking query; longer ones are cut to it.
pub const WAIT_MAX: Duration = Duration::from_mins(10);

/// The lock delay of a session that does not say one: Consul's.
pub const LOCK_DELAY_DEFAULT: Duration = Duration::from_secs(15);

/// Waits are lengthened by up to one part in this many, so that watchers do not come back all at once.
pub const WAIT_JITTER_PART: u32 = 16;

/// A pause a caller should make before trying again after `Busy` or without a leader.
pub const RETRY_AFTER: Duration = Duration::from_millis(250);

const _: () = assert!(
    crate::limits::WATCH_READ_BYTES_MAX
        + quorate_machine::limits::VALUE_BYTES_MAX
        + crate::limits::WATCH_READ_MAX * 64
        < GRPC_MESSAGE_BYTES_MAX,
    "changes of keys, with one more than their limit, must fit in one message"
);
const _: () = assert!(WATCHES_MAX < HTTP_CONNECTIONS_MAX, "watchers must leave connections for writes");
const _: () = assert!(
    LIST_BYTES_MAX + quorate_machine::limits::VALUE_BYTES_MAX + (LIST_ROWS_MAX as usize) * 64
        < GRPC_MESSAGE_BYTES_MAX,
    "a page, with one entry more than its limit, must fit in one message"
);
