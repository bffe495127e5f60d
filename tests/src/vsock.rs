//! A host that offers vsock: connections of the guest to a port of the host reach a TCP address.
//!
//! The device is vhost-device-vsock of the rust-vmm project, because most hosts' kernels have none. It forwards connections to
//! context 2, port N, to the socket `host_N`.

use std::ffi::OsString;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Artifacts, Context, Failure};

/// The longest that the device may take to start.
const UP: Duration = Duration::from_secs(10);

/// The device, which ends when dropped.
pub(crate) struct Vsock {
    device: Child,
    dir: tempfile::TempDir,
}

impl Vsock {
    /// Starts the device.
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub(crate) fn start(artifacts: &Artifacts) -> Result<Self, Failure> {
        let dir = tempfile::Builder::new().prefix("cvm-vsock-").tempdir_in("/tmp").context("creating a folder for vsock")?;
        let device = Command::new(artifacts.top.join("target/tools/bin/vhost-device-vsock"))
            .args(["--guest-cid", "3"])
            .arg("--socket")
            .arg(dir.path().join("device"))
            .arg("--uds-path")
            .arg(dir.path().join("host"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting vhost-device-vsock")?;
        let mut vsock = Self { device, dir };
        let deadline = Instant::now() + UP;
        // The socket appears when the device listens. A connection to test it would count as QEMU's.
        while !vsock.dir.path().join("device").exists() {
            let exit = vsock.device.try_wait().context("waiting for vhost-device-vsock")?;
            if exit.is_some() || Instant::now() >= deadline {
                return Err(Failure(format!("vhost-device-vsock did not start: {exit:?}")));
            }
            std::thread::yield_now();
        }
        Ok(vsock)
    }

    /// Forwards `port` of the host's context to `to`, for the life of the process.
    ///
    /// # Errors
    /// As bind(2).
    pub(crate) fn forward(&self, port: u16, to: SocketAddr) -> Result<(), Failure> {
        let path = PathBuf::from(format!("{}_{port}", self.dir.path().join("host").display()));
        let listener = UnixListener::bind(path).context("listening for a vsock port")?;
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if let Ok(server) = TcpStream::connect(to) {
                    carry(&client, &server).unwrap_or_default();
                }
            }
        });
        Ok(())
    }

    /// QEMU's arguments for the device, which shares the guest's memory of `memory_mib` MiB.
    pub(crate) fn arguments(&self, memory_mib: u32) -> Vec<OsString> {
        let arguments = [
            ("-object", format!("memory-backend-memfd,id=shared,size={memory_mib}M,share=on")),
            ("-machine", "memory-backend=shared".to_owned()),
            ("-chardev", format!("socket,id=vsock,path={}", self.dir.path().join("device").display())),
            ("-device", "vhost-user-vsock-pci,chardev=vsock".to_owned()),
        ];
        arguments.into_iter().flat_map(|(flag, value)| [OsString::from(flag), value.into()]).collect()
    }
}

impl Drop for Vsock {
    fn drop(&mut self) {
        // It may have ended with QEMU.
        self.device.kill().unwrap_or_default();
        drop(self.device.wait());
    }
}

/// Copies both directions, each in a thread.
fn carry(client: &UnixStream, server: &TcpStream) -> io::Result<()> {
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let carried = io::copy(&mut from_client, &mut to_server);
        drop((carried, to_server.shutdown(Shutdown::Write)));
    });
    std::thread::spawn(move || {
        let carried = io::copy(&mut from_server, &mut to_client);
        drop((carried, to_client.shutdown(Shutdown::Write)));
    });
    Ok(())
}
