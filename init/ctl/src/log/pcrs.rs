//! Parser for values of PCRs: the output of `tpm2_pcrread`, or lines of number and hexadecimal digits.

use std::path::Path;

use encoding::hex;
use eventlog::register::Hash;

use super::register::Register;
use crate::run::{Error, read as read_file};

/// Number of PCRs of a TPM.
const PCRS: u32 = 24;

pub(super) fn read(path: &Path) -> Result<Vec<(Register, Hash, Vec<u8>)>, Error> {
    let text = read_file(path)?;
    parse(&String::from_utf8_lossy(&text)).map_err(|line| Error::Pcrs { path: path.to_owned(), line })
}

/// The error is the number of the first line that is neither a bank nor a PCR.
fn parse(text: &str) -> Result<Vec<(Register, Hash, Vec<u8>)>, usize> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let mut pcrs = Vec::new();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        // A bank's name is on a line of its own. The length of a digest determines its hash function.
        if line.strip_suffix(':').is_some_and(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')) {
            continue;
        }
        pcrs.push(pcr(line).ok_or(number)?);
    }
    Ok(pcrs)
}

fn pcr(line: &str) -> Option<(Register, Hash, Vec<u8>)> {
    let (number, digits) = line.split_once([':', ' '])?;
    let number = number.trim().parse().ok().filter(|number| *number < PCRS)?;
    let digits = digits.trim_start_matches([':', ' ']);
    let value = hex::decode_any_case(digits.strip_prefix("0x").unwrap_or(digits).trim().as_bytes())?;
    let hash = Hash::ALL.into_iter().find(|hash| hash.bytes() == value.len())?;
    Some((Register::Pcr(number), hash, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pcrs_are_read_as_tools_print_them() {
        let (short, long) = ("ab".repeat(32), "CD".repeat(48));
        let text = format!("  sha256:\n    0 : 0x{short}\n    15: 0x{short}\nsha384:\n7 {long}\n\n# by hand\n");
        let want = [
            (Register::Pcr(0), Hash::Sha256, vec![0xab; 32]),
            (Register::Pcr(15), Hash::Sha256, vec![0xab; 32]),
            (Register::Pcr(7), Hash::Sha384, vec![0xcd; 48]),
        ];
        assert_eq!(parse(&text).unwrap(), want);
    }

    #[test]
    fn what_is_no_pcr_is_refused_with_its_line() {
        for bad in ["24 : 0xab", "x", "1 : 0xzz", "1 abcd", ": ab"] {
            assert_eq!(parse(&format!("\n{bad}\n")), Err(2), "{bad}");
        }
    }
}
