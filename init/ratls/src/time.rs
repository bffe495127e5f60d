//! `quote_time`: the minute in which a node made its quote, by its own clock.

/// A node's clock, to the minute: `2026-09-04T10:15Z`, 17 ASCII bytes. As trustworthy as the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuoteTime {
    unix_seconds: u64,
}

impl QuoteTime {
    /// The start of the minute, Unix seconds.
    #[must_use]
    pub fn unix_seconds(self) -> u64 {
        self.unix_seconds
    }

    /// The minute that contains `unix_seconds`.
    #[must_use]
    pub fn at(unix_seconds: u64) -> Self {
        Self { unix_seconds: unix_seconds - unix_seconds % 60 }
    }

    /// Parses the 17 bytes of the message.
    ///
    /// `None` for any other form, for years before 1970, and for days that do not exist.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: &[u8; 17] = text.as_bytes().try_into().ok()?;
        let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b'Z'] = *bytes else {
            return None;
        };
        let number = |digits: &[u8]| {
            digits.iter().try_fold(0_u64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
        };
        let (year, month, day) = (number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?);
        let (hour, minute) = (number(&[h1, h2])?, number(&[n1, n2])?);
        if hour > 23 || minute > 59 {
            return None;
        }
        let days = days_since_1970(year, month, day)?;
        Some(Self { unix_seconds: ((days * 24 + hour) * 60 + minute) * 60 })
    }
}

impl std::fmt::Display for QuoteTime {
    /// Writes the 17 bytes of the message.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let minutes = self.unix_seconds / 60;
        let (mut days, minute) = (minutes / 1440, minutes % 1440);
        let mut year = 1970;
        while days >= 365 + u64::from(is_leap(year)) {
            days -= 365 + u64::from(is_leap(year));
            year += 1;
        }
        let mut month = 1;
        while let Some(length) = month_days(year, month).filter(|length| days >= *length) {
            days -= length;
            month += 1;
        }
        write!(f, "{year:04}-{month:02}-{:02}T{:02}:{:02}Z", days + 1, minute / 60, minute % 60)
    }
}

/// Days of `month`, 1 to 12.
fn month_days(year: u64, month: u64) -> Option<u64> {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(28 + u64::from(is_leap(year))),
        _ => None,
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Days from 1970-01-01, counted year by year: at most 8,030 steps for a year of four digits.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || day == 0 || day > month_days(year, month)? {
        return None;
    }
    let years: u64 = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum();
    let months: u64 = (1..month).filter_map(|month| month_days(year, month)).sum();
    Some(years + months + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of `date -u -d '...' +%s`, coreutils 9.7.
    #[test]
    fn minutes_are_parsed_to_unix_seconds() {
        let cases = [
            ("2026-09-04T10:15Z", Some(1_788_516_900)),
            ("1970-01-01T00:00Z", Some(0)),
            ("2000-02-29T23:59Z", Some(951_868_740)),
            ("2100-03-01T00:00Z", Some(4_107_542_400)),
            ("2100-02-29T00:00Z", None),
            ("2026-13-01T00:00Z", None),
            ("2026-00-01T00:00Z", None),
            ("2026-04-31T00:00Z", None),
            ("2026-09-04T24:00Z", None),
            ("2026-09-04T10:60Z", None),
            ("2026-09-04 10:15Z", None),
            ("2026-09-04T10:15", None),
            ("+026-09-04T10:15Z", None),
            ("1969-12-31T23:59Z", None),
            ("", None),
        ];
        for (text, want) in cases {
            let time = QuoteTime::parse(text);
            assert_eq!(time.map(QuoteTime::unix_seconds), want, "{text}");
            assert!(
                time.is_none_or(|time| time.to_string() == text && QuoteTime::at(time.unix_seconds() + 59) == time),
                "{text}"
            );
        }
    }
}
