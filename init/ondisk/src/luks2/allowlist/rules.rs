//! The rules of the allow-list: one function for each part of the metadata.

use super::{Expect, Kdf, Slot, Violation};
use crate::luks2::json::{Digest, Id, Integrity, Kdf as JsonKdf, Keyslot, Metadata, Segment, Size};
use crate::luks2::{AUTH_TOKEN, AuthToken, Header, binary, fields, header_auth};
use cmdline::DataCipher;
use std::ops::Range;

/// The type of a token of other tools, which is not authenticated and ignored.
const LOCATOR_TOKEN: &str = "privasys-vault";

/// The cipher of keyslot areas, and the size of its key in bytes.
const AREA_CIPHER: (&str, u32) = ("aes-xts-plain64", 64);

/// Stripes of the anti-forensic splitter.
const STRIPES: u32 = 4000;

/// The alignment of keyslot areas, in bytes.
const AREA_BLOCK: u64 = 4096;

/// Iterations of PBKDF2. 1,000 is the minimum of RFC 8018, and enough for a key of 256 random bits. The maximum takes a few seconds, so
/// that a header cannot block the boot.
const ITERATIONS: Range<u32> = 1_000..10_000_001;

/// Passes of Argon2.
const PASSES: Range<u32> = 1..33;

/// Memory of Argon2, in KiB: up to 1 GiB.
const MEMORY: Range<u32> = 8..1_048_577;

/// Threads of Argon2.
const CPUS: Range<u32> = 1..5;

/// The integrity key of HMAC-SHA256, the last bytes of the volume key. An AEAD cipher has none.
const HMAC_KEY: u32 = 32;

/// The names of a cipher in a segment: encryption, integrity, and the size of the volume key in bytes.
const fn names(cipher: DataCipher) -> (&'static str, &'static str, u32) {
    match cipher {
        DataCipher::XtsHmac => ("aes-xts-plain64", "hmac(sha256)", 64 + HMAC_KEY),
        DataCipher::Aegis => ("aegis128-random", "aead", 16),
        DataCipher::Gcm => ("aes-gcm-random", "aead", 32),
    }
}

/// Checks the configuration and returns the keyslot area, in bytes from the start of the disk.
pub(super) fn check_config(header: &Header, expect: &Expect) -> Result<Range<u64>, Violation> {
    let config = &header.metadata.config;
    if config.requirements.is_some() {
        return Err(fields::requirement(&header.json).map_or(Violation::Requirements, Violation::Requirement));
    }
    if config.flags.is_some() {
        return Err(Violation::ConfigFlags);
    }
    let start = 2 * header.size;
    let end = start.checked_add(config.keyslots_size.0).filter(|end| *end <= expect.data_offset);
    let json_fits = header.size.checked_sub(binary::BINARY_LEN) == Some(config.json_size.0);
    match end {
        Some(end) if json_fits && end.is_multiple_of(AREA_BLOCK) => Ok(start..end),
        _ => Err(Violation::ConfigSizes),
    }
}

/// The cipher that the policy names; else that of the segment, if it is an allowed one.
pub(super) fn cipher_of(metadata: &Metadata, expect: &Expect) -> Option<DataCipher> {
    let segment = only(metadata.segments.iter());
    let is_in_segment = |cipher: &DataCipher| segment.is_some_and(|segment| segment.encryption == names(*cipher).0);
    expect.cipher.or_else(|| DataCipher::ALL.iter().copied().find(is_in_segment))
}

pub(super) fn check_segment<'a>(metadata: &'a Metadata, expect: &Expect) -> Result<(&'a Segment, DataCipher), Violation> {
    let segment = only(metadata.segments.iter()).ok_or(Violation::Segments)?;
    if segment.kind != "crypt" || segment.flags.is_some() {
        return Err(Violation::SegmentKind);
    }
    if segment.offset.0 != expect.data_offset {
        return Err(Violation::SegmentOffset);
    }
    if segment.size != Size::Dynamic {
        return Err(Violation::SegmentSize);
    }
    if segment.iv_tweak.0 != 0 {
        return Err(Violation::SegmentTweak);
    }
    if !matches!(segment.sector_size, 512 | 4096) {
        return Err(Violation::SegmentSector);
    }
    let cipher = cipher_of(metadata, expect).ok_or(Violation::SegmentCipher)?;
    let (encryption, integrity, _) = names(cipher);
    if segment.encryption != encryption {
        return Err(Violation::SegmentCipher);
    }
    let wanted = |found: &Integrity| found.kind == integrity && found.journal_cipher == "none" && found.journal_mac == "none";
    let found = segment.integrity.as_ref().filter(|found| wanted(found)).ok_or(Violation::SegmentIntegrity)?;
    check_integrity_key(found.key_size, cipher)?;
    Ok((segment, cipher))
}

/// Checks the size of the integrity key. Without a size, it is that of the hash. cryptsetup never writes a size for AEAD ciphers. It accepts
/// other sizes for HMAC, but the integrity key starts where the encryption key ends.
fn check_integrity_key(found: Option<u32>, cipher: DataCipher) -> Result<(), Violation> {
    match (found, cipher) {
        (None, _) | (Some(HMAC_KEY), DataCipher::XtsHmac) => Ok(()),
        (Some(size), _) => Err(Violation::IntegrityKey(size)),
    }
}

pub(super) fn check_keyslots(
    metadata: &Metadata,
    rotation: bool,
    cipher: DataCipher,
    place: &Range<u64>,
) -> Result<Vec<Slot>, Violation> {
    let most = if rotation { 2 } else { 1 };
    if !(1..=most).contains(&metadata.keyslots.len()) {
        return Err(Violation::Keyslots);
    }
    let (_, _, volume_key) = names(cipher);
    let slot = |(id, keyslot): (&Id, &Keyslot)| check_keyslot(id.0, keyslot, volume_key, place);
    let slots = metadata.keyslots.iter().map(slot).collect::<Result<Vec<_>, _>>()?;
    let apart = |one: &Slot, other: &Slot| one.area.end <= other.area.start || other.area.end <= one.area.start;
    if let [one, other] = slots.as_slice()
        && !apart(one, other)
    {
        return Err(Violation::KeyslotOverlap);
    }
    Ok(slots)
}

/// `volume_key` is the size of the volume key in bytes.
fn check_keyslot(id: u32, keyslot: &Keyslot, volume_key: u32, place: &Range<u64>) -> Result<Slot, Violation> {
    let area = &keyslot.area;
    if keyslot.kind != "luks2" || area.kind != "raw" || keyslot.priority.is_some() {
        return Err(Violation::KeyslotKind(id));
    }
    if keyslot.key_size != volume_key {
        return Err(Violation::KeyslotKey(id));
    }
    if (area.encryption.as_str(), area.key_size) != AREA_CIPHER {
        return Err(Violation::KeyslotCipher(id));
    }
    let af = &keyslot.af;
    if (af.kind.as_str(), af.stripes, af.hash.as_str()) != ("luks1", STRIPES, "sha256") {
        return Err(Violation::KeyslotSplit(id));
    }
    let (kdf, memory_kib) = check_kdf(&keyslot.kdf).ok_or(Violation::KeyslotKdf(id))?;
    let length = (u64::from(volume_key) * u64::from(STRIPES)).next_multiple_of(AREA_BLOCK);
    let range = area.offset.0..area.offset.0.saturating_add(area.size.0);
    let inside = place.start <= range.start && range.end <= place.end && range.start.is_multiple_of(AREA_BLOCK);
    if !inside || area.size.0 != length {
        return Err(Violation::KeyslotArea(id));
    }
    Ok(Slot { id, kdf, memory_kib, area: range })
}

/// Returns the key derivation function and its memory in KiB.
fn check_kdf(kdf: &JsonKdf) -> Option<(Kdf, u32)> {
    let (found, bounded, salt) = match kdf {
        JsonKdf::Pbkdf2 { hash, iterations, salt } => ((Kdf::Pbkdf2, 0), is_pbkdf2(hash, *iterations), salt),
        JsonKdf::Argon2i { time, memory, cpus, salt } => ((Kdf::Argon2i, *memory), is_argon2(*time, *memory, *cpus), salt),
        JsonKdf::Argon2id { time, memory, cpus, salt } => ((Kdf::Argon2id, *memory), is_argon2(*time, *memory, *cpus), salt),
    };
    (bounded && is_base64_of_32(salt)).then_some(found)
}

pub(super) fn check_digest(metadata: &Metadata) -> Result<(), Violation> {
    let digest: &Digest = only(metadata.digests.iter()).ok_or(Violation::Digests)?;
    let sound = is_pbkdf2(&digest.hash, digest.iterations) && is_base64_of_32(&digest.salt) && is_base64_of_32(&digest.value);
    if digest.kind != "pbkdf2" || !sound {
        return Err(Violation::DigestKind);
    }
    // A keyslot without a digest could contain a key that the host chose. cryptsetup lists keyslots in the order in which they were added.
    let (listed, existing) = (&digest.keyslots, &metadata.keyslots);
    let same = listed.len() == existing.len() && existing.keys().all(|id| listed.contains(id));
    if !same || digest.segments != [Id(0)] {
        return Err(Violation::DigestScope);
    }
    Ok(())
}

pub(super) fn check_tokens(metadata: &Metadata) -> Result<Option<AuthToken>, Violation> {
    let mut found = None;
    for (Id(id), token) in &metadata.tokens {
        match header_auth::kind(token) {
            Some(LOCATOR_TOKEN) => {}
            Some(AUTH_TOKEN) if found.is_none() => found = Some(AuthToken::read(*id, token).ok_or(Violation::AuthToken(*id))?),
            Some(AUTH_TOKEN) => return Err(Violation::AuthToken(*id)),
            _ => return Err(Violation::Token(*id)),
        }
    }
    Ok(found)
}

/// Returns the only object, if its name is 0.
fn only<'a, T>(mut objects: impl Iterator<Item = (&'a Id, &'a T)>) -> Option<&'a T> {
    match (objects.next(), objects.next()) {
        (Some((Id(0), object)), None) => Some(object),
        _ => None,
    }
}

fn is_pbkdf2(hash: &str, iterations: u32) -> bool {
    hash == "sha256" && ITERATIONS.contains(&iterations)
}

fn is_argon2(time: u32, memory: u32, cpus: u32) -> bool {
    PASSES.contains(&time) && MEMORY.contains(&memory) && CPUS.contains(&cpus)
}

/// Whether `text` is base64 of 32 bytes: 43 digits and one `=`.
fn is_base64_of_32(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    text.len() == 44 && text.strip_suffix('=').is_some_and(|digits| digits.bytes().all(digit))
}
