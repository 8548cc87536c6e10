//! The header of a tar member (ustar), as far as three plain files need it.
//!
//! Written by hand and not by a library, because what we read is hostile until shown otherwise: a general reader follows
//! long names, links and extensions, and takes memory for them. Here whatever is not a plain file is refused.
//!
//! ```text
//!   name 100 │ mode 8 │ uid 8 │ gid 8 │ size 12 │ mtime 12 │ checksum 8 │ type 1 │ link 100 │ "ustar" …   512 bytes
//! ```
//! A size is eleven octal digits, or from 8 GiB on a first byte 0x80 and a big-endian number (GNU's form, which every
//! tar reads). The checksum is the sum of all bytes with the checksum's own taken for spaces.

use super::ArchiveError;

/// Members begin, and their bytes are filled up, at multiples of this.
pub(super) const BLOCK_BYTES: usize = 512;

/// One block.
pub(super) type Block = [u8; BLOCK_BYTES];

const NAME: std::ops::Range<usize> = 0..100;
const MODE: std::ops::Range<usize> = 100..108;
const UID: std::ops::Range<usize> = 108..116;
const GID: std::ops::Range<usize> = 116..124;
const SIZE: std::ops::Range<usize> = 124..136;
const MTIME: std::ops::Range<usize> = 136..148;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const TYPE: usize = 156;
const MAGIC: std::ops::Range<usize> = 257..265;

/// The first size that eleven octal digits cannot say.
const OCTAL_END: u64 = 1 << 33;

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) bytes: u64,
}

impl Member {
    /// Bytes after the content, up to the next block.
    pub(super) fn padding(&self) -> usize {
        padding(self.bytes)
    }
}

/// Zeros that fill up the last block of so many bytes.
pub(super) fn padding(bytes: u64) -> usize {
    let block = BLOCK_BYTES as u64;
    usize::try_from((block - bytes % block) % block).unwrap_or(0)
}

/// The header of a plain file that its owner may read and write. No time, no user: the same state is the same bytes.
pub(super) fn header(name: &str, bytes: u64) -> Block {
    let mut block = [0; BLOCK_BYTES];
    block[NAME.start..NAME.start + name.len()].copy_from_slice(name.as_bytes());
    for (field, number) in [(MODE, 0o600), (UID, 0), (GID, 0), (MTIME, 0)] {
        octal(&mut block[field], number);
    }
    if bytes < OCTAL_END {
        octal(&mut block[SIZE], bytes);
    } else {
        block[SIZE.start] = 0x80;
        block[SIZE.end - 8..SIZE.end].copy_from_slice(&bytes.to_be_bytes());
    }
    block[TYPE] = b'0';
    block[MAGIC].copy_from_slice(b"ustar\x0000");
    let sum = checksum(&block);
    // Six digits, a zero byte and a space: the one field with an end of its own.
    block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Reads a header; `None`: the block of zeros that ends a tar.
pub(super) fn parse(block: &Block) -> Result<Option<Member>, ArchiveError> {
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    if &block[MAGIC.start..MAGIC.start + 5] != b"ustar" {
        return Err(ArchiveError::foreign("what the gzip holds is no tar"));
    }
    if read_octal(&block[CHECKSUM]) != Some(checksum(block)) {
        return Err(ArchiveError::damaged("a header of the tar has a wrong checksum"));
    }
    if !matches!(block[TYPE], b'0' | 0) {
        return Err(ArchiveError::foreign("the tar holds something else than plain files"));
    }
    let name = block[NAME].split(|byte| *byte == 0).next().unwrap_or_default();
    let bytes =
        read_size(&block[SIZE]).ok_or_else(|| ArchiveError::foreign("a size in the tar is no number"))?;
    Ok(Some(Member { name: String::from_utf8_lossy(name).into_owned(), bytes }))
}

fn octal(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    field[..digits].copy_from_slice(format!("{number:0digits$o}").as_bytes());
}

fn checksum(block: &Block) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    sum(block) - sum(&block[CHECKSUM]) + 8 * u64::from(b' ')
}

fn read_octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

fn read_size(field: &[u8]) -> Option<u64> {
    let Some((0x80, number)) = field.split_first().map(|(first, rest)| (*first, rest)) else {
        return read_octal(field);
    };
    let (high, low) = number.split_at(number.len() - 8);
    let low: [u8; 8] = low.try_into().ok()?;
    high.iter().all(|byte| *byte == 0).then(|| u64::from_be_bytes(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_says_the_same_when_it_is_read_back() {
        for bytes in [0, 1, 511, 512, OCTAL_END - 1, OCTAL_END, u64::MAX] {
            let member = parse(&header("state", bytes)).unwrap().unwrap();
            assert_eq!(member, Member { name: "state".to_owned(), bytes });
        }
        assert_eq!((padding(0), padding(1), padding(512), padding(u64::MAX)), (0, 511, 0, 1));
        assert_eq!(parse(&[0; BLOCK_BYTES]).unwrap(), None);
    }

    /// Hostile input: any single byte changed is refused, or it was in a field that nothing hangs on but the sum.
    #[test]
    fn a_changed_byte_of_a_header_is_refused() {
        let good = header("state", 1234);
        for at in 0..BLOCK_BYTES {
            let mut bad = good;
            bad[at] ^= 0x41;
            let found = parse(&bad);
            assert!(found.is_err() || CHECKSUM.contains(&at) || MAGIC.contains(&at), "byte {at}: {found:?}");
        }
    }
}
