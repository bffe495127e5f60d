//! Prediction for Debian's shim and GRUB. The configuration may contain only the commands `configfile`, `linux`, `initrd` and `boot`, also
//! as a condition of `if`; it has no choice.
//!
//! The prediction assumes that no machine owner key (MOK) is enrolled: an enrolled key changes PCR 14, and so RTMR2.
//!
//! Source: shim 16 `mok.c`; GRUB 2.12 `grub-core/commands/tpm.c`, `grub-core/loader/efi/linux.c`; checked against the log of OVMF
//! (tests/src/scenarios).

use eventlog::pe::Section;

use crate::esp::Files;
use crate::{Error, Event, Maker, Part, SecureBoot, direct, wide};

const GRUB: &str = "EFI/BOOT/grubx64.efi";
/// The directory of shim.
const DIRECTORY: &str = "EFI/BOOT";
/// Started in place of GRUB by a shim in `EFI/BOOT`; it makes boot options and resets the machine.
///
/// Source: shim 16 `shim.c`, `should_use_fallback`.
const FALLBACK: &str = "fbx64.efi";
/// The beginnings of the names of files from which shim takes revocations and certificates.
///
/// Source: shim 16 `shim.c`, `load_unbundled_trust`.
const TRUST: [&str; 2] = ["revocations", "shim_certificate"];
/// `EFI_CERT_X509_GUID`, `EFI_CERT_SHA256_GUID`, and shim's GUID as owner of its built-in entries.
const X509: [u8; 16] = [0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72];
const SHA256: [u8; 16] = [0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28];
const SHIM_LOCK: [u8; 16] = [0x50, 0xab, 0x5d, 0x60, 0x46, 0xe0, 0x00, 0x43, 0xab, 0xb6, 0x3d, 0xd8, 0x10, 0xdd, 0x8b, 0x23];
/// Characters without a special meaning to GRUB, besides letters and digits.
const PLAIN: &str = "_.,:/=@%+-";
/// The deepest nesting of `configfile`.
const DEPTH_MAX: usize = 8;

/// Whether a program with these sections is a shim.
pub(crate) fn is_shim(sections: &[Section<'_>]) -> bool {
    sections.iter().any(|section| section.name == b".vendor_cert")
}

/// The events of shim, GRUB and the kernel.
pub(crate) fn events<F: Files>(shim: &[Section<'_>], files: &F, secure_boot: SecureBoot) -> Result<Vec<Event>, Error> {
    check_files(files)?;
    let mut events = machine_owner_keys(shim)?;
    let program = files.read(GRUB)?;
    events.push(Event::program(Maker::Shim, GRUB, &program)?.covering(&[Part::Loader]));
    let first = configuration(files, &program)?;
    let text = files.read(&first)?;
    // GRUB opens the file twice, to find it and to read it, and measures it each time.
    events.extend([(); 2].map(|()| Event::new(Maker::Grub, 9, format!("GRUB reads {first}"), text.clone())));
    let mut interpreter = Interpreter { files, secure_boot, events, command_line: None, initrd: None };
    interpreter.run(&text, 0)?;
    Ok(interpreter.events)
}

/// Refuses files that change what shim starts or measures.
fn check_files(files: &impl Files) -> Result<(), Error> {
    let is_known = |name: &str| {
        name.eq_ignore_ascii_case(FALLBACK)
            || TRUST.iter().any(|start| name.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start)))
    };
    match files.names(DIRECTORY)?.iter().find(|name| is_known(name)) {
        Some(name) => Err(Error::UnexpectedFile(format!("{DIRECTORY}/{name}"))),
        None => Ok(()),
    }
}

/// The events of shim's lists: the vendor certificate, and the vendor's revocations.
fn machine_owner_keys(shim: &[Section<'_>]) -> Result<Vec<Event>, Error> {
    let section = shim.iter().find(|section| section.name == b".vendor_cert").ok_or(Error::NoSection(".vendor_cert"))?;
    let word =
        |at: usize| section.data.get(at..)?.first_chunk().and_then(|field| usize::try_from(u32::from_le_bytes(*field)).ok());
    let part = |size: usize, offset: usize| section.data.get(word(offset)?..)?.get(..word(size)?);
    let (authorized, deauthorized) = part(0, 8).zip(part(4, 12)).ok_or(Error::NoSection(".vendor_cert"))?;
    // DER of a certificate begins so; other data is a signature list already.
    let is_certificate = authorized.starts_with(&[0x30, 0x82]);
    let keys = if is_certificate { signature_list(X509, SHIM_LOCK, authorized) } else { authorized.to_vec() };
    // Without revocations, shim makes a list with one SHA-256 hash of zeros.
    let revoked = if deauthorized.is_empty() { signature_list(SHA256, SHIM_LOCK, &[0; 32]) } else { deauthorized.to_vec() };
    Ok(vec![
        Event::new(Maker::Shim, 14, "shim: MokList (the vendor's certificate)", keys),
        Event::new(Maker::Shim, 14, "shim: MokListX (the vendor's revocations)", revoked),
        Event::new(Maker::Shim, 14, "shim: MokListTrusted", [1]),
    ])
}

/// Encodes an `EFI_SIGNATURE_LIST` with one entry.
fn signature_list(kind: [u8; 16], owner: [u8; 16], data: &[u8]) -> Vec<u8> {
    let entry = u32::try_from(16 + data.len()).unwrap_or(u32::MAX);
    let sizes = [entry.saturating_add(28), 0, entry].map(u32::to_le_bytes).concat();
    [&kind[..], &sizes, &owner, data].concat()
}

/// Finds the configuration that this GRUB reads first. Its directory below `/EFI` is compiled into GRUB, and it must be the only directory
/// with a `grub.cfg`.
fn configuration(files: &impl Files, program: &[u8]) -> Result<String, Error> {
    let mut found = Vec::new();
    for directory in files.names("EFI")? {
        if files.names(&format!("EFI/{directory}"))?.iter().any(|name| name.eq_ignore_ascii_case("grub.cfg")) {
            found.push(directory);
        }
    }
    let [directory] = <[String; 1]>::try_from(found).map_err(|found| {
        if found.is_empty() { Error::NoFile("EFI/*/grub.cfg".to_owned()) } else { Error::UnexpectedFile(found.join(" and ")) }
    })?;
    // The name is printed, and FAT allows control characters in it.
    if !directory.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::GrubDirectory(directory));
    }
    let compiled_in = format!("/EFI/{directory}");
    let is_compiled_in = program.windows(compiled_in.len()).any(|window| window.eq_ignore_ascii_case(compiled_in.as_bytes()));
    if is_compiled_in { Ok(format!("EFI/{directory}/grub.cfg")) } else { Err(Error::GrubDirectory(directory)) }
}

/// An interpreter of GRUB's configuration.
struct Interpreter<'a, F: Files> {
    files: &'a F,
    secure_boot: SecureBoot,
    events: Vec<Event>,
    command_line: Option<String>,
    initrd: Option<Vec<u8>>,
}

impl<F: Files> Interpreter<'_, F> {
    /// Runs a configuration on the path on which every command succeeds; returns whether it booted.
    fn run(&mut self, text: &[u8], depth: usize) -> Result<bool, Error> {
        let text = String::from_utf8_lossy(text);
        for (index, line) in text.lines().enumerate() {
            let refuse = || Error::Configuration(index + 1, line.to_owned());
            let inner = line
                .trim()
                .strip_prefix("if ")
                .map_or(Some(line.trim()), |rest| rest.strip_suffix("; then"))
                .ok_or_else(refuse)?;
            let arguments: Vec<&str> = inner.split_whitespace().collect();
            let is_plain = |argument: &&str| argument.chars().all(|c| c.is_ascii_alphanumeric() || PLAIN.contains(c));
            let booted = match arguments.as_slice() {
                [] | ["fi"] => false,
                [comment, ..] if comment.starts_with('#') => false,
                arguments if !arguments.iter().all(is_plain) => return Err(refuse()),
                ["configfile", path] if depth < DEPTH_MAX => self.configfile(path, depth)?,
                ["linux", path, ..] if self.command_line.is_none() => self.linux(path, arguments.get(1..).unwrap_or_default())?,
                ["initrd", path] if self.command_line.is_some() && self.initrd.is_none() => self.initrd(path)?,
                ["boot"] => self.boot().ok_or_else(refuse)?,
                _ => return Err(refuse()),
            };
            if booted {
                return Ok(true);
            }
        }
        Err(Error::Configuration(text.lines().count(), "end of file without boot".to_owned()))
    }

    fn command(&mut self, arguments: &[&str]) {
        let text = arguments.join(" ");
        self.events.push(Event::new(Maker::Grub, 8, format!("GRUB runs {text:?}"), text));
    }

    fn open(&mut self, path: &str, covers: &[Part]) -> Result<Vec<u8>, Error> {
        let bytes = self.files.read(path)?;
        self.events.push(Event::new(Maker::Grub, 9, format!("GRUB reads {path}"), bytes.clone()).covering(covers));
        Ok(bytes)
    }

    fn configfile(&mut self, path: &str, depth: usize) -> Result<bool, Error> {
        self.command(&["configfile", path]);
        let text = self.open(path, &[])?;
        self.run(&text, depth + 1)
    }

    fn linux(&mut self, path: &str, arguments: &[&str]) -> Result<bool, Error> {
        self.command(&[&["linux"], arguments].concat());
        let kernel = self.open(path, &[Part::Kernel])?;
        // With Secure Boot, GRUB asks shim to verify the kernel, and shim measures it.
        if self.secure_boot == SecureBoot::On {
            self.events.push(Event::program(Maker::Shim, path, &kernel)?.covering(&[Part::Kernel]));
        }
        let line = arguments.join(" ");
        let event = Event::new(Maker::Grub, 8, "GRUB: the kernel's command line", line.clone());
        self.events.push(event.covering(&[Part::CommandLine]));
        self.command_line = Some(line);
        Ok(false)
    }

    fn initrd(&mut self, path: &str) -> Result<bool, Error> {
        self.command(&["initrd", path]);
        self.initrd = Some(self.open(path, &[Part::Initrd])?);
        Ok(false)
    }

    fn boot(&mut self) -> Option<bool> {
        let line = self.command_line.take()?;
        self.command(&["boot"]);
        let initrd = self.initrd.take().unwrap_or_default();
        self.events.extend(direct::stub(&wide(&format!("BOOT_IMAGE={line}"), 0), &initrd));
        Some(true)
    }
}
