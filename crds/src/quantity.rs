//! Sizes of the spec and of volume claims, such as "10Gi": Kubernetes' quantities, as bytes.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Digits behind the point that count; Kubernetes itself keeps nine.
const FRACTION_DIGITS: usize = 9;

/// The quantity in bytes, rounded up; `None` if it is not a positive quantity or beyond what a `u64` holds.
pub fn bytes(quantity: &Quantity) -> Option<u64> {
    let text = quantity.0.trim().trim_start_matches('+');
    let number_ends = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(number_ends);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let fraction: String =
        fraction.chars().chain("0".repeat(FRACTION_DIGITS).chars()).take(FRACTION_DIGITS).collect();
    let unit = 10_u128.pow(u32::try_from(FRACTION_DIGITS).ok()?);
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let scaled = whole.checked_mul(unit)?.checked_add(fraction.parse().ok()?)?;
    u64::try_from(scaled.checked_mul(factor(suffix)?)?.div_ceil(unit)).ok()
}

/// What a suffix multiplies by; those below one make no sense for sizes.
fn factor(suffix: &str) -> Option<u128> {
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter().zip(1_u32..);
    let decimal = ["k", "M", "G", "T", "P", "E"].iter().zip(1_u32..);
    if suffix.is_empty() {
        return Some(1);
    }
    if let Some((_, power)) = binary.into_iter().find(|(name, _)| **name == suffix) {
        return 1024_u128.checked_pow(power);
    }
    if let Some((_, power)) = decimal.into_iter().find(|(name, _)| **name == suffix) {
        return 1000_u128.checked_pow(power);
    }
    let exponent: u32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    10_u128.checked_pow(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<u64> {
        bytes(&Quantity(text.to_owned()))
    }

    #[test]
    fn every_notation_of_kubernetes_is_read() {
        assert_eq!(of("10Gi"), Some(10 << 30));
        assert_eq!(of("10240Mi"), of("10Gi"));
        assert_eq!(of("1.5Gi"), Some(3 << 29));
        assert_eq!(of("10G"), Some(10_000_000_000));
        assert_eq!(of("1e10"), of("10G"));
        assert_eq!(of("1073741824"), of("1Gi"));
        assert_eq!(of(".5Ki"), Some(512));
        assert_eq!(of("0.0001k"), Some(1), "rounded up, as Kubernetes does");
    }

    #[test]
    fn what_is_no_size_is_none() {
        for text in ["", "Gi", "-1Gi", "10X", "1.2.3", "100m", "99999999999999999999Ei", "1e400"] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
