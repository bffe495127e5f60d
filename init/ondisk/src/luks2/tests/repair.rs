//! Repair of headers after a power cut.

use super::image::{Image, PLAIN, put};
use crate::luks2::{Copy, Error, Header, repair};
use proptest::prelude::*;

fn old() -> Image {
    Image::golden()
}

/// A later header: with another sequence number and other metadata.
fn new() -> Image {
    Image { seqid: 5, ..Image::of(&PLAIN.text().replace("4096", "512")) }
}

fn both(primary: &Image, secondary: &Image) -> Vec<u8> {
    [primary.copy(0), secondary.copy(1)].concat()
}

fn torn(mut image: Vec<u8>, at: usize) -> Vec<u8> {
    image[at] ^= 1;
    image
}

#[test]
fn repair_keeps_what_was_written_last() {
    let second = 16384;
    let lost = |at| {
        let mut image = new().bytes();
        put(&mut image, at, &[0; 16384]);
        image
    };
    let cases = [
        ("nothing is wrong", new().bytes(), new()),
        ("cut between the copies", both(&new(), &old()), new()),
        ("secondary is newer", both(&old(), &new()), new()),
        ("cut in the primary", torn(both(&new(), &old()), 5000), old()),
        ("cut in the secondary", torn(new().bytes(), second + 5000), new()),
        ("primary is gone", lost(0), new()),
        ("secondary is gone", lost(second), new()),
    ];
    for (name, mut image, want) in cases {
        assert_eq!(repair(&mut image), Ok(()), "{name}");
        assert_eq!(Header::parse(&image), Header::parse(&want.bytes()), "{name}");
    }
}

#[test]
fn repair_finds_a_secondary_header_of_any_size() {
    for power in [15, 20] {
        let image = Image { size: 1 << power, ..new() };
        let mut bytes = torn(image.bytes(), 0);
        assert_eq!(repair(&mut bytes), Ok(()));
        assert_eq!(Header::parse(&bytes), Header::parse(&image.bytes()));
    }
}

#[test]
fn repair_changes_nothing_it_cannot_decide() {
    let same_age = both(&new(), &Image { seqid: 5, ..old() });
    let none = torn(torn(new().bytes(), 5000), 16384 + 5000);
    let cases = [
        ("same sequence number, other metadata", same_age, Error::CopiesDiffer),
        ("both torn", none, Error::Checksum(Copy::Primary)),
        ("no header", vec![0; 32768], Error::Magic(Copy::Primary)),
        ("nothing", vec![], Error::Truncated),
        ("no room for the other copy", new().copy(0), Error::Truncated),
    ];
    for (name, image, want) in cases {
        let mut changed = image.clone();
        assert_eq!(repair(&mut changed), Err(want), "{name}");
        assert!(changed == image, "{name}: image has changed");
    }
}

proptest! {
    #[test]
    fn repair_never_panics_and_leaves_copies_that_agree(at in 0_usize..32768, value: u8, newer: bool) {
        let primary = if newer { new() } else { old() };
        let mut image = both(&primary, &old());
        image[at] = value;
        if repair(&mut image).is_ok() {
            prop_assert!(Header::parse(&image).is_ok());
        }
    }

    #[test]
    fn repair_never_panics(mut image: Vec<u8>) {
        let _result = repair(&mut image);
    }
}
