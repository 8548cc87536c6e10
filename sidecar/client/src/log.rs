//! An application's own state machine over the replicated log (K22), for a cluster founded in mode `Log`.
//!
//! ```no_run
//! # struct State { applied: u64 }
//! # impl State {
//! #     fn apply(&mut self, _: &[u8]) {}
//! #     fn save(&mut self) {}
//! #     fn load(&mut self, _: std::fs::File) {}
//! # }
//! # async fn example(mut state: State) -> Result<(), quorate_client::Error> {
//! use quorate_client::LogEvent;
//!
//! let log = quorate_client::Client::from_env()?.log();
//! let mut events = log.subscribe(state.applied).await?;
//! loop {
//!     match events.next().await? {
//!         LogEvent::Entries(entries) => {
//!             for entry in entries {
//!                 state.apply(&entry.data);
//!                 state.applied = entry.index;
//!             }
//!             state.save(); // Durable, with the index, before it is said:
//!             events.applied(state.applied);
//!         }
//!         LogEvent::SnapshotRequired(_) => {
//!             let snapshot = log.restore_snapshot(std::fs::File::create("state").unwrap()).await?;
//!             state.load(std::fs::File::open("state").unwrap());
//!             events = log.subscribe(snapshot.index).await?;
//!         }
//!     }
//! }
//! # }
//! ```
//!
//! Invariants: what is applied is a pure function of the entries; the index of the last one is saved together with the
//! state, so that after a crash no entry is applied twice. The rest (one order, none lost) is the cluster's.

use std::io::{self, Read, Write};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use quorate_api::v1::log_client::LogClient;
use quorate_api::v1::proposal_result::Result as Answer;
use quorate_api::v1::subscribe_response::Event;
use quorate_api::v1::{self, Tag};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Response, Status, Streaming};

use crate::client::{Client, with_timeout};
use crate::error::{Error, Failure, Meaning};
use crate::limits::{SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNKS_WAITING_MAX};

/// The log, through the member of this Pod. Cheap to clone; all clones of a client are one registered client.
#[derive(Clone, Debug)]
pub struct Log {
    client: Client,
    log: LogClient<Channel>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place: higher than that of every earlier entry. Between two there may be a hole.
    pub index: u64,
    /// What was proposed.
    pub data: Bytes,
}

/// A snapshot that an application offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSnapshot {
    /// The last entry in it.
    pub index: u64,
    /// Its length.
    pub bytes: u64,
}

/// What a subscription brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// The next entries, in order; at least one.
    Entries(Vec<LogEntry>),
    /// Entries that the application lacks are gone: restore the snapshot, then subscribe after its index. It is the
    /// subscription's last event.
    SnapshotRequired(LogSnapshot),
}

/// Every entry after the one that was applied, in order, each once.
#[derive(Debug)]
pub struct LogEvents {
    events: Streaming<v1::SubscribeResponse>,
    applied: watch::Sender<u64>,
}

impl Client {
    /// The log of a cluster that was founded in mode `Log`.
    pub fn log(&self) -> Log {
        Log {
            client: self.clone(),
            log: LogClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
        }
    }
}

/// A page of entries with one entry more than its limit fits (K25).
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Log {
    /// Proposes an entry and returns its index once it is committed: on the disks of a majority, in the log once however
    /// often it had to be sent. It is applied when the subscription has brought it.
    pub async fn propose(&self, data: impl Into<Bytes>) -> Result<u64, Error> {
        let data = data.into();
        self.client
            .write(|_, tag| {
                let (mut log, data) = (self.log.clone(), data.clone());
                move |timeout| async move { propose_once(&mut log, data, tag, timeout).await }
            })
            .await
    }

    /// Begins after the entry that the application's durable state stands at; 0: at nothing.
    pub async fn subscribe(&self, applied: u64) -> Result<LogEvents, Error> {
        let (acks, waiting) = mpsc::channel(1);
        let applied = watch::Sender::new(applied);
        // It ends with the subscription, or when the application drops it.
        tokio::spawn(acknowledge(applied.subscribe(), acks));
        let mut log = self.log.clone();
        let events = log.subscribe(ReceiverStream::new(waiting)).await.map_err(|status| error_of(&status))?;
        Ok(LogEvents { events: events.into_inner(), applied })
    }

    /// Offers a snapshot of the state as it stands after the entry `index`. Returns once a majority of the members has it.
    ///
    /// [`Error::Refused`]: there is one of that entry or a later one already.
    pub async fn offer_snapshot(
        &self,
        index: u64,
        state: impl Read + Send + 'static,
    ) -> Result<LogSnapshot, Error> {
        let (chunks, waiting) = mpsc::channel(SNAPSHOT_CHUNKS_WAITING_MAX);
        let reading = tokio::task::spawn_blocking(move || send_chunks(index, state, &chunks));
        let mut log = self.log.clone();
        let ended = log.snapshot_offer(ReceiverStream::new(waiting)).await;
        // What could not be read was sent as a part, which is refused: the cause is told.
        let read = reading.await.map_err(io::Error::other).flatten();
        read.map_err(|error| Error::Snapshot { message: error.to_string() })?;
        let response = ended.map_err(|status| error_of(&status))?.into_inner();
        Ok(snapshot(&response.snapshot.unwrap_or_default()))
    }

    /// Writes the latest snapshot to `into`, checked, and says which it is. On an error, what was written is worth nothing.
    ///
    /// [`Error::Refused`]: none was offered; then every entry is there, from index 0 on.
    pub async fn restore_snapshot(
        &self,
        mut into: impl Write + Send + 'static,
    ) -> Result<LogSnapshot, Error> {
        let mut log = self.log.clone();
        let parts = log.snapshot_restore(v1::SnapshotRestoreRequest {}).await;
        let mut parts = parts.map_err(|status| error_of(&status))?.into_inner();
        let first = parts.message().await.map_err(|status| error_of(&status))?;
        let wanted = first.and_then(|first| first.snapshot).unwrap_or_default();
        let (chunks, mut waiting) = mpsc::channel::<Bytes>(SNAPSHOT_CHUNKS_WAITING_MAX);
        let writing = tokio::task::spawn_blocking(move || -> io::Result<(u64, Vec<u8>)> {
            let (mut bytes, mut hash) = (0, Sha256::new());
            while let Some(data) = waiting.blocking_recv() {
                into.write_all(&data)?;
                hash.update(&data);
                bytes += data.len() as u64;
            }
            into.flush()?;
            Ok((bytes, hash.finalize().to_vec()))
        });
        while let Some(part) = parts.message().await.map_err(|status| error_of(&status))? {
            if chunks.send(part.data).await.is_err() {
                // The writer failed, and says how.
                break;
            }
        }
        drop(chunks);
        let written = writing.await.map_err(io::Error::other).flatten();
        let (bytes, sha256) = written.map_err(|error| Error::Snapshot { message: error.to_string() })?;
        if (bytes, &sha256[..]) != (wanted.bytes, &wanted.sha256[..]) {
            let message = format!("{bytes} bytes came that are not the {} of the snapshot", wanted.bytes);
            return Err(Error::Snapshot { message });
        }
        Ok(snapshot(&wanted))
    }
}

impl LogEvents {
    /// The next event. [`Error::Unavailable`]: the member went away, or fell out; subscribe again.
    pub async fn next(&mut self) -> Result<LogEvent, Error> {
        loop {
            let response = self.events.message().await.map_err(|status| error_of(&status))?;
            let Some(response) = response else {
                let message = "the subscription ended: subscribe again".to_owned();
                return Err(Error::Unavailable { message });
            };
            match response.event {
                Some(Event::Entries(found)) => {
                    let entry = |entry: v1::LogEntry| LogEntry { index: entry.index, data: entry.data };
                    return Ok(LogEvent::Entries(found.entries.into_iter().map(entry).collect()));
                }
                Some(Event::SnapshotRequired(wanted)) => {
                    return Ok(LogEvent::SnapshotRequired(snapshot(&wanted)));
                }
                // Of a newer member.
                None => {}
            }
        }
    }

    /// Says that the application's state is durable up to and with this entry. Never waits: of many in a row the latest is
    /// sent, which says all that the earlier ones did.
    pub fn applied(&self, index: u64) {
        self.applied.send_replace(index);
    }
}

/// Sends what is applied, first where the subscription begins.
async fn acknowledge(mut applied: watch::Receiver<u64>, acks: mpsc::Sender<v1::SubscribeRequest>) {
    loop {
        let applied_index = *applied.borrow_and_update();
        if acks.send(v1::SubscribeRequest { applied_index }).await.is_err()
            || applied.changed().await.is_err()
        {
            return;
        }
    }
}

/// One attempt: a stream of one entry.
async fn propose_once(
    log: &mut LogClient<Channel>,
    data: Bytes,
    tag: Tag,
    timeout: Duration,
) -> Result<Response<u64>, Status> {
    let proposal = v1::NumberedProposal { number: 1, data, tag: Some(tag) };
    let request = v1::ProposeRequest { proposals: vec![proposal] };
    let responses = log.propose(with_timeout(tokio_stream::once(request), timeout)).await?;
    let response = responses.into_inner().message().await?;
    match response.and_then(|response| response.results.into_iter().next()).and_then(|result| result.result) {
        Some(Answer::Index(index)) => Ok(Response::new(index)),
        Some(Answer::Refused(refused)) => {
            let detail = refused.detail.unwrap_or_default().encode_to_vec();
            Err(Status::with_details(Code::FailedPrecondition, refused.message, detail.into()))
        }
        None => Err(Status::unavailable("the stream ended without an answer")),
    }
}

fn send_chunks(
    index: u64,
    mut state: impl Read,
    chunks: &mpsc::Sender<v1::SnapshotOfferRequest>,
) -> io::Result<()> {
    loop {
        let mut data = vec![0; SNAPSHOT_CHUNK_BYTES];
        let taken = match state.read(&mut data) {
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        data.truncate(taken);
        let is_last = taken == 0;
        let request = v1::SnapshotOfferRequest { index, data: data.into(), is_last };
        // A call that has ended says why.
        if chunks.blocking_send(request).is_err() || is_last {
            return Ok(());
        }
    }
}

fn snapshot(wire: &v1::LogSnapshot) -> LogSnapshot {
    LogSnapshot { index: wire.index, bytes: wire.bytes }
}

fn error_of(status: &Status) -> Error {
    let Failure { meaning, message } = Failure::from_status(status);
    match meaning {
        Meaning::Invalid => Error::Invalid { message },
        Meaning::Refused | Meaning::Expired => Error::Refused { message },
        // A stream has no effect that could be unknown: what was not acknowledged is done again.
        Meaning::Retry | Meaning::Unknown => Error::Unavailable { message },
    }
}
