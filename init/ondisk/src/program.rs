//! The other file that the kernel opens to start a program: the interpreter of a script, or the loader of an ELF file.
//!
//! Source: Linux, `load_script` in fs/binfmt_script.c, `load_elf_binary` in fs/binfmt_elf.c; System V ABI, chapters 4 and 5.

use std::ops::Range;

use encoding::fields::{array, le_u16, le_u32, le_u64};

/// The bytes of a file by which the kernel detects its format: `BINPRM_BUF_SIZE`.
pub const HEAD: Range<u64> = 0..256;
/// The largest size of the program headers, in bytes (`load_elf_phdrs`).
const HEADERS_MAX: u64 = 65_536;
/// Size of a program header in bytes.
const HEADER: u16 = 56;
/// The longest path with its NUL: `PATH_MAX`.
const PATH_MAX: u64 = 4096;
const EM_X86_64: u16 = 62;
const PT_INTERP: u32 = 3;

/// The format of an executable file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A script with the path of its interpreter.
    Script(String),
    /// An ELF file with the byte range of its program headers, which may name a loader: see [`loader`].
    Elf(Range<u64>),
}

/// Why the kernel would not start a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Neither the magic of ELF nor `#!`.
    #[error("neither an ELF file nor a script")]
    Unknown,
    /// The first line of a script has no path, or one that does not end within [`HEAD`].
    #[error("its first line names no interpreter in the first {end} bytes", end = HEAD.end)]
    FirstLine,
    /// ELF for another processor.
    #[error("an ELF file for machine {0}, and this one is {EM_X86_64} (x86-64)")]
    Machine(u16),
    /// ELF of another class, byte order or type.
    #[error("an ELF file, but no 64-bit little-endian executable")]
    Kind,
    /// Program headers that the kernel refuses.
    #[error("an ELF file with program headers that are damaged")]
    Headers,
    /// A path that is empty, not UTF-8 or without a NUL.
    #[error("the path of its interpreter is no text")]
    Path,
}

impl Program {
    /// Parses the bytes [`HEAD`] of a file, or fewer if the file is shorter.
    ///
    /// # Errors
    /// For a file that the kernel would refuse with `ENOEXEC`.
    pub fn parse(head: &[u8]) -> Result<Self, Error> {
        if let Some(line) = head.strip_prefix(b"#!") {
            return script(line, u64::try_from(head.len()).is_ok_and(|length| length >= HEAD.end));
        }
        if !head.starts_with(b"\x7fELF") {
            return Err(Error::Unknown);
        }
        let short = |value: Option<u16>| value.ok_or(Error::Kind);
        let machine = short(le_u16(head, 18))?;
        if machine != EM_X86_64 {
            return Err(Error::Machine(machine));
        }
        // ELFCLASS64 and ELFDATA2LSB; ET_EXEC or ET_DYN.
        if array(head, 4) != Some([2, 1]) || ![2, 3].contains(&short(le_u16(head, 16))?) {
            return Err(Error::Kind);
        }
        let offset = le_u64(head, 32).ok_or(Error::Kind)?;
        let bytes = u64::from(short(le_u16(head, 56))?) * u64::from(HEADER);
        if short(le_u16(head, 54))? != HEADER || bytes == 0 || bytes > HEADERS_MAX {
            return Err(Error::Headers);
        }
        Ok(Self::Elf(offset..offset.checked_add(bytes).ok_or(Error::Headers)?))
    }
}

/// Parses `line`, which follows `#!`. `is_truncated`: the file may continue after it.
fn script(line: &[u8], is_truncated: bool) -> Result<Program, Error> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let line_end = line.iter().position(|byte| *byte == b'\n');
    let line = line.get(..line_end.unwrap_or(line.len())).unwrap_or_default();
    let start = line.iter().position(|byte| !blank(byte)).ok_or(Error::FirstLine)?;
    let name = line.get(start..).unwrap_or_default();
    let name_end = name.iter().position(|byte| blank(byte) || *byte == 0);
    if name_end.is_none() && line_end.is_none() && is_truncated {
        return Err(Error::FirstLine); // the path may continue after the bytes that the kernel reads
    }
    let name = name.get(..name_end.unwrap_or(name.len())).filter(|name| !name.is_empty()).ok_or(Error::FirstLine)?;
    std::str::from_utf8(name).map(|name| Program::Script(name.to_owned())).map_err(|_| Error::Path)
}

/// Finds the byte range of the loader's path in an ELF file; `None` when the file has no loader. `headers` are the bytes `at` of the file.
///
/// # Errors
/// [`Error::Headers`] when the file ends inside of them, and for a path that is empty or too long.
pub fn loader(headers: &[u8], at: &Range<u64>) -> Result<Option<Range<u64>>, Error> {
    if u64::try_from(headers.len()).ok() != at.end.checked_sub(at.start) {
        return Err(Error::Headers);
    }
    let mut each = headers.chunks_exact(usize::from(HEADER));
    let Some(header) = each.find(|header| le_u32(header, 0) == Some(PT_INTERP)) else { return Ok(None) };
    let (offset, length) = le_u64(header, 8).zip(le_u64(header, 32)).ok_or(Error::Headers)?;
    let end = offset.checked_add(length).filter(|_| (2..=PATH_MAX).contains(&length)).ok_or(Error::Headers)?;
    Ok(Some(offset..end))
}

/// Parses the bytes of [`loader`]: the path ends at the first NUL, and the last byte must be a NUL.
///
/// # Errors
/// [`Error::Path`].
pub fn loader_path(bytes: &[u8]) -> Result<&str, Error> {
    let path = bytes.split(|byte| *byte == 0).next().filter(|path| !path.is_empty() && bytes.last() == Some(&0));
    path.and_then(|path| std::str::from_utf8(path).ok()).ok_or(Error::Path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of an ELF file of ld with four program headers.
    fn elf() -> Vec<u8> {
        let mut head = vec![0; 64];
        head[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        for (at, value) in [(16, 3), (18, 62), (32, 64), (54, 56), (56, 4)] {
            head[at] = value;
        }
        head
    }

    fn with(at: usize, value: u8) -> Vec<u8> {
        let mut head = elf();
        head[at] = value;
        head
    }

    #[test]
    fn elf_files_for_other_machines_are_refused() {
        let cases: [(&str, Vec<u8>, Result<Program, Error>); 12] = [
            ("x86-64", elf(), Ok(Program::Elf(64..64 + 4 * 56))),
            ("fixed addresses", with(16, 2), Ok(Program::Elf(64..288))),
            ("an object file", with(16, 1), Err(Error::Kind)),
            ("aarch64", with(18, 183), Err(Error::Machine(183))),
            ("i386", with(18, 3), Err(Error::Machine(3))),
            ("x32", with(4, 1), Err(Error::Kind)),
            ("big-endian", with(5, 2), Err(Error::Kind)),
            ("no program header", with(56, 0), Err(Error::Headers)),
            ("too many", with(57, 5), Err(Error::Headers)),
            ("of another size", with(54, 32), Err(Error::Headers)),
            ("after the largest offset", [&elf()[..32], &[255; 8], &elf()[40..]].concat(), Err(Error::Headers)),
            ("truncated", elf()[..57].to_vec(), Err(Error::Kind)),
        ];
        for (name, head, want) in cases {
            assert_eq!(Program::parse(&head), want, "{name}");
        }
        for head in [b"".as_slice(), b"\x7fEL", b"text", b"#"] {
            assert_eq!(Program::parse(head), Err(Error::Unknown));
        }
        // The binary of this test.
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let Ok(Program::Elf(headers)) = Program::parse(&own[..256]) else { panic!("no ELF file") };
        let range = |range: Range<u64>| usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        let path = loader(&own[range(headers.clone())], &headers).unwrap().unwrap();
        assert_eq!(loader_path(&own[range(path)]), Ok("/lib64/ld-linux-x86-64.so.2"));
    }

    #[test]
    fn interpreter_of_a_script_is_found_as_the_kernel_does() {
        let long = "x".repeat(256);
        let cases = [
            ("#!/bin/sh\nexit", Ok("/bin/sh")),
            ("#! \t/usr/bin/env\tpython3 -I\n", Ok("/usr/bin/env")),
            ("#!sh", Ok("sh")),
            ("#!/bin/sh\0rest", Ok("/bin/sh")),
            ("#!\n/bin/sh", Err(Error::FirstLine)),
            ("#! \t\n", Err(Error::FirstLine)),
            ("#!", Err(Error::FirstLine)),
            ("#!\0\n", Err(Error::FirstLine)),
            (&format!("#!/{long}"), Err(Error::FirstLine)),
            (&format!("#!/bin/sh {long}"), Ok("/bin/sh")),
        ];
        for (text, want) in cases {
            let head = text.as_bytes().get(..256).unwrap_or(text.as_bytes());
            assert_eq!(Program::parse(head), want.map(|path| Program::Script(path.to_owned())), "{text}");
        }
        assert_eq!(Program::parse(b"#!/\xff\n"), Err(Error::Path));
    }

    #[test]
    fn loader_is_found_among_the_headers_and_its_path_is_bounded() {
        let header = |kind: u8, offset: u64, length: u64| {
            let mut header = [0; 56];
            header[0] = kind;
            header[8..16].copy_from_slice(&offset.to_le_bytes());
            header[32..40].copy_from_slice(&length.to_le_bytes());
            header
        };
        let found = |kind, offset, length| loader(&[header(6, 1, 2), header(kind, offset, length)].concat(), &(64..176));
        assert_eq!(found(3, 700, 28), Ok(Some(700..728)));
        assert_eq!(found(1, 700, 28), Ok(None));
        for (offset, length) in [(700, 1), (700, 4097), (u64::MAX - 1, 28)] {
            assert_eq!(found(3, offset, length), Err(Error::Headers), "{offset} {length}");
        }
        assert_eq!(loader(&header(6, 1, 2), &(64..176)), Err(Error::Headers));
        assert_eq!(loader_path(b"/lib/ld.so\0"), Ok("/lib/ld.so"));
        for path in [b"".as_slice(), b"\0", b"/lib/ld.so", b"\xff\0"] {
            assert_eq!(loader_path(path), Err(Error::Path));
        }
    }
}
