//! Durations as Go writes and reads them: `15.0s`, `9.98765s`, `1h30m`; a bare `0` is legal, a bare `10` is not.

use std::time::Duration;

const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Digits after the point beyond this many are less than a nanosecond of an hour.
const FRACTION_DIGITS_MAX: usize = 20;

/// Nanoseconds; none if it is no duration or too long for Go.
pub(super) fn parse_duration(text: &str) -> Option<i64> {
    let (is_negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if unsigned == "0" {
        return Some(0);
    }
    let mut rest = Some(unsigned).filter(|rest| !rest.is_empty())?;
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (part, after) = part(rest)?;
        total = total.checked_add(part)?;
        rest = after;
    }
    let total = i64::try_from(total).ok()?;
    Some(if is_negative { -total } else { total })
}

/// One number with its unit, in nanoseconds, and what follows.
fn part(text: &str) -> Option<(u128, &str)> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (whole, rest) = text.split_at(digits(text));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let end_of_unit = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end_of_unit);
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanoseconds = whole.checked_mul(*unit)?;
    let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS_MAX)];
    if !fraction.is_empty() {
        let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        nanoseconds = nanoseconds.checked_add(fraction.parse::<u128>().ok()?.checked_mul(*unit)? / scale)?;
    }
    Some((nanoseconds, rest))
}

/// As Go prints it: `0s`, `27.29ms`, `1m30s`.
pub(super) fn format_duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    if duration < Duration::from_secs(1) {
        let (unit, scale) = match nanoseconds {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{}{unit}", decimal(nanoseconds, scale));
    }
    let seconds = duration.as_secs();
    let tail = u128::from(seconds % 60) * 1_000_000_000 + u128::from(duration.subsec_nanos());
    let tail = decimal(tail, 1_000_000_000);
    match (seconds / 3_600, seconds / 60 % 60) {
        (0, 0) => format!("{tail}s"),
        (0, minutes) => format!("{minutes}m{tail}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{tail}s"),
    }
}

/// `number / scale` without needless zeros.
fn decimal(number: u128, scale: u128) -> String {
    let (whole, fraction) = (number / scale, number % scale);
    if fraction == 0 {
        return whole.to_string();
    }
    let width = scale.ilog10() as usize;
    format!("{whole}.{}", format!("{fraction:0width$}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// consul-http.md §1: Patroni and Go's own client both depend on it.
    #[test]
    fn durations_are_read_as_go_reads_them() {
        let second = 1_000_000_000;
        for (text, nanoseconds) in [
            ("0", 0),
            ("15.0s", 15 * second),
            ("0.001s", second / 1_000),
            ("9.98765s", 9_987_650_000),
            ("15000ms", 15 * second),
            ("1h30m", 5_400 * second),
            ("-1.5s", -1_500_000_000),
            (".5s", second / 2),
            ("3us", 3_000),
        ] {
            assert_eq!(parse_duration(text), Some(nanoseconds), "{text}");
        }
        for bad in ["", "10", "s", "1x", "1.s.", ".s", "-", "1s2", "9999999999h", " 1s"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_are_printed_as_go_prints_them() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (27_290_000, "27.29ms"),
            (1_500, "1.5µs"),
            (10_500_000_000, "10.5s"),
            (90_000_000_000, "1m30s"),
            (86_400_000_000_000, "24h0m0s"),
        ] {
            assert_eq!(format_duration(Duration::from_nanos(nanoseconds)), text);
        }
    }
}
