//! An encoder of LUKS2 headers, tested against headers of cryptsetup.

use cmdline::DataCipher;
use encoding::hex::decode;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

pub(super) const UUID: &str = "6b3f1c0e-0000-4000-8000-000000000001";

/// Headers of cryptsetup (2.7.5, Debian trixie, 2026-11-23), each on an empty disk of 64 MiB:
///
/// ```text
/// cryptsetup luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --sector-size 4096
///     --uuid 6b3f1c0e-0000-4000-8000-000000000001 --label data ...
/// xts-hmac  --cipher aes-xts-plain64 --key-size 512 --integrity hmac-sha256 --integrity-no-wipe
/// aegis     --cipher aegis128-random --key-size 128 --integrity aead --integrity-no-wipe
/// gcm       --cipher aes-gcm-random --key-size 256 --integrity aead --integrity-no-wipe
/// argon2id  as xts-hmac, --pbkdf argon2id --pbkdf-force-iterations 4 --pbkdf-memory 65536 --pbkdf-parallel 1
/// plain     --key-size 512, without integrity; then token import --token-id 7
/// ```
///
/// Those in `OLD` are of cryptsetup 2.6.1 (Debian bookworm, 2026-11-25) with the same arguments and `--integrity-no-wipe`; its argon2id
/// has 512-byte sectors and a token 7, as on disks of other tools.
///
/// Those in `NEW` are of cryptsetup 2.8.8 (Debian sid, package 2:2.8.8-1, 2026-11-29; kernel 6.12.118) with the same arguments: `xts-hmac`,
/// `aegis` and `gcm` as above, `xts-hmac-sized` and `argon2id` with `--integrity-key-size 256`. `SIZED_512` has
/// `--integrity-key-size 512` and a volume key of 128 bytes. With `aead` this cryptsetup refuses an integrity key. A header with
/// inline tags needs a disk with hardware tags, so there is none here.
///
/// All but `plain` were made in a VM (Debian's kernel 6.12.117), since `--integrity` needs device mapper. A file contains the JSON, then
/// one line for each copy: its salt, and the checksum of cryptsetup. [`Image`] encodes all other bytes of the 32 KiB; the checksums prove
/// that they are equal.
#[derive(Clone, Copy)]
pub(super) struct Golden {
    pub(super) seqid: u64,
    text: &'static str,
}

pub(super) const XTS_HMAC: Golden = Golden { seqid: 3, text: include_str!("golden/xts-hmac.txt") };
pub(super) const AEGIS: Golden = Golden { seqid: 3, text: include_str!("golden/aegis.txt") };
pub(super) const GCM: Golden = Golden { seqid: 3, text: include_str!("golden/gcm.txt") };
pub(super) const ARGON2ID: Golden = Golden { seqid: 3, text: include_str!("golden/argon2id.txt") };
pub(super) const PLAIN: Golden = Golden { seqid: 4, text: include_str!("golden/plain.txt") };

pub(super) const OLD: [(DataCipher, Golden); 4] = [
    (DataCipher::XtsHmac, Golden { seqid: 3, text: include_str!("golden/xts-hmac-2.6.txt") }),
    (DataCipher::Aegis, Golden { seqid: 3, text: include_str!("golden/aegis-2.6.txt") }),
    (DataCipher::Gcm, Golden { seqid: 3, text: include_str!("golden/gcm-2.6.txt") }),
    (DataCipher::XtsHmac, Golden { seqid: 4, text: include_str!("golden/argon2id-2.6.txt") }),
];

pub(super) const NEW: [(DataCipher, Golden); 5] = [
    (DataCipher::XtsHmac, Golden { seqid: 3, text: include_str!("golden/xts-hmac-2.8.txt") }),
    (DataCipher::XtsHmac, Golden { seqid: 3, text: include_str!("golden/xts-hmac-sized-2.8.txt") }),
    (DataCipher::XtsHmac, Golden { seqid: 3, text: include_str!("golden/argon2id-2.8.txt") }),
    (DataCipher::Aegis, Golden { seqid: 3, text: include_str!("golden/aegis-2.8.txt") }),
    (DataCipher::Gcm, Golden { seqid: 3, text: include_str!("golden/gcm-2.8.txt") }),
];
pub(super) const SIZED_512: Golden = Golden { seqid: 3, text: include_str!("golden/xts-hmac-sized-512-2.8.txt") };

impl Golden {
    /// The metadata as cryptsetup wrote it.
    pub(super) fn text(self) -> &'static str {
        self.text.lines().next().unwrap()
    }

    pub(super) fn json(self) -> Value {
        serde_json::from_str(self.text()).unwrap()
    }

    /// Salt and checksum of both copies.
    fn copies(self) -> [(&'static str, &'static str); 2] {
        [1, 2].map(|line| self.text.lines().nth(line).unwrap().split_once(' ').unwrap())
    }

    pub(super) fn checksums(self) -> [&'static str; 2] {
        self.copies().map(|(_, checksum)| checksum)
    }

    pub(super) fn image(self) -> Image {
        let salts = self.copies().map(|(salt, _)| decode(salt).unwrap());
        Image {
            size: 16384,
            seqid: self.seqid,
            label: "data",
            uuid: UUID,
            salts,
            json: [self.text().to_owned(), self.text().to_owned()],
        }
    }
}

/// The fields of a header. Tests change one field of a valid header.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) size: usize,
    pub(super) seqid: u64,
    pub(super) label: &'static str,
    pub(super) uuid: &'static str,
    pub(super) salts: [[u8; 64]; 2],
    pub(super) json: [String; 2],
}

impl Image {
    /// A header with other metadata.
    pub(super) fn of(json: &(impl ToString + ?Sized)) -> Self {
        Self { json: [json.to_string(), json.to_string()], ..PLAIN.image() }
    }

    pub(super) fn golden() -> Self {
        PLAIN.image()
    }

    /// Encodes both copies with valid checksums.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.copy(0);
        bytes.extend(self.copy(1));
        bytes
    }

    pub(super) fn copy(&self, which: usize) -> Vec<u8> {
        let mut copy = vec![0; self.size];
        put(&mut copy, 0, [b"LUKS\xba\xbe", b"SKUL\xba\xbe"][which]);
        put(&mut copy, 6, &2_u16.to_be_bytes());
        put(&mut copy, 8, &u64::try_from(self.size).unwrap().to_be_bytes());
        put(&mut copy, 16, &self.seqid.to_be_bytes());
        put(&mut copy, 24, self.label.as_bytes());
        put(&mut copy, 72, b"sha256");
        put(&mut copy, 104, &self.salts[which]);
        put(&mut copy, 168, self.uuid.as_bytes());
        put(&mut copy, 256, &u64::try_from(which * self.size).unwrap().to_be_bytes());
        put(&mut copy, 4096, self.json[which].as_bytes());
        sign(&mut copy);
        copy
    }
}

pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Sets the checksum of one copy.
pub(super) fn sign(copy: &mut [u8]) {
    put(copy, 448, &[0; 64]);
    let checksum = digest(&SHA256, copy);
    put(copy, 448, checksum.as_ref());
}

pub(super) fn auth_token_json() -> Value {
    json!({"type": "cvm-init.seal", "keyslots": [], "version": 1, "state": "ready", "mac": "5a".repeat(32)})
}
