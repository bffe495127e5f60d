//! Header areas and disks for tests, and calls of the program.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cmdline::DataCipher;
use ondisk::intent::{self, Intent};
use ondisk::luks2::{self, AcceptedLayout, AuthToken, DATA_OFFSET, Expect, FormatState, Header, auth_message};
use quorum::{Dek, Purpose};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tempfile::TempDir;

/// tests/fuzz/seeds documents its origin.
const HEADER: &[u8] = include_bytes!("../../../../tests/fuzz/seeds/luks2_header/cryptsetup-2.6.1-xts-hmac");
/// One copy of the header.
pub(crate) const SIZE: usize = 16384;
/// Offset of the first keyslot's area, and the size of one.
pub(crate) const KEYS: usize = 32768;
pub(crate) const KEY: usize = 385_024;
/// The key that authenticates headers by default.
pub(crate) const KEY_BYTE: u8 = 7;

pub(crate) fn dek(byte: u8) -> Dek {
    Dek::fill_with::<()>(|bytes| {
        bytes.fill(byte);
        Ok(())
    })
    .ok()
    .unwrap()
}

pub(crate) fn metadata(area: &[u8]) -> Value {
    serde_json::from_slice(area[4096..SIZE].split(|byte| *byte == 0).next().unwrap()).unwrap()
}

/// The area with other metadata in both copies, and valid checksums.
pub(crate) fn with(mut area: Vec<u8>, json: &Value) -> Vec<u8> {
    for copy in area.chunks_exact_mut(SIZE).take(2) {
        copy[4096..].fill(0);
        let text = json.to_string();
        copy[4096..4096 + text.len()].copy_from_slice(text.as_bytes());
        copy[448..512].fill(0);
        let checksum = digest(&SHA256, copy);
        copy[448..480].copy_from_slice(checksum.as_ref());
    }
    area
}

pub(crate) fn unauthenticated() -> Vec<u8> {
    let mut area = HEADER.to_vec();
    area.resize(usize::try_from(DATA_OFFSET).unwrap(), 0);
    area
}

pub(crate) fn authenticated(state: FormatState) -> Vec<u8> {
    authenticate(unauthenticated(), state, KEY_BYTE)
}

/// Gives the area a token by the key `byte`.
pub(crate) fn authenticate(area: Vec<u8>, state: FormatState, byte: u8) -> Vec<u8> {
    authenticate_with(area, state, &dek(byte))
}

/// The same by any key.
pub(crate) fn authenticate_with(area: Vec<u8>, state: FormatState, key: &Dek) -> Vec<u8> {
    let (header, checked) = parsed(&area);
    let message = auth_message(&header, &checked, &area, state).unwrap();
    let mac = key.authenticator(Purpose::HeaderAuthentication, &header.uuid().to_string()).mac(&message);
    let mut json = metadata(&area);
    json["tokens"]["0"] = AuthToken::json(state, &mac);
    with(area, &json)
}

pub(crate) fn parsed(area: &[u8]) -> (Header, AcceptedLayout) {
    let header = Header::parse(area).unwrap();
    let expect = Expect { cipher: Some(DataCipher::XtsHmac), data_offset: DATA_OFFSET, rotation: true };
    let checked = luks2::check(&header, &expect).unwrap();
    (header, checked)
}

/// An authenticated header area: its sequence number, which place for keyslots it uses, and its key material.
pub(crate) fn area(seqid: u64, place: usize, fill: u8) -> Vec<u8> {
    let mut json = metadata(&unauthenticated());
    json["keyslots"]["0"]["area"]["offset"] = json!((KEYS + place * KEY).to_string());
    let mut area = numbered(with(unauthenticated(), &json), seqid);
    area[KEYS + place * KEY..KEYS + (place + 1) * KEY].fill(fill);
    authenticate(area, FormatState::Ready, KEY_BYTE)
}

/// The area with another sequence number in both copies.
pub(crate) fn numbered(mut area: Vec<u8>, seqid: u64) -> Vec<u8> {
    for copy in area.chunks_exact_mut(SIZE).take(2) {
        copy[16..24].copy_from_slice(&seqid.to_be_bytes());
    }
    let json = metadata(&area);
    with(area, &json)
}

/// The area with another LUKS UUID in both copies.
pub(crate) fn renamed(mut area: Vec<u8>) -> Vec<u8> {
    for copy in area.chunks_exact_mut(SIZE).take(2) {
        copy[168] = if copy[168] == b'0' { b'1' } else { b'0' };
    }
    let json = metadata(&area);
    with(area, &json)
}

/// The area with a second keyslot, in the second place.
pub(crate) fn two_slots(area: Vec<u8>) -> Vec<u8> {
    let mut json = metadata(&area);
    let mut slot = json["keyslots"]["0"].clone();
    slot["area"]["offset"] = json!((KEYS + KEY).to_string());
    json["keyslots"]["1"] = slot;
    json["digests"]["0"]["keyslots"] = json!(["0", "1"]);
    with(area, &json)
}

/// The area with a record of a begun format that no key authenticates.
pub(crate) fn recorded(mut area: Vec<u8>) -> Vec<u8> {
    let at = usize::try_from(intent::OFFSET).unwrap();
    let uuid = uuid::Uuid::from_bytes([9; 16]);
    area[at..at + intent::BLOCK].copy_from_slice(&Intent { uuid, mac: [1; 32] }.block());
    area
}

/// One bit of the byte at each place.
pub(crate) fn spoiled(mut area: Vec<u8>, places: &[usize]) -> Vec<u8> {
    for at in places {
        area[*at] ^= 1;
    }
    area
}

pub(crate) struct World {
    folder: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A disk of 64 MiB with this start.
    pub(crate) fn disk(&self, area: &[u8]) -> PathBuf {
        let path = self.path("disk");
        write(&path, area).set_len(64 << 20).unwrap();
        path
    }

    pub(crate) fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.path("saved");
        write(&path, bytes).set_len(u64::try_from(bytes.len()).unwrap()).unwrap();
        path
    }

    /// Exit code and output of `header` with these arguments, with the passphrase of the key on a descriptor.
    pub(crate) fn run(&self, verb: &str, paths: [&Path; 2], more: &str, key: Option<u8>) -> (Option<i32>, String) {
        let pass = self.path("pass");
        fs::write(&pass, key.map_or(Vec::new(), |byte| dek(byte).expose_passphrase().to_vec())).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cvmctl"));
        command.args(["header", verb]).args(paths).args(more.split_whitespace());
        if key.is_some() {
            command.args(["--passphrase-fd", "0"]);
        }
        let output = command.stdin(Stdio::from(File::open(&pass).unwrap())).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        if let Some(byte) = key {
            let secret = String::from_utf8(dek(byte).expose_passphrase().to_vec()).unwrap();
            assert!(!text.contains(&secret), "a secret is printed");
        }
        (output.status.code(), text)
    }
}

/// Writes a sparse file: the program flushes it, and most of it is zero.
fn write(path: &Path, bytes: &[u8]) -> File {
    let file = File::create(path).unwrap();
    let zeros = [0; 4096];
    for (number, piece) in bytes.chunks(zeros.len()).enumerate().filter(|(_, piece)| *piece != &zeros[..piece.len()]) {
        file.write_all_at(piece, u64::try_from(number * zeros.len()).unwrap()).unwrap();
    }
    file
}

/// The header area of a disk.
pub(crate) fn front(disk: &Path) -> Vec<u8> {
    let mut area = vec![0; usize::try_from(DATA_OFFSET).unwrap()];
    File::open(disk).unwrap().read_exact_at(&mut area, 0).unwrap();
    area
}
