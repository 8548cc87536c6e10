//! The bytes of numbers, texts and lists, and the errors of reading them.
//!
//! Numbers are LEB128 (seven bits a byte, low first); byte strings are a length and the bytes; lists a count and the
//! items. A decoder copies nothing, allocates no more than the input's length, and never panics.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes that do not say what they should. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Written by a newer binary.
    #[error(
        "{what} has format version {found}, this binary knows up to {known}: run a newer version of quorate on this member"
    )]
    NewerVersion {
        /// What was read.
        what: &'static str,
        /// Its version.
        found: u8,
        /// The newest version known here.
        known: u8,
    },
    /// The bytes end too early.
    #[error("{what} ends too early")]
    Truncated {
        /// What was being read.
        what: &'static str,
    },
    /// More bytes than there should be.
    #[error("{extra} bytes too many")]
    TrailingBytes {
        /// How many.
        extra: usize,
    },
    /// A number outside what it may be.
    #[error("{what} is out of range")]
    OutOfRange {
        /// What was being read.
        what: &'static str,
    },
    /// A tag nobody knows.
    #[error("{what} {tag} is unknown")]
    UnknownTag {
        /// What was being read.
        what: &'static str,
        /// The tag.
        tag: u64,
    },
    /// A text that is not UTF-8.
    #[error("{what} is not UTF-8")]
    NotText {
        /// What was being read.
        what: &'static str,
    },
}

/// Builds bytes.
#[derive(Default)]
pub(crate) struct Writer {
    bytes: BytesMut,
}

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: BytesMut::with_capacity(bytes) }
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.bytes.put_u8(byte);
    }

    pub(crate) fn number(&mut self, mut number: u64) {
        loop {
            let [low, ..] = number.to_le_bytes();
            number >>= 7;
            if number == 0 {
                return self.bytes.put_u8(low);
            }
            self.bytes.put_u8(low | 0x80);
        }
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.number(count as u64);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.bytes.put_slice(bytes);
    }

    pub(crate) fn finish(self) -> Bytes {
        self.bytes.freeze()
    }
}

/// Takes bytes apart.
pub(crate) struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        let byte = *self.bytes.get(self.at).ok_or(DecodeError::Truncated { what })?;
        self.at += 1;
        Ok(byte)
    }

    /// A format's version; every version up to `known` is readable.
    pub(crate) fn version(&mut self, what: &'static str, known: u8) -> Result<u8, DecodeError> {
        match self.byte(what)? {
            0 => Err(DecodeError::UnknownTag { what, tag: 0 }),
            found if found > known => Err(DecodeError::NewerVersion { what, found, known }),
            found => Ok(found),
        }
    }

    pub(crate) fn flag(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.byte(what)? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(DecodeError::UnknownTag { what, tag: u64::from(tag) }),
        }
    }

    pub(crate) fn number(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::OutOfRange { what });
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(DecodeError::OutOfRange { what })
    }

    pub(crate) fn number_u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        u32::try_from(self.number(what)?).map_err(|_| DecodeError::OutOfRange { what })
    }

    pub(crate) fn size(&mut self, what: &'static str) -> Result<usize, DecodeError> {
        usize::try_from(self.number(what)?).map_err(|_| DecodeError::OutOfRange { what })
    }

    /// A byte string, sharing the input's memory.
    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<Bytes, DecodeError> {
        let length = self.size(what)?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(DecodeError::Truncated { what })?;
        let bytes = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(bytes)
    }

    pub(crate) fn text(&mut self, what: &'static str) -> Result<String, DecodeError> {
        let bytes = self.bytes(what)?;
        std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| DecodeError::NotText { what })
    }

    /// A counted list. Each item takes at least a byte, so a lying count cannot reserve more than the input holds.
    pub(crate) fn list<T>(
        &mut self,
        what: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.size(what)?;
        if count > self.bytes.len() - self.at {
            return Err(DecodeError::Truncated { what });
        }
        (0..count).map(|_| item(self)).collect()
    }

    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            extra => Err(DecodeError::TrailingBytes { extra }),
        }
    }
}
