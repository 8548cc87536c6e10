//! The frame of everything the store writes: a version byte in front, a CRC-32 behind.
//!
//! ```text
//!   version u8 │ body …                       │ crc32 u32 (of version and body)
//! ```
//!
//! All numbers are little-endian. Invariant: [`Reader`] never panics and never allocates more than
//! the bytes it was given, whatever they are.

/// Why bytes could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not what was written.
    #[error("{0}")]
    Damaged(String),
    /// The bytes are of a version this build does not read (K24).
    #[error("record version {found}, this build reads {newest}")]
    Version {
        /// The version found.
        found: u8,
        /// The version this build reads.
        newest: u8,
    },
}

impl DecodeError {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}

/// Bytes of the checksum at the end.
pub(crate) const CRC_BYTES: usize = 4;

/// Builds one record.
#[derive(Debug)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// A record that begins with its version.
    pub(crate) fn new(version: u8) -> Self {
        Self(vec![version])
    }

    /// Bytes so far, without the checksum.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn u128(&mut self, value: u128) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A length (u32), then the bytes.
    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        // Lengths are bounded far below 4 GiB by the core's and our own limits.
        debug_assert!(u32::try_from(value.len()).is_ok());
        self.u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(value);
        self
    }

    /// A presence byte, then the value if there is one.
    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) -> &mut Self {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
        self
    }

    /// The finished record, with its checksum.
    pub(crate) fn seal(mut self) -> Vec<u8> {
        let crc = crc32fast::hash(&self.0);
        self.u32(crc);
        self.0
    }
}

/// Reads the body of one record.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks the checksum, then the version, and stands at the body.
    pub(crate) fn open(record: &'a [u8], version: u8) -> Result<Self, DecodeError> {
        let (sealed, crc) = record
            .split_last_chunk::<CRC_BYTES>()
            .ok_or_else(|| DecodeError::damaged("a record is shorter than its checksum"))?;
        if crc32fast::hash(sealed) != u32::from_le_bytes(*crc) {
            return Err(DecodeError::damaged("a record's checksum does not match its bytes"));
        }
        let (found, rest) =
            sealed.split_first().ok_or_else(|| DecodeError::damaged("a record has no version"))?;
        if *found != version {
            return Err(DecodeError::Version { found: *found, newest: version });
        }
        Ok(Self { rest })
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or_else(|| DecodeError::damaged("a record ends before its last field"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn u128(&mut self) -> Result<u128, DecodeError> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u32()?;
        self.take(usize::try_from(len).unwrap_or(usize::MAX))
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| DecodeError::damaged("a text is not UTF-8"))
    }

    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            other => Err(DecodeError::damaged(format!("a presence byte is {other}"))),
        }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::damaged(format!("{} bytes are left over after the last field", self.rest.len())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K24: another version is named, and is not taken for damage.
    #[test]
    fn another_version_is_not_damage() {
        let mut writer = Writer::new(2);
        writer.u64(7);
        let record = writer.seal();
        assert_eq!(Reader::open(&record, 1).unwrap_err(), DecodeError::Version { found: 2, newest: 1 });
    }

    #[test]
    fn any_changed_bit_is_found() {
        let mut writer = Writer::new(1);
        writer.u64(7).bytes(b"abc").option(Some(3u8), |w, v| {
            w.u8(v);
        });
        let record = writer.seal();
        for bit in 0..record.len() * 8 {
            let mut changed = record.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Reader::open(&changed, 1).is_err(), "bit {bit}");
        }
    }
}
