//! The network as a host has it: every frame of the guest goes through here, and what comes back is whatever the host likes.
//!
//! The guest's link is one end of a socket, and QEMU's user network (addresses, names, the way to vaults) is at the other; this
//! stands between the two and passes on, drops, or answers itself.

pub(crate) mod dhcp;
pub(crate) mod dns;
pub(crate) mod frame;
pub(crate) mod ndp;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Doing, Failure};

/// The longest frame that QEMU passes, in bytes.
const FRAME_MAX: usize = 128 << 10;

/// What the host does with a frame of the guest.
pub(crate) enum Fate {
    /// Passes it on to the user network.
    Pass,
    /// Loses it.
    Drop,
    /// Keeps it and answers with these.
    Answer(Vec<Vec<u8>>),
    /// Passes it on and sends these as well.
    PassAndAnswer(Vec<Vec<u8>>),
}

/// Decides over every frame of the guest.
pub(crate) type Host = Box<dyn FnMut(&[u8]) -> Fate + Send>;

/// A link whose host is hostile, or only different. For one boot at a time.
pub(crate) struct Lan {
    dir: tempfile::TempDir,
    /// What QEMU's network leads to the host: `guestfwd=` each.
    forwards: Vec<String>,
}

impl Lan {
    /// Starts a link whose frames `host` decides over.
    ///
    /// # Errors
    /// As bind(2).
    pub(crate) fn start(host: impl FnMut(&[u8]) -> Fate + Send + 'static) -> Result<Self, Failure> {
        let dir = tempfile::Builder::new().prefix("cvm-lan-").tempdir_in("/tmp").doing("a folder for the link")?;
        let listen = |name: &str| UnixListener::bind(dir.path().join(name)).doing("listening for the link");
        let (guest, network) = (listen("guest")?, listen("network")?);
        std::thread::spawn(move || {
            let mut host: Host = Box::new(host);
            // A machine after the other may use the link; each ends with its sockets.
            while let (Ok((guest, _)), Ok((network, _))) = (guest.accept(), network.accept()) {
                host = match carry(guest, network, host) {
                    Some(host) => host,
                    None => return,
                };
            }
        });
        Ok(Self { dir, forwards: Vec::new() })
    }

    /// Leads an address of QEMU's network to the host, as `tcp:ADDRESS:PORT-tcp:ADDRESS:PORT`.
    pub(crate) fn forwarding(mut self, forward: impl std::fmt::Display) -> Self {
        self.forwards.push(format!(",guestfwd={forward}"));
        self
    }

    /// QEMU's arguments for the link, with its own network behind it: both families.
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

/// Carries frames both ways until the machine ends; gives the host back.
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
            Fate::Pass => (true, Vec::new()),
            Fate::Drop => (false, Vec::new()),
            Fate::Answer(answers) => (false, answers),
            Fate::PassAndAnswer(answers) => (true, answers),
        };
        let answered = answers.iter().try_for_each(|answer| send(&to_guest, answer));
        let passed = if pass { write(&mut to_network, &frame) } else { Ok(()) };
        if answered.and(passed).is_err() {
            break;
        }
    }
    Some(host)
}

/// A frame, after its length as 32 bits in network order.
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
