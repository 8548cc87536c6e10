//! Archives on their way out and in: the file work on a thread of its own, the connection chunk by chunk.
//!
//! Invariant: what waits between the two is bounded, and a caller that moves nothing for long loses its place.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use quorate_raft::Term;
use quorate_store::{ArchiveError, ArchiveReader, StagedFile, Stages, StoreError, write_archive};
use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{info, warn};

use crate::driver::{CallError, ErrorKind as CallErrorKind, Handle, RestoredAt, Snapshot, staging_failed};
use crate::limits::{
    ARCHIVE_CHUNK_BYTES, ARCHIVE_CHUNKS_WAITING_MAX, ARCHIVE_STALL_TIMEOUT, REQUEST_TIMEOUT_DEFAULT,
};

/// The archive's bytes; an error in place of the next chunk means that it is not whole and never will be.
pub(super) fn stream(snapshot: Snapshot) -> ReceiverStream<io::Result<Bytes>> {
    let (chunks, waiting) = mpsc::channel(ARCHIVE_CHUNKS_WAITING_MAX);
    let runtime = Runtime::current();
    // It ends with the archive, or at the latest a stall after the caller is gone.
    tokio::task::spawn_blocking(move || {
        let last = snapshot.file.meta().last;
        let pipe = Pipe { chunks: chunks.clone(), buffer: BytesMut::new(), runtime };
        match write_archive(&snapshot.file, env!("CARGO_PKG_VERSION"), pipe) {
            Ok(_) => info!(index = %last.index, bytes = snapshot.file.bytes(), "an archive was saved"),
            Err(error) => {
                warn!(index = %last.index, %error, "an archive was not saved");
                // A caller that is gone needs no telling; one that is there must not take a part for the whole.
                let _ = chunks.try_send(Err(broken(error)));
            }
        }
    });
    ReceiverStream::new(waiting)
}

fn broken(error: ArchiveError) -> io::Error {
    match error {
        ArchiveError::Stream(error) => error,
        error => io::Error::other(error),
    }
}

/// From a writer to a channel.
struct Pipe {
    chunks: mpsc::Sender<io::Result<Bytes>>,
    buffer: BytesMut,
    runtime: Runtime,
}

impl Pipe {
    fn send(&mut self) -> io::Result<()> {
        let chunk = self.buffer.split().freeze();
        match self.runtime.block_on(timeout(ARCHIVE_STALL_TIMEOUT, self.chunks.send(Ok(chunk)))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::new(ErrorKind::BrokenPipe, "the caller is gone")),
            Err(_) => Err(io::Error::new(ErrorKind::TimedOut, "the caller took nothing for long")),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= ARCHIVE_CHUNK_BYTES {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() { Ok(()) } else { self.send() }
    }
}

/// Restores the archive in `body`: checks it whole, spreads it, proposes it, and returns when it is applied here (K17).
///
/// An error that says *not applied* came before anything was proposed.
pub(super) async fn restore<S, E>(handle: &Handle, body: S) -> Result<RestoredAt, CallError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::error::Error + Send + Sync + 'static,
{
    let place = handle.begin_restore(Instant::now() + REQUEST_TIMEOUT_DEFAULT).await?;
    let staged = stage(handle, body, place.term()).await?;
    let applied = handle.restore(place, &staged).await?;
    info!(index = %applied.index, bytes = staged.order().bytes, "an archive was restored");
    Ok(applied.into())
}

/// From the connection to a staged file on this member's disk.
async fn stage<S, E>(handle: &Handle, mut body: S, term: Term) -> Result<Arc<StagedFile>, CallError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::error::Error + Send + Sync + 'static,
{
    let (chunks, waiting) = mpsc::channel(ARCHIVE_CHUNKS_WAITING_MAX);
    let stages = Arc::clone(handle.stages());
    let taking =
        tokio::task::spawn_blocking(move || take(&stages, Upload { waiting, now: Bytes::new() }, term));
    loop {
        let chunk = match timeout(ARCHIVE_STALL_TIMEOUT, body.next()).await {
            Ok(Some(Ok(chunk))) => Ok(chunk),
            Ok(Some(Err(error))) => Err(io::Error::new(ErrorKind::ConnectionAborted, error)),
            Ok(None) => break,
            Err(_) => Err(io::Error::new(ErrorKind::TimedOut, "nothing came for long")),
        };
        let is_last = chunk.is_err();
        // It has seen enough, and says what it found.
        if chunks.send(chunk).await.is_err() || is_last {
            break;
        }
    }
    drop(chunks);
    match taking.await {
        Ok(Ok(staged)) => Ok(staged),
        Ok(Err(ArchiveError::Store(error))) => Err(staging_failed(&error)),
        Ok(Err(error)) => {
            Err(CallError::not_applied(CallErrorKind::Invalid, format!("{error}; nothing was changed")))
        }
        Err(_) => Err(CallError::stopping()),
    }
}

fn take(stages: &Stages, upload: Upload, term: Term) -> Result<Arc<StagedFile>, ArchiveError> {
    let mut reader = ArchiveReader::open(BufReader::with_capacity(ARCHIVE_CHUNK_BYTES, upload))?;
    let mut incoming = stages.begin(reader.state_bytes())?;
    let mut buffer = vec![0; ARCHIVE_CHUNK_BYTES];
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            taken => incoming.write(&buffer[..taken])?,
        }
    }
    let meta = reader.meta().clone();
    reader.finish()?;
    let staged = incoming.finish(None, term)?;
    if staged.header().last != meta.last || staged.header().index_base != meta.index_base {
        let why = "its meta.json and its state are of different entries".to_owned();
        return Err(StoreError::SnapshotRefused { why }.into());
    }
    Ok(staged)
}

/// From a channel to a reader.
struct Upload {
    waiting: mpsc::Receiver<io::Result<Bytes>>,
    now: Bytes,
}

impl Read for Upload {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() {
            match self.waiting.blocking_recv() {
                Some(chunk) => self.now = chunk?,
                None => return Ok(0),
            }
        }
        let taken = self.now.split_to(self.now.len().min(buffer.len()));
        buffer[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}
