//! Every limit and time of the sidecar, each with its reason and what happens at it.
//!
//! Those of the consensus core, the store and the machine live in their own crates.

use std::time::Duration;

/// Requests of clients that wait for the driver's next turn; more are refused as busy (K25).
pub const PROPOSAL_QUEUE_MAX: usize = 4_096;
/// Bytes of commands that wait for the driver's next turn; more are refused as busy (K25).
pub const PROPOSAL_QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Ended work of other threads that waits for the driver; at the bound those threads wait.
pub const COMPLETION_QUEUE_MAX: usize = 1_024;
/// One attempt to find out whether this member has caught up since it started (K38).
pub const CAUGHT_UP_TIMEOUT: Duration = Duration::from_millis(500);
/// The volume's free space is looked at (K8) whenever so much was written since: a fast disk fills up within the time below.
pub const SPACE_CHECK_BYTES: u64 = 16 * 1024 * 1024;
/// And this often in any case: others may fill the volume.
pub const SPACE_CHECK_EVERY: Duration = Duration::from_secs(2);
/// Inputs the driver takes per turn: enough to fill one commit, few enough to keep heartbeats on time.
pub const DRIVER_BATCH_MAX: usize = 4_096;
/// Writes of one message of a stream that are one request to the driver, so that it may take this many inputs more than
/// [`DRIVER_BATCH_MAX`] in a turn; the rest of the message are further requests.
pub const PROPOSALS_TOGETHER_MAX: usize = 1_024;
/// Proposals that gather while the batch before them is under way; as many go on at once, whatever is under way: more would
/// only wait longer (M5).
pub const GATHERED_MAX: usize = 1_024;
/// Bytes of their commands, likewise: one full append message.
pub const GATHERED_BYTES_MAX: usize = 256 * 1024;
/// Messages of peers that wait for the driver; a full queue stops reading from the connections.
pub const PEER_QUEUE_MAX: usize = 1_024;
/// Reads that wait for the next question to the leader (K11); more are refused as busy.
pub const READS_WAITING_MAX: usize = 4_096;
/// Reads that wait in the machine's queue or for an index to be applied; more are refused as busy.
pub const QUERY_QUEUE_MAX: usize = 4_096;
/// Batches of committed entries handed to the machine and not yet applied. Beyond it the driver keeps
/// them; what it may keep is bounded by what the core hands out before it hears `Applied`.
pub const APPLY_QUEUE_MAX: usize = 1_024;

/// Messages that wait for one peer's connection: more than the 64 in flight of K25, so that only a
/// connection that stands still fills it. A full queue drops the message and the core probes again.
pub const LINK_QUEUE_MAX: usize = 256;
/// Frames between a peer's task and its connection; more would only hide that the connection stands still.
pub const FRAMES_WAITING_MAX: usize = 2;
/// Messages put into one frame of the peer stream.
pub const LINK_BATCH_MAX: usize = 64;
/// Bytes after which a frame of the peer stream is closed: two full append messages.
pub const LINK_BATCH_BYTES_MAX: usize = 512 * 1024;
/// gRPC message size between peers (K25): an entry of 1 MiB and its frame always fit.
pub const LINK_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// HTTP/2 window of a peer connection: smaller costs a fifth of the throughput, larger gains nothing.
pub const LINK_WINDOW_BYTES: u32 = 512 * 1024;
/// Peer connections accepted at once; a cluster has at most a few dozen members.
pub const LINK_CONNECTIONS_MAX: usize = 256;
/// Accepted connections that wait to be served.
pub const ACCEPTED_WAITING_MAX: usize = 16;
/// Pause after a failed accept: the cause is a lack of something that takes a moment to come back.
pub const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(100);
/// TCP connect to a peer.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// TCP connect to the address that worked last: a stale one must not hold up the name's answer (K42).
pub const DIAL_HINT_TIMEOUT: Duration = Duration::from_millis(300);
/// TLS and hello after TCP is up, on both sides.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// First pause after a failed dial.
pub const DIAL_BACKOFF_MIN: Duration = Duration::from_millis(10);
/// Longest pause after a failed dial: half a heartbeat, so that a healed peer hears its leader long
/// before its election timer ends (B11).
pub const DIAL_BACKOFF_MAX: Duration = Duration::from_millis(50);
/// How long an answer of DNS is used again while dials keep failing: at most four questions a second.
pub const RESOLVE_EVERY: Duration = Duration::from_millis(250);
/// HTTP/2 ping on a silent peer connection, and how long its answer may take: after a partition a dead
/// connection must be replaced sooner than TCP itself would try again (B11).
pub const LINK_KEEPALIVE: Duration = Duration::from_secs(1);
/// The same at the other end, where a caller is silent only if it vanished, as it pings itself: this frees its place.
/// Were both ends as quick, an idle member would be woken twice as often for nothing.
pub const LINK_CALLER_KEEPALIVE: Duration = Duration::from_secs(10);
/// A server that left the configuration is still told so over its connection for this long (S8).
pub const DEPARTED_KEEP: Duration = Duration::from_secs(15);
/// Pause after a peer turned out to have lost its volume: only a change of membership helps.
pub const VOLUME_LOST_PAUSE: Duration = Duration::from_secs(1);
/// Pause after a peer refused us or we it: only a person helps, or a restart of one of the two (K18, K24).
pub const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// Addresses of one name that are tried per dial.
pub const DIAL_ADDRESSES_MAX: usize = 4;

/// Changes of keys that are kept for `Kv.Watch` (K25). The oldest goes; who has not read it begins anew.
pub const WATCH_HISTORY_MAX: usize = 100_000;
/// Bytes of keys and values in them: large values must not cost a gigabyte. The oldest goes.
pub const WATCH_HISTORY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Changes that a watcher looks at at a time (K25), and gets in one message: the history is held for no longer.
pub const WATCH_READ_MAX: usize = 1_024;
/// Bytes of them after which a message is closed; one change alone may be larger.
pub const WATCH_READ_BYTES_MAX: usize = 1024 * 1024;

/// Snapshot bytes per second to one peer, so that heartbeats and commits keep their latency (K25).
pub const SNAPSHOT_BYTES_PER_SECOND: usize = 32 * 1024 * 1024;
/// Bytes of one snapshot chunk.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 * 1024;
/// Chunks that wait to be written, and replies that wait to be sent.
pub const SNAPSHOT_CHUNKS_WAITING_MAX: usize = 4;
/// Bytes after which the sender hears of progress again.
pub const SNAPSHOT_PROGRESS_EVERY: u64 = 4 * 1024 * 1024;
/// And time after which it hears of less: on a slow connection little is all there is (A18).
pub const SNAPSHOT_PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
/// A snapshot transfer that moved nothing for so long has failed; the next one resumes.
pub const SNAPSHOT_STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Archives being saved at a time (K17); one more is refused as busy. Each keeps a snapshot on the data volume until it is
/// through; they share it if they began close together.
pub const ARCHIVES_MAX: usize = 2;
/// Bytes of an archive handed to the connection at a time.
pub const ARCHIVE_CHUNK_BYTES: usize = 64 * 1024;
/// Chunks of an archive that wait for the connection, or for our disk: with a chunk's size, all the memory it takes.
pub const ARCHIVE_CHUNKS_WAITING_MAX: usize = 4;
/// An archive of which nothing was taken, or of which nothing came, for so long is given up.
pub const ARCHIVE_STALL_TIMEOUT: Duration = Duration::from_mins(1);
/// Saving an archive: how often it is looked whether the state is on the disk.
pub const ARCHIVE_FLUSH_GLANCE: Duration = Duration::from_millis(10);

/// A member that is asked to stage an archive has failed if it takes longer: 28 GiB at the pace of a snapshot.
pub const STAGE_TIMEOUT: Duration = Duration::from_mins(15);
/// A member that must restore an archive and found it nowhere asks again after this pause.
pub const STAGE_RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Subscriptions to the application's log (K22) open at this member at once; one more is refused as busy. One is enough.
pub const SUBSCRIPTIONS_MAX: usize = 64;
/// Entries of the application in one message to it.
pub const ENTRIES_PAGE_ROWS_MAX: usize = 1_024;
/// Bytes of entries in one message to the application; one entry may be larger.
pub const ENTRIES_PAGE_BYTES_MAX: usize = 1024 * 1024;
/// A subscription whose read was refused as busy reads again after this pause.
pub const ENTRIES_RETRY_PAUSE: Duration = Duration::from_millis(50);
/// How often it is looked whether the application's log can be trimmed, and whether its snapshot is here.
pub const APPLICATION_GLANCE: Duration = Duration::from_secs(1);

/// Dials to a peer whose stream ended, before it is left open whether its process is gone (K12).
pub const GONE_DIALS_MAX: usize = 5;
/// Between two of them: a dying process has closed its port by then.
pub const GONE_DIAL_PAUSE: Duration = Duration::from_millis(20);

/// A member tells whoever leads so often how it is (autopilot.md §6b): as often as there are rounds.
pub const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Deadline of a call forwarded to the leader when the caller set none.
pub const REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Longest deadline accepted from a caller: what waits in memory must end.
pub const REQUEST_TIMEOUT_MAX: Duration = Duration::from_mins(1);

/// Look at the files with zone and version so often: the kubelet writes a changed annotation within a minute anyway.
pub const WORDS_POLL: Duration = Duration::from_secs(3);

/// Look at the certificate files so often: a Secret reaches a Pod within a minute anyway.
pub const CERTIFICATE_POLL: Duration = Duration::from_secs(3);
/// Reading autopilot's settings: the machine answers at once, or the round is left out.
pub const AUTOPILOT_READ_TIMEOUT: Duration = Duration::from_millis(500);
/// One change of membership asked by autopilot; the next round asks again.
pub const AUTOPILOT_ACTION_TIMEOUT: Duration = Duration::from_secs(2);
/// Servers facts may be reported for.
pub const FACTS_MAX: usize = 256;

/// Writes in the memtable after which it is frozen and flushed even if small: bounds the replay at start.
pub const FLUSH_EVERY: Duration = Duration::from_secs(30);
/// How often the idle machine looks whether it is time to flush.
pub const FLUSH_CHECK: Duration = Duration::from_secs(1);

/// Pause before a flush that is ahead of the own log is tried again: about one commit.
pub const FLUSH_RETRY_PAUSE: Duration = Duration::from_millis(10);
/// Numbers that grow with every write are published to readers of the view at most so often.
pub const VIEW_EVERY: Duration = Duration::from_millis(100);
/// Pause before this member registers itself as a client again, after a try that failed or a registration that
/// expired (K20); meanwhile what it forwards goes untagged.
pub const REGISTRATION_PAUSE: Duration = Duration::from_secs(1);
/// Pause before a call is sent to the next leader; a leadership change ends it early.
pub const LEADER_RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Ends of sessions and lock delays proposed at a time by the leader whose clock they ran out on (K21): many at once must
/// not crowd out writes.
pub const SESSION_ENDS_MAX: usize = 64;
/// Pause before an end that could not be proposed is proposed again, and before a new leader tries again to begin.
pub const SESSION_RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A new leader's try to begin measuring sessions: a round, and everything before it applied.
pub const SESSION_START_TIMEOUT: Duration = Duration::from_secs(5);

/// The whole of `pre-stop`, connection included (K43).
pub const PRE_STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Hand-over when `pre-stop` asks for it: nothing ends meanwhile, so that a busy target may take its time.
pub const HANDOVER_TIMEOUT: Duration = Duration::from_secs(3);
/// A process that is asked to stop has ended within this time, whatever it was doing (raft.md §7, 22). The four parts of it
/// below leave some for what none of them counts.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// Hand-over when the process itself is asked to stop: a transfer takes two round trips and two writes. One that is
/// impossible, because a majority is gone or stops as well, must not hold up the end; without it one is elected.
pub const STOP_HANDOVER_TIMEOUT: Duration = Duration::from_millis(300);
/// Requests under way when the process is asked to stop get so long to finish.
pub const STOP_DRAIN_TIMEOUT: Duration = Duration::from_millis(300);
/// Applying what is queued, and a flush, at a graceful stop may take so long; without them the next start replays a longer log.
pub const STOP_FLUSH_TIMEOUT: Duration = Duration::from_millis(200);
/// Writes handed to the storage thread before a stop get so long to be committed; of those that were not, nobody was told.
pub const STOP_STORAGE_TIMEOUT: Duration = Duration::from_millis(100);
/// Shortest admin token: less could be guessed.
pub const ADMIN_TOKEN_BYTES_MIN: usize = 16;
/// A file that one thread finds stopped was stopped by an error that another met: so long is waited for its word.
pub const CAUSE_PATIENCE: Duration = Duration::from_millis(500);
/// Longest request on the control socket.
pub const CONTROL_REQUEST_BYTES_MAX: usize = 64;

const _: () = assert!(
    SNAPSHOT_PROGRESS_INTERVAL.as_millis() < SNAPSHOT_STALL_TIMEOUT.as_millis(),
    "what moves must not look stalled"
);
const _: () =
    assert!(LINK_BATCH_BYTES_MAX * 2 < LINK_MESSAGE_BYTES_MAX, "a frame must always fit in one message");
const _: () = assert!(
    STOP_HANDOVER_TIMEOUT.as_millis()
        + STOP_DRAIN_TIMEOUT.as_millis()
        + STOP_FLUSH_TIMEOUT.as_millis()
        + STOP_STORAGE_TIMEOUT.as_millis()
        < STOP_TIMEOUT.as_millis(),
    "the parts of a stop must leave some of it"
);
