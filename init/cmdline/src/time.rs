//! Times as configurations write them.

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

/// Reads `2026-11-29T18:30:00Z`, from 1970 to 9999, as Unix seconds. One spelling for each time: no fraction, no offset, no leap
/// second.
///
/// Source: RFC 3339, section 5.6; the days by H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
pub(crate) fn parse_utc(text: &str) -> Option<u64> {
    let bytes: &[u8; 20] = text.as_bytes().try_into().ok()?;
    let form = b"dddd-dd-ddTdd:dd:ddZ";
    let fits = |(byte, form): (&u8, &u8)| if *form == b'd' { byte.is_ascii_digit() } else { byte == form };
    if !bytes.iter().zip(form).all(fits) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let in_range = year >= 1970 && (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    if !in_range || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Years begin in March, so that the day that leap years add is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = (365 * year + year / 4 - year / 100 + year / 400 + day_of_year).checked_sub(719_468)?;
    Some(days * DAY + hour * 3600 + minute * 60 + second)
}

const fn days_of(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::parse_utc;

    #[test]
    fn time_has_one_spelling() {
        // Numbers by `date -u -d TEXT +%s`, coreutils 9.1.
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1999-12-31T23:59:59Z", Some(946_684_799)),
            ("2000-02-29T12:00:00Z", Some(951_825_600)),
            ("2026-11-29T18:30:05Z", Some(1_795_977_005)),
            ("2100-03-01T00:00:00Z", Some(4_107_542_400)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799)),
            ("2100-02-29T00:00:00Z", None),
            ("2026-04-31T00:00:00Z", None),
            ("2026-00-01T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-01-01T24:00:00Z", None),
            ("2026-01-01T00:60:00Z", None),
            ("2026-01-01T00:00:60Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("2026-11-29 18:30:05Z", None),
            ("2026-11-29T18:30:05", None),
            ("2026-11-29T18:30:05+", None),
            ("+026-11-29T18:30:05Z", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(parse_utc(text), want, "{text}");
        }
    }
}
