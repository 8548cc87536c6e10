//! A value as several rounds had it.

use std::fmt;

/// The middle of all rounds, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Of these; of none there is none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Some(Self { median, least, most })
    }
}

/// `2.50 [2.31-2.62]`, with as many digits as asked for (`{:.2}`); values from 1,000 up have spaces in them. What lies
/// nowhere apart is one value.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(0);
        let shown = |value| grouped(value, digits);
        let (median, least, most) = (shown(self.median), shown(self.least), shown(self.most));
        if least == most { f.write_str(&median) } else { write!(f, "{median} [{least}-{most}]") }
    }
}

/// `12 345.6`
pub(crate) fn grouped(value: f64, digits: usize) -> String {
    let plain = format!("{value:.digits$}");
    let whole = plain.find('.').unwrap_or(plain.len());
    let mut shown = String::new();
    for (at, letter) in plain.char_indices() {
        if at > 0 && at < whole && (whole - at).is_multiple_of(3) {
            shown.push(' ');
        }
        shown.push(letter);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_tells_the_middle_and_both_ends() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(format!("{:.1}", Spread::of([3.0, 1.0, 2.04]).unwrap()), "2.0 [1.0-3.0]");
        assert_eq!(format!("{}", Spread::of([12_345.6, 999.0]).unwrap()), "6 672 [999-12 346]");
        assert_eq!(format!("{:.1}", Spread::of([2.04]).unwrap()), "2.0");
        assert_eq!(grouped(1_234_567.89, 1), "1 234 567.9");
    }
}
