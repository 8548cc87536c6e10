//! The writing side: a snapshot file as an archive, streamed.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::tar::{self, BLOCK_BYTES};
use super::{ArchiveError, ArchiveMeta, META_NAME, STATE_NAME, SUMS_NAME};
use crate::limits::SNAPSHOT_CHUNK_BYTES;
use crate::names::hex;
use crate::snapshot::SnapshotFile;

/// Writes the archive of `snapshot` to `sink`, piece by piece; memory does not grow with the state.
///
/// `written_by` is the release that does it. An error of the sink is [`ArchiveError::Stream`]; what came out until then is
/// no archive, and a reader says so.
pub fn write_archive(
    snapshot: &SnapshotFile,
    written_by: &str,
    sink: impl Write,
) -> Result<ArchiveMeta, ArchiveError> {
    let meta = ArchiveMeta::of(snapshot.header(), written_by);
    // A state is mostly what clients wrote: the fast level gets most of what can be got, at a fifth of the time.
    let mut out = GzEncoder::new(sink, Compression::fast());
    let encoded = meta.encode();
    member(&mut out, META_NAME, &encoded).map_err(ArchiveError::Stream)?;
    let state = state(&mut out, snapshot)?;
    let sums = format!("{}  {META_NAME}\n{}  {STATE_NAME}\n", hex(&Sha256::digest(&encoded)), hex(&state));
    member(&mut out, SUMS_NAME, sums.as_bytes()).map_err(ArchiveError::Stream)?;
    // Two blocks of zeros end a tar.
    out.write_all(&[0; 2 * BLOCK_BYTES]).map_err(ArchiveError::Stream)?;
    out.finish().and_then(|mut sink| sink.flush()).map_err(ArchiveError::Stream)?;
    Ok(meta)
}

fn member(out: &mut impl Write, name: &str, content: &[u8]) -> io::Result<()> {
    let bytes = content.len() as u64;
    out.write_all(&tar::header(name, bytes))?;
    out.write_all(content)?;
    pad(out, bytes)
}

/// The snapshot file as it is; its SHA-256.
fn state(out: &mut impl Write, snapshot: &SnapshotFile) -> Result<[u8; 32], ArchiveError> {
    let mut hash = Sha256::new();
    out.write_all(&tar::header(STATE_NAME, snapshot.bytes())).map_err(ArchiveError::Stream)?;
    let mut offset = 0;
    while offset < snapshot.bytes() {
        let data = snapshot.read(offset, SNAPSHOT_CHUNK_BYTES)?;
        hash.update(&data);
        out.write_all(&data).map_err(ArchiveError::Stream)?;
        offset += data.len() as u64;
    }
    pad(out, snapshot.bytes()).map_err(ArchiveError::Stream)?;
    Ok(hash.finalize().into())
}

fn pad(out: &mut impl Write, bytes: u64) -> io::Result<()> {
    out.write_all(&[0; BLOCK_BYTES][..tar::padding(bytes)])
}
