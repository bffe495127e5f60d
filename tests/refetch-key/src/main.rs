//! `refetch-key`, in the tests' image: asks every vault of the command line for its share again after the handoff, as an attacker
//! in the running system could. It uses the kernel's quote interface and PID 1's client, with a new TLS key.
//!
//! PID 1 writes its own TLS key nowhere, and vaults' policies do not name it. The program prints what each vault did, and no byte
//! of a share.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::net::TcpStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use attest::{Anchor, Floors, Policy, TcbDemand, TcbStatus};
use cmdline::{VaultAddress, Vaults};
use failure::chain;
use linux::tsm::Tsm;
use ratls::{Clock, Expectation, Handshaken, Identity, OwnEvidence};

/// The simulated root certificate, which qemu/build adds to the image: the initrd's copy is gone.
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
        println!("refetch-key: {}", chain(&error));
    }
}

fn run() -> Result<(), Error> {
    let line = cmdline::parse(&std::fs::read_to_string("/proc/cmdline")?)?;
    let vaults = line.data.ok_or(Error::NoVaults)?.vaults;
    let identity = Identity::guest(vaults.app)?;
    let (anchor, tsm) = (Anchor::from_der(std::fs::read(ANCHOR)?), Mutex::new(Tsm::system()));
    for address in &vaults.addresses {
        match ask(address, &vaults, &identity, &anchor, &tsm) {
            Ok(()) => println!("refetch-key: {address}: gave a share"),
            Err(error) => println!("refetch-key: {address}: {}", chain(&error)),
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
