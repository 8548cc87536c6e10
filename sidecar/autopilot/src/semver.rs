//! The order of versions that servers report: `X`, `X.Y`, `X.Y.Z`, or strict `SemVer` 2.0 (`autopilot.md` §4).
//!
//! A pre-release comes before its release; build metadata is ignored. Anything else is no version, and no version is
//! never guessed.

use std::cmp::Ordering;

/// A version that can be compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SemVer {
    numbers: [u64; 3],
    pre: PreRelease,
}

/// The identifiers after `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PreRelease(Vec<Identifier>);

/// Numbers come before words (`SemVer` 11.4.3): so does the order of the variants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Word(String),
}

impl SemVer {
    /// What the text says, if it is a version.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (version, build) =
            text.split_once('+').map_or((text, None), |(version, build)| (version, Some(build)));
        if build.is_some_and(|build| !build.split('.').all(is_identifier)) {
            return None;
        }
        let (core, pre) = version.split_once('-').map_or((version, None), |(core, pre)| (core, Some(pre)));
        let mut numbers = [0; 3];
        let parts: Vec<&str> = core.split('.').collect();
        if parts.len() > numbers.len() {
            return None;
        }
        for (number, part) in numbers.iter_mut().zip(&parts) {
            *number = parse_number(part)?;
        }
        let pre = pre.map_or(Some(Vec::new()), |pre| pre.split('.').map(Identifier::parse).collect())?;
        Some(Self { numbers, pre: PreRelease(pre) })
    }
}

impl Identifier {
    fn parse(text: &str) -> Option<Self> {
        if !is_identifier(text) {
            return None;
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return parse_number(text).map(Self::Number);
        }
        Some(Self::Word(text.to_owned()))
    }
}

impl Ord for PreRelease {
    fn cmp(&self, other: &Self) -> Ordering {
        // None at all is the release itself, which comes last.
        (self.0.is_empty(), &self.0).cmp(&(other.0.is_empty(), &other.0))
    }
}

impl PartialOrd for PreRelease {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Digits without a leading zero.
fn parse_number(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_number { text.parse().ok() } else { None }
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> SemVer {
        SemVer::parse(text).unwrap_or_else(|| panic!("{text} is a version"))
    }

    /// A30: whether the second is an upgrade from the first, in the vectors of Vault.
    #[test]
    fn versions_compare_as_semver_says() {
        let cases = [
            ("1.11.0", "1.11.0", false),
            ("1.11.0-release.1", "1.11.0-release.2", true),
            ("1.11.0-release.1", "1.11.1", true),
            ("1.11.0", "1.11.0-release.1", false),
            ("1.11.0+release.1", "1.11.0+release.2", false),
            ("1.11.0-release.1+123", "1.11.0-release.1+456", false),
        ];
        for (from, to, is_upgrade) in cases {
            assert_eq!(version(from) < version(to), is_upgrade, "{from} to {to}");
        }
    }

    /// `SemVer` 11: the specification's own list, in order.
    #[test]
    fn the_list_of_the_specification_is_in_order() {
        let list = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "2.0.0",
            "2.1.0",
            "2.1.1",
        ];
        for pair in list.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
    }

    /// A30: Consul's short tags; and what is no version is none.
    #[test]
    fn short_forms_are_versions_and_anything_else_is_none() {
        assert_eq!(version("1"), version("1.0.0"));
        assert_eq!(version("1.2"), version("1.2.0"));
        for text in [
            "",
            "v1.2.3",
            "1.2.3.4",
            "1..2",
            "01.2.3",
            "1.2.3-",
            "1.2.3-01",
            "1.2.3+",
            "1.2.x",
            "-1",
            "1.2.3-a_b",
        ] {
            assert_eq!(SemVer::parse(text), None, "{text:?}");
        }
    }
}
