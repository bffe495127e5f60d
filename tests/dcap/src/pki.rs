//! The simulated root and the two signers directly under it.

use std::fs;
use std::path::Path;

use crate::{CertSpec, DAY, Error, Identity, Key, Platform, PlatformSpec};

const ROOT: &str = "root";
const PLATFORM_CA: &str = "platform-ca";
const TCB_SIGNING: &str = "tcb-signing";

/// The simulated Intel. A test that replaces one identity makes everything that is signed afterwards invalid in that respect.
#[derive(Clone, Debug)]
pub struct Pki {
    /// "Intel SGX Root CA", self-signed.
    pub root: Identity,
    /// "Intel SGX PCK Platform CA", under the root; signs PCK leaves and their CRL.
    pub platform_ca: Identity,
    /// "Intel SGX TCB Signing", under the root; signs TCB info and QE identities.
    pub tcb_signing: Identity,
    /// When the chain was minted; later validity periods are placed around it.
    pub now: u64,
}

impl Pki {
    /// Mints three new keys and their certificates, valid for years around `now`.
    pub fn mint(now: u64) -> Result<Self, Error> {
        let root = Identity::self_signed(root_spec(now), Key::generate()?)?;
        let platform_ca = root.issue(platform_ca_spec(now), Key::generate()?)?;
        let tcb_signing = root.issue(tcb_signing_spec(now), Key::generate()?)?;
        Ok(Self { root, platform_ca, tcb_signing, now })
    }

    /// The trust anchor: the content of `/etc/cvm-init/anchors/` in a simulated initrd.
    #[must_use]
    pub fn root_der(&self) -> &[u8] {
        &self.root.der
    }

    /// The platform with ids derived from `name`, the same in every process, and new keys.
    pub fn platform(&self, name: &str) -> Result<Platform, Error> {
        Platform::new(self, PlatformSpec::of(name, self.now))
    }

    /// Writes keys and certificates to `dir`, which is created if missing.
    pub fn save(&self, dir: &Path) -> Result<(), Error> {
        fs::create_dir_all(dir).map_err(Error::file(dir))?;
        let write = |name: String, bytes: &[u8]| {
            let path = dir.join(name);
            fs::write(&path, bytes).map_err(Error::file(path))
        };
        for (name, identity) in [(ROOT, &self.root), (PLATFORM_CA, &self.platform_ca), (TCB_SIGNING, &self.tcb_signing)] {
            write(format!("{name}.key"), &identity.key.pkcs8())?;
            write(format!("{name}.der"), &identity.der)?;
        }
        write("minted".to_owned(), self.now.to_string().as_bytes())
    }

    /// Reads the files of [`Pki::save`].
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let read = |name: String| {
            let path = dir.join(name);
            fs::read(&path).map_err(Error::file(path))
        };
        let identity = |name: &str, spec: CertSpec| -> Result<Identity, Error> {
            let key = Key::from_pkcs8(&read(format!("{name}.key"))?)?;
            Ok(Identity { key, spec, der: read(format!("{name}.der"))? })
        };
        let now = String::from_utf8_lossy(&read("minted".to_owned())?).parse().unwrap_or(0);
        Ok(Self {
            root: identity(ROOT, root_spec(now))?,
            platform_ca: identity(PLATFORM_CA, platform_ca_spec(now))?,
            tcb_signing: identity(TCB_SIGNING, tcb_signing_spec(now))?,
            now,
        })
    }

    /// Loads the chain in `dir`, or mints one. Several processes may call it at once: the directory appears complete, and every
    /// process reads the same chain.
    pub fn load_or_mint(dir: &Path, now: u64) -> Result<Self, Error> {
        if dir.join("minted").exists() {
            return Self::load(dir);
        }
        let pki = Self::mint(now)?;
        let mut making = dir.as_os_str().to_owned();
        making.push(format!(".making-{}", hex::encode(pki.root.serial())));
        let making = Path::new(&making);
        pki.save(making)?;
        if fs::rename(making, dir).is_err() {
            fs::remove_dir_all(making).map_err(Error::file(making))?;
        }
        Self::load(dir)
    }
}

fn root_spec(now: u64) -> CertSpec {
    CertSpec {
        not_before: now.saturating_sub(3_000 * DAY),
        not_after: now.saturating_add(8_000 * DAY),
        ca: Some(1),
        ..CertSpec::new("Intel SGX Root CA", now)
    }
}

fn platform_ca_spec(now: u64) -> CertSpec {
    CertSpec { not_before: now.saturating_sub(3_000 * DAY), ca: Some(0), ..CertSpec::new("Intel SGX PCK Platform CA", now) }
}

fn tcb_signing_spec(now: u64) -> CertSpec {
    CertSpec { not_before: now.saturating_sub(565 * DAY), ..CertSpec::new("Intel SGX TCB Signing", now) }
}
