//! In the image of the tests: asks every vault of the command line for its share once more, after the handoff, as whoever broke into
//! the running system would: with a quote by the kernel's own interface and PID 1's own client, one key of ours for all.
//!
//! PID 1's key is never written anywhere, so no program can have that one; a vault's policy does not name it either. Says what each vault
//! did, and never a byte of a share.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::net::TcpStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use attest::{Anchor, Floors, Policy, TcbDemand, TcbStatus};
use cmdline::{VaultAddress, Vaults};
use failure::chain;
use linux::tsm::Tsm;
use ratls::{Clock, Expectation, Handshaken, Identity, OwnEvidence};

/// Put there by qemu/build: the initrd's own is gone.
const ANCHOR: &str = "/usr/lib/cvm-tests/root.der";
/// The longest that one step may take.
const STEP: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("reading")]
    Read(#[from] std::io::Error),
    #[error("command line")]
    Line(#[from] cmdline::Error),
    #[error("no vaults")]
    NoVaults,
    #[error("not an address")]
    Address,
    #[error("kernel")]
    Kernel(#[from] linux::Error),
    #[error("vault")]
    Vault(#[from] vault::Error),
    #[error("session")]
    Session(#[from] ratls::Error),
}

fn main() {
    if let Err(error) = run() {
        println!("again: {}", chain(&error));
    }
}

fn run() -> Result<(), Error> {
    let line = cmdline::parse(&std::fs::read_to_string("/proc/cmdline")?)?;
    let vaults = line.data.ok_or(Error::NoVaults)?.vaults;
    let identity = Identity::guest(vaults.app)?;
    let (anchor, tsm) = (Anchor::from_der(std::fs::read(ANCHOR)?), Mutex::new(Tsm::system()));
    for address in &vaults.addresses {
        match ask(address, &vaults, &identity, &anchor, &tsm) {
            Ok(()) => println!("again: {address}: gave a share"),
            Err(error) => println!("again: {address}: {}", chain(&error)),
        }
    }
    Ok(())
}

fn ask(address: &VaultAddress, vaults: &Vaults, identity: &Identity, anchor: &Anchor, tsm: &Mutex<Tsm>) -> Result<(), Error> {
    let place = address.to_string().parse().map_err(|_| Error::Address)?;
    let stream = TcpStream::connect_timeout(&place, STEP)?;
    let mut context = [0; 32];
    linux::clock::random(&mut context)?;
    let demand = TcbDemand::Statuses(vec![TcbStatus::UpToDate]);
    let policy = Policy::of_nodes(vaults.mrenclaves.clone(), demand, Floors::default());
    let clock = Clock { not_before: 0, machine: linux::clock::host_unix_seconds(), is_trusted: true };
    let expected = Expectation { anchor, policy: &policy, clock, collateral: &() };
    let until = || Instant::now() + STEP;
    let challenged = Handshaken::connect(stream, identity, until())?.challenge(&context, &expected, until())?;
    let own = |report_data: &[u8; 64]| {
        let report =
            tsm.lock().map_err(|_| "poisoned".to_owned()).and_then(|tsm| tsm.report(report_data).map_err(|e| e.to_string()));
        let report = report.map_err(ratls::Error::OwnQuote)?;
        let header = attest::QuoteHeader::parse(&report.blob).map_err(|error| ratls::Error::OwnQuote(error.to_string()))?;
        Ok(OwnEvidence { quote: header.bytes().to_vec(), tee: "tdx" })
    };
    vault::export_key(&mut challenged.present(own, STEP)?, vaults.handle.as_str(), until())?;
    Ok(())
}
