//! The reading side: every byte is looked at before the archive counts, and none is trusted before.

use std::io::{self, BufRead, ErrorKind, Read};

use flate2::bufread::GzDecoder;
use quorate_machine::KeyText;
use sha2::{Digest, Sha256};

use super::tar::{self, BLOCK_BYTES, Block, Member};
use super::{ArchiveError, ArchiveMeta, META_NAME, STATE_NAME, SUMS_NAME};
use crate::limits::{ARCHIVE_META_BYTES_MAX, ARCHIVE_PADDING_BYTES_MAX};
use crate::names::hex;

/// An archive on its way in: [`ArchiveReader::open`], then [`ArchiveReader::read`] until it gives nothing, then
/// [`ArchiveReader::finish`].
#[derive(Debug)]
pub struct ArchiveReader<R: BufRead> {
    input: GzDecoder<R>,
    meta: ArchiveMeta,
    meta_sha256: [u8; 32],
    state: Member,
    /// Bytes of the state still to come.
    left: u64,
    hash: Sha256,
}

impl<R: BufRead> ArchiveReader<R> {
    /// Reads up to the state. Refused for what is no archive of ours, or one of a newer format.
    pub fn open(source: R) -> Result<Self, ArchiveError> {
        let mut input = GzDecoder::new(source);
        let mut block = [0; BLOCK_BYTES];
        input.read_exact(&mut block).map_err(not_ours)?;
        let meta = content(&mut input, &expected(&block, META_NAME)?)?;
        let meta_sha256 = Sha256::digest(&meta).into();
        let meta = ArchiveMeta::decode(&meta)?;
        let state = next(&mut input, STATE_NAME)?;
        Ok(Self { input, meta, meta_sha256, left: state.bytes, state, hash: Sha256::new() })
    }

    /// What it says of itself; true only once [`ArchiveReader::finish`] says so.
    pub fn meta(&self) -> &ArchiveMeta {
        &self.meta
    }

    /// How long the state is.
    pub fn state_bytes(&self) -> u64 {
        self.state.bytes
    }

    /// The next bytes of the state; 0 at its end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        let taken = self.input.read(&mut buffer[..room]).map_err(broken)?;
        if taken == 0 {
            return Err(ArchiveError::Truncated);
        }
        self.hash.update(&buffer[..taken]);
        self.left -= taken as u64;
        Ok(taken)
    }

    /// Reads to the end of the input and compares the checksums. The state's SHA-256.
    pub fn finish(mut self) -> Result<[u8; 32], ArchiveError> {
        if self.left > 0 {
            return Err(ArchiveError::damaged("its state was not read to the end"));
        }
        zeros(&mut self.input, self.state.padding())?;
        let sums = next(&mut self.input, SUMS_NAME)?;
        let sums = content(&mut self.input, &sums)?;
        let state_sha256: [u8; 32] = self.hash.finalize().into();
        let found = [(META_NAME, self.meta_sha256), (STATE_NAME, state_sha256)];
        for (name, sha256) in found {
            let line = format!("{}  {name}", hex(&sha256));
            if !sums.split(|byte| *byte == b'\n').any(|found| found == line.as_bytes()) {
                return Err(ArchiveError::damaged(format!(
                    "{name} does not have the checksum in {SUMS_NAME}"
                )));
            }
        }
        zeros(&mut self.input, 2 * BLOCK_BYTES)?;
        end(self.input)?;
        Ok(state_sha256)
    }
}

/// The next header, which must be of this member.
fn next(input: &mut impl Read, name: &str) -> Result<Member, ArchiveError> {
    let mut block = [0; BLOCK_BYTES];
    input.read_exact(&mut block).map_err(broken)?;
    expected(&block, name)
}

fn expected(block: &Block, name: &str) -> Result<Member, ArchiveError> {
    let wrong = |found: &str| {
        let why = format!("{found} where {name} should be: an archive is taken only as it was written");
        Err(ArchiveError::foreign(why))
    };
    match tar::parse(block)? {
        Some(member) if member.name == name => Ok(member),
        // Whoever made it chose the name.
        Some(member) => wrong(&format!("the tar holds {}", KeyText(member.name.as_bytes()))),
        None => wrong("the tar ends"),
    }
}

/// A small member, whole, and the zeros after it.
fn content(input: &mut impl Read, member: &Member) -> Result<Vec<u8>, ArchiveError> {
    let bytes = usize::try_from(member.bytes).unwrap_or(usize::MAX);
    if bytes > ARCHIVE_META_BYTES_MAX {
        return Err(ArchiveError::foreign(format!("its {} would have {bytes} bytes", member.name)));
    }
    let mut content = vec![0; bytes];
    input.read_exact(&mut content).map_err(broken)?;
    zeros(input, member.padding())?;
    Ok(content)
}

fn zeros(input: &mut impl Read, bytes: usize) -> Result<(), ArchiveError> {
    let mut block = [0; 2 * BLOCK_BYTES];
    input.read_exact(&mut block[..bytes]).map_err(broken)?;
    if block.iter().all(|byte| *byte == 0) {
        Ok(())
    } else {
        Err(ArchiveError::damaged("bytes where zeros should be"))
    }
}

/// Nothing may follow but the zeros a tar may be filled up with, in the same gzip; reading on also checks gzip's own sum.
fn end<R: BufRead>(mut input: GzDecoder<R>) -> Result<(), ArchiveError> {
    let mut padding = Vec::new();
    let limit = ARCHIVE_PADDING_BYTES_MAX as u64 + 1;
    input.by_ref().take(limit).read_to_end(&mut padding).map_err(broken)?;
    if padding.len() > ARCHIVE_PADDING_BYTES_MAX || padding.iter().any(|byte| *byte != 0) {
        return Err(ArchiveError::foreign("something follows its end"));
    }
    let mut source = input.into_inner();
    if source.fill_buf().map_err(broken)?.is_empty() {
        Ok(())
    } else {
        Err(ArchiveError::foreign("something follows its end"))
    }
}

/// An error before anything of ours was seen.
fn not_ours(error: io::Error) -> ArchiveError {
    match error.kind() {
        ErrorKind::InvalidInput | ErrorKind::InvalidData => ArchiveError::foreign("it is no gzip"),
        _ => broken(error),
    }
}

fn broken(error: io::Error) -> ArchiveError {
    match error.kind() {
        ErrorKind::UnexpectedEof => ArchiveError::Truncated,
        // What flate2 says of bytes that no gzip can have.
        ErrorKind::InvalidInput | ErrorKind::InvalidData => ArchiveError::damaged(error.to_string()),
        _ => ArchiveError::Stream(error),
    }
}
