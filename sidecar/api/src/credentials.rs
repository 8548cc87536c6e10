//! How a member says which certificate files it uses, without showing them.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// So many bytes of the digest tell one Secret's contents from another's.
const BYTES: usize = 8;

/// A hash of `ca.crt` and `tls.crt` as they are written: 16 hexadecimal digits.
pub fn hash(ca: &[u8], chain: &[u8]) -> String {
    let mut digest = Sha256::new();
    // The length keeps a byte that moves from one file to the other from meaning the same.
    digest.update((ca.len() as u64).to_be_bytes());
    digest.update(ca);
    digest.update(chain);
    digest.finalize().iter().take(BYTES).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // a String takes all
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_content_is_another_hash() {
        assert_eq!(hash(b"ca", b"leaf"), hash(b"ca", b"leaf"));
        assert_eq!(hash(b"ca", b"leaf").len(), 16);
        assert_ne!(hash(b"ca", b"leaf"), hash(b"cal", b"eaf"));
    }
}
