//! `cvmctl quote`: verifies a quote in a file with PID 1's verifier and prints each check.

mod describe;
pub(crate) mod sources;

use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use attest::{Anchor, Appraisal, Checks, Floors, Policy, QuoteHeader, SgxPolicy, Tcb, TcbDemand, TdPolicy, VerifyError, verify};
use ctl::collateral::{CACHE_TIMEOUT, Sources};
use encoding::hex;
use ratls::CollateralSource as _;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::args::{QuoteShow, QuoteVerify};
use crate::run::{Error, floors, read};
use crate::show;

/// SHA-256 of Intel's SGX root certificate. With this anchor, the quoting enclave must be Intel's.
const INTEL_ROOT: &str = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3";
/// MRSIGNER of Intel's quoting enclaves, SGX and TDX, as its QE and TD_QE identities have them.
const INTEL_QE_SIGNERS: [[u8; 32]; 2] = [
    [
        0x8c, 0x4f, 0x57, 0x75, 0xd7, 0x96, 0x50, 0x3e, 0x96, 0x13, 0x7f, 0x77, 0xc6, 0x8a, 0x82, 0x9a, 0x00, 0x56, 0xac, 0x8d,
        0xed, 0x70, 0x14, 0x0b, 0x08, 0x1b, 0x09, 0x44, 0x90, 0xc5, 0x7b, 0xff,
    ],
    [
        0xdc, 0x9e, 0x2a, 0x7c, 0x6f, 0x94, 0x8f, 0x17, 0x47, 0x4e, 0x34, 0xa7, 0xfc, 0x43, 0xed, 0x03, 0x0f, 0x7c, 0x15, 0x63,
        0xf1, 0xba, 0xbd, 0xdf, 0x63, 0x40, 0xc8, 0x2e, 0x0e, 0x54, 0xa8, 0xc5,
    ],
];

/// Verifies a quote; exit code 0 only if it verifies.
pub(crate) fn verify_file(args: &QuoteVerify) -> Result<ExitCode, Error> {
    let quote = sources::quote(&args.file)?;
    let anchor = sources::certificate(&read(&args.anchor)?);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let floors = match &args.floors {
        Some(file) => floors(file)?,
        None => usual_floors(&anchor),
    };
    let at = args.at.unwrap_or_else(now).max(floors.built);
    let policy = policy(args, floors);
    let (mut checks, result) = match &policy.tcb {
        TcbDemand::Signature => check_quote(&quote, None, &anchor, &policy, at, args),
        TcbDemand::Statuses(_) => {
            let collateral = Sources::open(&args.collateral)?;
            let candidates = collateral.find(&quote, Instant::now() + CACHE_TIMEOUT);
            let problems = collateral.problems();
            if candidates.is_empty() && !problems.is_empty() {
                return Err(Error::Caches(problems.join("; ")));
            }
            let mut results = candidates.iter().map(|one| check_quote(&quote, Some(one), &anchor, &policy, at, args));
            // The first success decides, otherwise the error with the first candidate.
            let verified = results.by_ref().find(|(_, result)| result.is_ok());
            verified.unwrap_or_else(|| check_quote(&quote, candidates.first().map(|one| &**one), &anchor, &policy, at, args))
        }
    };
    if args.report_data.is_none() && result.is_ok() {
        checks.1.push(("report data", "not compared: none given".to_owned(), false));
    }
    print(args, &quote, &checks, &result)?;
    Ok(if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the contents of a quote without verification.
pub(crate) fn describe(args: &QuoteShow) -> Result<ExitCode, Error> {
    let quote = sources::quote(&args.file)?;
    let header = QuoteHeader::parse(&quote).map_err(Error::Quote)?;
    let description = describe::quote(&header, quote.len());
    if args.json {
        show::json(&json!({ "verified": false, "quote": description }))?;
    } else {
        let mut lines = vec!["not verified: contents of the quote".to_owned()];
        describe::lines(&description, "", &mut lines);
        show::lines(&lines)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The verifier's checks, and those of this module.
type Lines = (Checks, Vec<(&'static str, String, bool)>);

fn check_quote(
    quote: &[u8],
    collateral: Option<&attest::Collateral>,
    anchor: &[u8],
    policy: &Policy,
    at: u64,
    args: &QuoteVerify,
) -> (Lines, Result<Appraisal, VerifyError>) {
    let mut checks = Checks::kept();
    let anchor = Anchor::from_der(anchor.to_vec());
    let mut own = Vec::new();
    let result = verify(quote, collateral, &anchor, policy, at, &mut checks).and_then(|appraisal| match args.report_data {
        Some(wanted) if *appraisal.report_data() != wanted => Err(VerifyError::ReportData),
        Some(wanted) => {
            own.push(("report data", hex::encode(&wanted), true));
            Ok(appraisal)
        }
        None => Ok(appraisal),
    });
    ((checks, own), result)
}

fn policy(args: &QuoteVerify, floors: Floors) -> Policy {
    let builds = (!args.mrenclaves.is_empty()).then(|| args.mrenclaves.clone());
    Policy {
        tcb: args.tcb.clone(),
        floors,
        platforms: args.platforms.clone(),
        sgx: SgxPolicy { mrenclaves: builds, ..SgxPolicy::default() },
        td: TdPolicy {
            attributes_allowed: args.td_attributes_allowed,
            mrseam: args.mrseam,
            mrtd: args.mrtd,
            rtmrs: [args.rtmr0, args.rtmr1, args.rtmr2, args.rtmr3],
            mrconfigid: args.mrconfigid,
            mrowner: args.mrowner,
            mrownerconfig: args.mrownerconfig,
        },
    }
}

/// No lower bounds; under Intel's root, only Intel's quoting enclaves.
fn usual_floors(anchor: &[u8]) -> Floors {
    let is_intel = hex::encode(digest(&SHA256, anchor).as_ref()) == INTEL_ROOT;
    Floors { qe_signers: if is_intel { INTEL_QE_SIGNERS.to_vec() } else { Vec::new() }, ..Floors::default() }
}

fn print(args: &QuoteVerify, quote: &[u8], checks: &Lines, result: &Result<Appraisal, VerifyError>) -> Result<(), Error> {
    let theirs = checks.0.lines().iter().map(|check| (check.name, check.compared.clone(), check.compares));
    let all: Vec<_> = theirs.chain(checks.1.iter().cloned()).collect();
    let reason = result.as_ref().err().map(|error| failure::chain(error));
    if args.json {
        let checks: Vec<_> =
            all.iter().map(|(name, value, compared)| json!({ "name": name, "value": value, "compared": compared })).collect();
        return Ok(show::json(&json!({
            "verified": result.is_ok(),
            "error": reason,
            "checks": checks,
            "appraisal": result.as_ref().ok().map(|appraisal| appraisal_json(appraisal, quote)),
        }))?);
    }
    let line =
        |(name, value, compared): &(&str, String, bool)| format!("{:<5} {name}: {value}", if *compared { "ok" } else { "-" });
    let mut lines: Vec<String> = all.iter().map(line).collect();
    lines.push(reason.map_or_else(|| "verified".to_owned(), |reason| format!("REFUSED {reason}")));
    Ok(show::lines(&lines)?)
}

fn appraisal_json(appraisal: &Appraisal, quote: &[u8]) -> Value {
    let tcb = match appraisal.tcb() {
        Tcb::Assessed { status, advisories, evaluation } => {
            json!({ "status": status.to_string(), "advisories": advisories, "evaluation": evaluation })
        }
        Tcb::Unknown => json!({ "status": "unknown", "advisories": [], "evaluation": null }),
    };
    let (from, until) = appraisal.valid();
    json!({
        "tcb": tcb,
        "platform": hex::encode(&appraisal.platform().id),
        "fmspc": hex::encode(&appraisal.platform().fmspc),
        "valid_from": from,
        "valid_until": until,
        "quote": QuoteHeader::parse(quote).map(|header| describe::quote(&header, quote.len())).ok(),
    })
}
