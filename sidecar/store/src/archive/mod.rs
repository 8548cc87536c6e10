//! The archive a person keeps: the state at one entry as one file of our own format (K17).
//!
//! ```text
//!   gzip ( tar ( meta.json │ state │ SHA256SUMS ) )        drawn in `FORMAT.md`
//!
//!   snapshot file ──ArchiveWriter──▶ bytes as they are made      nothing is held but one buffer
//!   bytes ──ArchiveReader──▶ meta.json, then the state in pieces, then whether all of it was right
//! ```
//!
//! `state` is a snapshot file, byte for byte, so there is one format of a state and not two. What a person can do with
//! it needs no tool of ours: `tar xzf`, then `sha256sum -c SHA256SUMS`.
//!
//! Invariant: a reader holds a bounded number of bytes, whatever the archive says of itself, and gives its last word
//! only when every byte up to the end of the input was looked at.
//! Not here: what a restore keeps of the archive and what of the cluster (`machine`), and who may ask for either.

mod error;
mod meta;
mod read;
mod tar;
mod write;

pub use error::ArchiveError;
pub use meta::ArchiveMeta;
pub use read::ArchiveReader;
pub use write::write_archive;

/// The members of the tar, in this order and no other.
const META_NAME: &str = "meta.json";
const STATE_NAME: &str = "state";
const SUMS_NAME: &str = "SHA256SUMS";
