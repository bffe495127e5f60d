//! Makes this machine's quote. The host carries it, so it is checked before it is sent to a vault.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use attest::{QuoteHeader, QuoteHeaderError, Tee};
use linux::poll::Stop;
use linux::tsm::{REPORT_DATA_BYTES, Report, Tsm};
use quorum::Backoff;
use ratls::OwnEvidence;

/// The limits of the first and of the longest pause after a failed request; all guests of a host ask the same quoting service.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// An SEV-SNP attestation report: its length, the versions with this layout, and the offset of its report data (SEV-SNP ABI
/// 56860, revision 1.58, table 23).
const SNP_BYTES: usize = 1184;
const SNP_VERSIONS: std::ops::RangeInclusive<u32> = 2..=5;
const SNP_REPORT_DATA: usize = 0x50;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("quoting service: {0}")]
    Service(linux::Error),
    #[error("the kernel has no interface for quotes: {0}")]
    Interface(linux::Error),
    #[error("answer of the quoting service: {0}")]
    QuoteHeader(QuoteHeaderError),
    #[error("answer of the quoting service: not an SEV-SNP report")]
    Snp,
    #[error("the kernel's quote provider is unknown")]
    Provider,
    #[error("the quote has other report data than this request")]
    ReportData,
    #[error("the quote describes another trust domain")]
    OtherDomain,
    #[error("quotes for other vaults took all the time")]
    Late,
    #[error("another thread ended while it made a quote")]
    Poisoned,
    #[error("stopped, since no quote is needed any more")]
    Stopped,
}

impl Error {
    /// A quoting service that is silent, busy, failing or malicious may be restarted; the kernel's interface stays as it is.
    const fn is_transient(&self) -> bool {
        matches!(self, Self::Service(_) | Self::QuoteHeader(_) | Self::Snp | Self::ReportData | Self::OtherDomain)
    }
}

/// Asks the kernel for a quote over `report_data` and checks its format, its padding, its report data and that it describes this
/// machine.
///
/// Transient errors are retried until `until` or until `stop` is signalled.
///
/// # Errors
/// The last [`Error`].
pub(super) fn own(
    tsm: &Mutex<Tsm>,
    report_data: &[u8; REPORT_DATA_BYTES],
    until: Instant,
    stop: &Stop,
) -> Result<OwnEvidence, Error> {
    let tsm = tsm.lock().map_err(|_| Error::Poisoned)?;
    if stop.within(Duration::ZERO) {
        return Err(Error::Stopped);
    }
    if Instant::now() >= until {
        return Err(Error::Late);
    }
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let error = match attempt(&tsm, report_data) {
            Ok(evidence) => return Ok(evidence),
            Err(error) => error,
        };
        let pause = backoff.pause(super::vault_client::random());
        if Instant::now() + pause >= until || !error.is_transient() {
            return Err(error);
        }
        log::warn!("quote: {error}; asking again");
        // The kernel does not announce that a quoting service recovered, so there is a fixed pause.
        if stop.within(pause) {
            return Err(Error::Stopped);
        }
    }
}

fn attempt(tsm: &Tsm, report_data: &[u8; REPORT_DATA_BYTES]) -> Result<OwnEvidence, Error> {
    let report = tsm
        .report(report_data)
        .map_err(|error| if linux::tsm::is_transient(&error) { Error::Service(error) } else { Error::Interface(error) })?;
    let (quote, tee) = match report.provider.as_str() {
        "tdx_guest" => (trust_domain(&report, report_data, linux::tdx::identity().map_err(Error::Interface)?.as_slice())?, "tdx"),
        "sev_guest" => (snp_guest(&report, report_data)?, "sev-snp"),
        _ => return Err(Error::Provider),
    };
    Ok(OwnEvidence { quote, tee })
}

/// The TDX quote without its padding, if it is over `report_data` and describes the TD that the TDX module reports (`own`).
fn trust_domain(report: &Report, report_data: &[u8; REPORT_DATA_BYTES], own: &[u8]) -> Result<Vec<u8>, Error> {
    let header = QuoteHeader::parse(&report.blob).map_err(Error::QuoteHeader)?;
    if header.tee() != Tee::Tdx || header.report_data() != report_data {
        return Err(Error::ReportData);
    }
    if header.td_info() != Some(own) {
        return Err(Error::OtherDomain);
    }
    Ok(header.bytes().to_vec())
}

/// The SEV-SNP report, if it is over `report_data`.
fn snp_guest(report: &Report, report_data: &[u8; REPORT_DATA_BYTES]) -> Result<Vec<u8>, Error> {
    let (bytes, tail) = report.blob.split_at_checked(SNP_BYTES).ok_or(Error::Snp)?;
    let version = bytes.first_chunk().map(|version| u32::from_le_bytes(*version)).ok_or(Error::Snp)?;
    if !SNP_VERSIONS.contains(&version) || tail.iter().any(|byte| *byte != 0) {
        return Err(Error::Snp);
    }
    if bytes.get(SNP_REPORT_DATA..SNP_REPORT_DATA + REPORT_DATA_BYTES) != Some(report_data.as_slice()) {
        return Err(Error::ReportData);
    }
    Ok(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL_TD_QUOTE: &[u8] = include_bytes!("../../../../tests/vectors/dcap-qvl/tdx_quote");

    type Case<'a> = (&'a str, Vec<u8>, [u8; 64], &'a [u8], &'a str);

    fn report(provider: &str, blob: Vec<u8>) -> Report {
        Report { provider: provider.to_owned(), blob }
    }

    #[test]
    fn quote_must_be_for_this_request_and_of_this_domain() {
        let data: [u8; 64] = REAL_TD_QUOTE[568..632].try_into().unwrap();
        let own = &REAL_TD_QUOTE[168..568];
        let mut other = own.to_vec();
        other[399] ^= 1;
        let cases: [Case<'_>; 6] = [
            ("as it came", REAL_TD_QUOTE.to_vec(), data, own, "ok"),
            ("another request", REAL_TD_QUOTE.to_vec(), [0; 64], own, "the quote has other report data than this request"),
            ("another RTMR3", REAL_TD_QUOTE.to_vec(), data, &other, "the quote describes another trust domain"),
            (
                "a tail",
                [REAL_TD_QUOTE, &[1]].concat(),
                data,
                own,
                "answer of the quoting service: unexpected bytes after the quote",
            ),
            ("empty", Vec::new(), data, own, "answer of the quoting service: quote is shorter than its length fields say"),
            ("CBOR", vec![0xd9; 9000], data, own, "answer of the quoting service: expected quote version 3, 4 or 5, got 55769"),
        ];
        for (name, blob, data, own, want) in cases {
            let got = trust_domain(&report("tdx_guest", blob), &data, own).map_or_else(|e| e.to_string(), |_| "ok".to_owned());
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn snp_report_must_be_for_this_request() {
        let mut blob = vec![0; SNP_BYTES];
        blob[0] = 2;
        blob[SNP_REPORT_DATA..SNP_REPORT_DATA + 64].copy_from_slice(&[7; 64]);
        let with = |change: fn(&mut Vec<u8>)| {
            let mut blob = blob.clone();
            change(&mut blob);
            snp_guest(&report("sev_guest", blob), &[7; 64]).map_or_else(|e| e.to_string(), |quote| quote.len().to_string())
        };
        assert_eq!(with(|_| ()), "1184");
        assert_eq!(with(|blob| blob.extend([0; 16])), "1184");
        assert_eq!(with(|blob| blob.push(1)), "answer of the quoting service: not an SEV-SNP report");
        assert_eq!(with(|blob| blob[0] = 1), "answer of the quoting service: not an SEV-SNP report");
        assert_eq!(with(|blob| blob.truncate(1183)), "answer of the quoting service: not an SEV-SNP report");
        assert_eq!(with(|blob| blob[SNP_REPORT_DATA] = 0), "the quote has other report data than this request");
    }
}
