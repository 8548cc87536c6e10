//! Keys in paths: percent-decoded bytes behind `/v1/kv/`, with `//` and `%2F` as they stand.
//!
//! Printable UTF-8 is accepted, spaces and `:` included. Refused is what no client means: a first `/`, a `..` part,
//! control characters.

use bytes::Bytes;
use quorate_machine::limits::KEY_BYTES_MAX;

use super::refused::Refused;

/// The key in the path behind `/v1/kv/`; may be empty, which some requests allow.
pub(super) fn parse_key(raw: &str) -> Result<Bytes, Refused> {
    let bytes = decode_percent(raw).ok_or(Refused::UnprintablePath)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Refused::Bad("the key is not UTF-8: percent-encode a UTF-8 key".to_owned()))?;
    if !text.chars().all(is_printable) {
        return Err(Refused::UnprintablePath);
    }
    if text.len() > KEY_BYTES_MAX {
        return Err(Refused::key_too_long(text.len()));
    }
    check_key(&text)?;
    Ok(text.into_bytes().into())
}

/// Refuses what no client means, wherever a key stands.
pub(super) fn check_key(text: &str) -> Result<(), Refused> {
    if text.starts_with('/') {
        return Err(Refused::Bad("the key begins with \"/\": leave the first slash out".to_owned()));
    }
    if text.split('/').any(|part| part == "..") {
        return Err(Refused::Bad("the key has a \"..\" part: keys are no paths, name it in full".to_owned()));
    }
    Ok(())
}

/// Go's `unicode.IsPrint` as far as it matters: no control or format characters, and of all spaces only U+0020.
fn is_printable(letter: char) -> bool {
    let is_invisible = matches!(
        letter,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    letter == ' ' || !(letter.is_control() || letter.is_whitespace() || is_invisible)
}

/// The bytes; none if a `%` is not followed by two hex digits.
pub(super) fn decode_percent(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors 19 and 21, and consul-http.md §4: Terraform needs `-env:`, old Traefik probes a key with `ç`.
    #[test]
    fn keys_are_taken_as_they_are_meant() {
        for (raw, key) in [
            ("a", "a"),
            ("x%2Fy", "x/y"),
            ("50%25", "50%"),
            ("a+b", "a+b"),
            ("qmsl%C3%A7", "qmslç"),
            ("a//b", "a//b"),
            ("state-env:one%20two", "state-env:one two"),
            ("a..b/c", "a..b/c"),
            ("", ""),
        ] {
            assert_eq!(parse_key(raw), Ok(Bytes::from(key)), "{raw}");
        }
    }

    #[test]
    fn keys_nobody_means_are_refused() {
        for unprintable in ["a%00b", "a%C2%A0b", "a%0Ab", "%zz", "%2"] {
            assert_eq!(parse_key(unprintable), Err(Refused::UnprintablePath), "{unprintable}");
        }
        for bad in ["%2Fa", "a/../b", "a/%2E%2E", "%FF", &"k".repeat(KEY_BYTES_MAX + 1)] {
            assert!(matches!(parse_key(bad), Err(Refused::Bad(_))), "{bad}");
        }
    }
}
