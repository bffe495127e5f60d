//! A link whose host sees every frame of the guest and decides what happens to it.
//!
//! The guest's link and QEMU's user network (addresses, names, the way to the vaults) are the two ends; this module passes a
//! frame from the guest on, drops it, or answers it.

pub(crate) mod dhcp;
pub(crate) mod dns;
pub(crate) mod frame;
pub(crate) mod ndp;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Context, Failure};

/// The longest frame that QEMU sends, in bytes.
const FRAME_MAX: usize = 128 << 10;

/// What the host does with a frame of the guest.
pub(crate) enum FrameAction {
    /// Passes it on to the user network.
    Pass,
    /// Drops it.
    Drop,
    /// Drops it and answers with these.
    Answer(Vec<Vec<u8>>),
    /// Passes it on and sends these as well.
    PassAndAnswer(Vec<Vec<u8>>),
}

/// Decides what happens to each frame of the guest.
pub(crate) type Host = Box<dyn FnMut(&[u8]) -> FrameAction + Send>;

/// A link with such a host.
pub(crate) struct Lan {
    dir: tempfile::TempDir,
    /// The `guestfwd=` options that lead from QEMU's network to the host.
    forwards: Vec<String>,
}

impl Lan {
    /// Starts a link; `host` decides about each frame.
    ///
    /// # Errors
    /// As bind(2).
    pub(crate) fn start(host: impl FnMut(&[u8]) -> FrameAction + Send + 'static) -> Result<Self, Failure> {
        let dir = tempfile::Builder::new().prefix("cvm-lan-").tempdir_in("/tmp").context("creating a folder for the link")?;
        let listen = |name: &str| UnixListener::bind(dir.path().join(name)).context("listening for the link");
        let (guest, network) = (listen("guest")?, listen("network")?);
        std::thread::spawn(move || {
            let mut host: Host = Box::new(host);
            // Several machines may use the link, one after another.
            while let (Ok((guest, _)), Ok((network, _))) = (guest.accept(), network.accept()) {
                host = match carry(guest, network, host) {
                    Some(host) => host,
                    None => return,
                };
            }
        });
        Ok(Self { dir, forwards: Vec::new() })
    }

    /// Forwards an address of QEMU's network to the host: `tcp:ADDRESS:PORT-tcp:ADDRESS:PORT`.
    pub(crate) fn forwarding(mut self, forward: impl std::fmt::Display) -> Self {
        self.forwards.push(format!(",guestfwd={forward}"));
        self
    }

    /// QEMU's arguments for the link and for the user network behind it, with IPv4 and IPv6.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let stream = |id: &str, name: &str| {
            format!("stream,id={id},server=off,addr.type=unix,addr.path={}", self.dir.path().join(name).display())
        };
        let arguments = [
            ("-netdev", stream("link", "guest")),
            ("-device", "virtio-net-pci,netdev=link,romfile=,mac=52:54:00:12:34:56".to_owned()),
            ("-netdev", stream("back", "network")),
            ("-netdev", format!("user,id=user,ipv4=on,ipv6=on{}", self.forwards.concat())),
            ("-netdev", "hubport,id=hub-back,hubid=1,netdev=back".to_owned()),
            ("-netdev", "hubport,id=hub-user,hubid=1,netdev=user".to_owned()),
        ];
        arguments.into_iter().flat_map(|(flag, value)| [OsString::from(flag), value.into()]).collect()
    }
}

/// Copies frames in both directions until the machine ends; returns `host`.
fn carry(guest: UnixStream, network: UnixStream, host: Host) -> Option<Host> {
    let to_guest = Arc::new(Mutex::new(guest.try_clone().ok()?));
    let (mut from_guest, mut from_network, mut to_network) = (guest, network.try_clone().ok()?, network);
    let inbound = Arc::clone(&to_guest);
    std::thread::spawn(move || {
        while let Ok(frame) = read(&mut from_network) {
            if send(&inbound, &frame).is_err() {
                return;
            }
        }
    });
    let mut host = host;
    while let Ok(frame) = read(&mut from_guest) {
        let (pass, answers) = match host(&frame) {
            FrameAction::Pass => (true, Vec::new()),
            FrameAction::Drop => (false, Vec::new()),
            FrameAction::Answer(answers) => (false, answers),
            FrameAction::PassAndAnswer(answers) => (true, answers),
        };
        let answered = answers.iter().try_for_each(|answer| send(&to_guest, answer));
        let passed = if pass { write(&mut to_network, &frame) } else { Ok(()) };
        if answered.and(passed).is_err() {
            break;
        }
    }
    Some(host)
}

/// Reads a frame, which follows its length in 32 bits, big-endian.
fn read(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).ok().filter(|length| *length <= FRAME_MAX);
    let mut frame = vec![0; length.ok_or(io::ErrorKind::InvalidData)?];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

fn write(stream: &mut UnixStream, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes()[..], frame].concat())
}

fn send(stream: &Mutex<UnixStream>, frame: &[u8]) -> io::Result<()> {
    write(&mut stream.lock().unwrap_or_else(PoisonError::into_inner), frame)
}
