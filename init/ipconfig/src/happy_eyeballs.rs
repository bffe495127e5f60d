//! The order in which the addresses of a name are tried.
//!
//! Source: RFC 8305 (Happy Eyeballs, version 2), sections 4, 5 and 8.

use std::net::IpAddr;
use std::time::Duration;

/// The connection attempt delay: the time between the starts of two attempts.
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// The most addresses of one name that are tried.
const ATTEMPTS_MAX: usize = 8;

/// Interleaves the address families, IPv6 first, and keeps the order within each. Duplicates are dropped; at most eight addresses.
pub fn order(addresses: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
    let (mut v6, mut v4) = (Vec::new(), Vec::new());
    for address in addresses {
        let family = if address.is_ipv6() { &mut v6 } else { &mut v4 };
        if !family.contains(&address) && family.len() < ATTEMPTS_MAX {
            family.push(address);
        }
    }
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut ordered = Vec::new();
    while ordered.len() < ATTEMPTS_MAX {
        let pair = [v6.next(), v4.next()];
        if pair == [None, None] {
            break;
        }
        ordered.extend(pair.into_iter().flatten());
    }
    ordered.truncate(ATTEMPTS_MAX);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_interleaved_without_duplicates() {
        let addresses = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let cases: [(&[&str], &[&str]); 4] = [
            (&[], &[]),
            (&["10.0.0.1"], &["10.0.0.1"]),
            (&["10.0.0.1", "10.0.0.2", "fd00::1", "10.0.0.1"], &["fd00::1", "10.0.0.1", "10.0.0.2"]),
            (&["fd00::1", "fd00::2", "10.0.0.1", "10.0.0.2"], &["fd00::1", "10.0.0.1", "fd00::2", "10.0.0.2"]),
        ];
        for (given, want) in cases {
            assert_eq!(order(addresses(given)), addresses(want), "{given:?}");
        }
        let many = (0..200).map(|n| IpAddr::from([10, 0, 0, n]));
        assert_eq!(order(many).len(), ATTEMPTS_MAX);
    }
}
