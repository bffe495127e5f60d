//! The fields of a quote as JSON. Nothing here is verified.

use attest::{ClaimedPlatform, QuoteHeader, Tee};
use dcap_qvl::intel::{extract_cert_chain, parse_pck_extension};
use dcap_qvl::quote::{EnclaveReport, Quote, Report, TDReport10};
use encoding::hex;
use serde_json::{Map, Value, json};

/// Flags of an enclave, and of TDATTRIBUTES, by bit.
const ENCLAVE_FLAGS: &[(u32, &str)] =
    &[(0, "INIT"), (1, "DEBUG"), (2, "MODE64BIT"), (4, "PROVISION_KEY"), (5, "EINITTOKEN_KEY"), (7, "KSS")];
const DOMAIN_FLAGS: &[(u32, &str)] = &[
    (0, "DEBUG"),
    (16, "ICSSD"),
    (17, "SERVTD_EXT"),
    (27, "LASS"),
    (28, "SEPT_VE_DISABLE"),
    (29, "MIGRATABLE"),
    (30, "PKS"),
    (31, "KL"),
    (62, "TPA"),
    (63, "PERFMON"),
];

/// All fields of a quote, as JSON. `bytes` is the length of the file with its padding.
pub(super) fn quote(header: &QuoteHeader<'_>, bytes: usize) -> Value {
    let Ok(quote) = Quote::parse(header.bytes()) else { return Value::Null };
    let body = match &quote.report {
        Report::SgxEnclave(report) => enclave(report),
        Report::TD10(report) => domain(report),
        Report::TD15(report) => {
            let newer =
                [("tee_tcb_svn2", hex::encode(&report.tee_tcb_svn2)), ("mrservicetd", hex::encode(&report.mr_service_td))];
            with(&domain(&report.base), newer)
        }
        Report::TD15Ex(report) => {
            let base = &report.base;
            let newer = [("tee_tcb_svn2", hex::encode(&base.tee_tcb_svn2)), ("mrservicetd", hex::encode(&base.mr_service_td))];
            with(&domain(&base.base), newer)
        }
    };
    json!({
        "version": quote.header.version,
        "tee": match header.tee() { Tee::Sgx => "sgx", Tee::Tdx => "tdx" },
        "bytes": header.bytes().len(),
        "padding": bytes.saturating_sub(header.bytes().len()),
        "user_data": hex::encode(&quote.header.user_data),
        "body": body,
        "quoting_enclave": quoting_enclave(&quote),
        "platform": platform(&quote, header),
    })
}

/// Lines `a.b: value`, nested names joined by dots.
pub(super) fn lines(value: &Value, name: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                lines(value, &name, out);
            }
        }
        Value::String(text) => out.push(format!("{name}: {text}")),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect();
            out.push(format!("{name}: {}", items.join(" ")));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push(format!("{name}: {value}")),
    }
}

fn enclave(report: &EnclaveReport) -> Value {
    let (flags, xfrm) = report.attributes.split_at(8);
    json!({
        "cpusvn": hex::encode(&report.cpu_svn),
        "miscselect": format!("{:#010x}", report.misc_select),
        "attributes": named(number(flags), ENCLAVE_FLAGS),
        "xfrm": format!("{:#x}", number(xfrm)),
        "mrenclave": hex::encode(&report.mr_enclave),
        "mrsigner": hex::encode(&report.mr_signer),
        "configid": hex::encode(report.reserved3.get(32..).unwrap_or_default()),
        "isvprodid": report.isv_prod_id,
        "isvsvn": report.isv_svn,
        "configsvn": number(report.reserved4.get(..2).unwrap_or_default()),
        "report_data": hex::encode(&report.report_data),
    })
}

fn domain(report: &TDReport10) -> Value {
    json!({
        "tee_tcb_svn": hex::encode(&report.tee_tcb_svn),
        "mrseam": hex::encode(&report.mr_seam),
        "mrsignerseam": hex::encode(&report.mr_signer_seam),
        "seam_attributes": hex::encode(&report.seam_attributes),
        "td_attributes": named(number(&report.td_attributes), DOMAIN_FLAGS),
        "xfam": format!("{:#x}", number(&report.xfam)),
        "mrtd": hex::encode(&report.mr_td),
        "mrconfigid": hex::encode(&report.mr_config_id),
        "mrowner": hex::encode(&report.mr_owner),
        "mrownerconfig": hex::encode(&report.mr_owner_config),
        "rtmr0": hex::encode(&report.rt_mr0),
        "rtmr1": hex::encode(&report.rt_mr1),
        "rtmr2": hex::encode(&report.rt_mr2),
        "rtmr3": hex::encode(&report.rt_mr3),
        "report_data": hex::encode(&report.report_data),
    })
}

/// Offsets in an SGX report body: MRSIGNER 128, ISVPRODID 256, ISVSVN 258.
fn quoting_enclave(quote: &Quote) -> Value {
    let report = quote.qe_report();
    let field = |range: std::ops::Range<usize>| report.get(range).unwrap_or_default();
    json!({
        "mrsigner": hex::encode(field(128..160)),
        "isvprodid": number(field(256..258)),
        "isvsvn": number(field(258..260)),
        "certification_type": quote.inner_cert_type(),
    })
}

fn platform(quote: &Quote, header: &QuoteHeader<'_>) -> Value {
    let leaf = extract_cert_chain(quote).ok().and_then(|chain| chain.into_iter().next());
    let Some(extension) = leaf.and_then(|leaf| parse_pck_extension(&leaf).ok()) else { return Value::Null };
    json!({
        "fmspc": hex::encode(&extension.fmspc),
        "pceid": hex::encode(&extension.pce_id),
        "ppid": hex::encode(&extension.ppid),
        "instance": extension.platform_instance_id.map(|bytes| hex::encode(&bytes)),
        "cpusvn": hex::encode(&extension.cpu_svn),
        "pcesvn": extension.pce_svn,
        "smt": extension.smt_enabled,
        "dynamic": extension.dynamic_platform,
        "cached_keys": extension.cached_keys,
        "authority": ClaimedPlatform::of(header.bytes()).map(|claimed| claimed.authority.as_str()),
    })
}

/// `0x15 INIT MODE64BIT PROVISION_KEY`.
fn named(bits: u64, names: &[(u32, &str)]) -> String {
    let set = names.iter().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| format!(" {name}"));
    format!("{bits:#x}{}", set.collect::<String>())
}

/// Little-endian.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn with<const N: usize>(body: &Value, more: [(&str, String); N]) -> Value {
    let mut fields: Map<String, Value> = body.as_object().cloned().unwrap_or_default();
    fields.extend(more.map(|(name, value)| (name.to_owned(), value.into())));
    Value::Object(fields)
}
