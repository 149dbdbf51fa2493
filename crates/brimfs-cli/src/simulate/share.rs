//! A share of something, as `0.1%`: exact, so that cache sizes are.

use std::fmt;
use std::str::FromStr;

/// Digits behind the point.
const DIGITS_MAX: usize = 9;

/// `hundredths / (100 · 10^digits)`, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Percent times `10^digits`.
    scaled: u64,
    digits: u32,
}

impl Share {
    /// This share of `whole`, rounded down.
    pub(crate) fn of(self, whole: u64) -> u64 {
        let part = u128::from(whole) * u128::from(self.scaled) / 100 / 10u128.pow(self.digits);
        // At most `whole`, because a share is at most all of it.
        part as u64
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no share such as 0.1% or 25%");
        let number = text.trim().strip_suffix('%').ok_or_else(wrong)?.trim_end();
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if number.is_empty() || !all_digits(whole) || !all_digits(part) || part.len() > DIGITS_MAX {
            return Err(wrong());
        }
        let scaled = format!("{whole}{part}").parse().map_err(|_| wrong())?;
        let share = Share {
            scaled,
            digits: part.len() as u32,
        };
        if scaled == 0 || u128::from(scaled) > 100 * 10u128.pow(share.digits) {
            return Err(format!("{text}: a share is above 0 % and at most 100 %"));
        }
        Ok(share)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10u64.pow(self.digits);
        let (whole, part) = (self.scaled / unit, self.scaled % unit);
        if part == 0 {
            return f.pad(&format!("{whole}%"));
        }
        let part = format!("{part:0width$}", width = self.digits as usize);
        f.pad(&format!("{whole}.{}%", part.trim_end_matches('0')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact_and_rounded_down() {
        let of = |text: &str, whole| text.parse::<Share>().unwrap().of(whole);
        assert_eq!(of("0.1%", 121_783), 121);
        assert_eq!(of("10%", 7_075), 707);
        assert_eq!(of("100%", u64::MAX), u64::MAX);
        assert_eq!(of("33.3%", 1_000), 333);
        assert_eq!("010.50%".parse::<Share>().unwrap().to_string(), "10.5%");
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for text in [
            "",
            "%",
            ".%",
            "10",
            "-1%",
            "1.2.3%",
            "0%",
            "100.1%",
            "1e1%",
            "1.0123456789%",
        ] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }
}
