//! The two JSON objects about patch levels that Intel signs: TCB info and QE identity.
//!
//! Statuses, ids and hexadecimal values are strings, so that tests can express values which no parser may accept.

use serde::{Serialize, Serializer};

use crate::cert::date;
use crate::report::qe_mrsigner;
use crate::{DAY, Error, PckExtension};

/// When every honest simulated level was assessed.
const TCB_DATE: &str = "2025-05-14T00:00:00Z";

/// TCB info, version 3.
///
/// Source: <https://api.portal.trustedservices.intel.com>, "Get TCB Info V4".
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TcbInfo {
    /// "SGX" or "TDX".
    pub id: String,
    /// 3.
    pub version: u32,
    /// First second of validity.
    #[serde(serialize_with = "rfc3339")]
    pub issue_date: u64,
    /// Last second of validity.
    #[serde(serialize_with = "rfc3339")]
    pub next_update: u64,
    /// 12 upper-case hexadecimal digits.
    pub fmspc: String,
    /// 4 hexadecimal digits.
    pub pce_id: String,
    /// 0.
    pub tcb_type: u32,
    /// Rises with every TCB recovery.
    pub tcb_evaluation_data_number: u32,
    /// The TDX module from before module versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tdx_module: Option<TdxModule>,
    /// TDX modules by version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tdx_module_identities: Vec<ModuleIdentity>,
    /// Levels, best first.
    pub tcb_levels: Vec<Level>,
}

/// Signer and attributes of a TDX module.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TdxModule {
    /// 96 hexadecimal digits.
    pub mrsigner: String,
    /// 16 hexadecimal digits.
    pub attributes: String,
    /// 16 hexadecimal digits.
    pub attributes_mask: String,
}

/// One version of the TDX module.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleIdentity {
    /// "TDX_01" for version 1.
    pub id: String,
    /// Signer and attributes.
    #[serde(flatten)]
    pub module: TdxModule,
    /// Levels, best first.
    pub tcb_levels: Vec<ModuleLevel>,
}

/// One patch level of a module.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleLevel {
    /// Lowest SVN of the level.
    #[serde(serialize_with = "isvsvn")]
    pub tcb: u32,
    /// RFC 3339.
    pub tcb_date: String,
    /// "UpToDate" and so on.
    pub tcb_status: String,
    /// "INTEL-SA-..." that apply.
    #[serde(rename = "advisoryIDs", skip_serializing_if = "Vec::is_empty")]
    pub advisories: Vec<String>,
}

/// One patch level of a quoting enclave: the same shape as a module's.
pub type QeLevel = ModuleLevel;

impl ModuleLevel {
    /// A level from `svn` on.
    #[must_use]
    pub fn new(svn: u32, status: &str) -> Self {
        Self { tcb: svn, tcb_date: TCB_DATE.to_owned(), tcb_status: status.to_owned(), advisories: Vec::new() }
    }
}

/// One patch level of a platform.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Level {
    /// Lowest SVNs of the level.
    pub tcb: Tcb,
    /// RFC 3339.
    pub tcb_date: String,
    /// "UpToDate" and so on.
    pub tcb_status: String,
    /// "INTEL-SA-..." that apply.
    #[serde(rename = "advisoryIDs", skip_serializing_if = "Vec::is_empty")]
    pub advisories: Vec<String>,
}

/// The SVNs that a level requires.
#[derive(Clone, Debug, Serialize)]
pub struct Tcb {
    /// 16 in a valid one.
    #[serde(rename = "sgxtcbcomponents")]
    pub sgx: Vec<Svn>,
    /// The provisioning enclave's.
    #[serde(rename = "pcesvn")]
    pub pce_svn: u32,
    /// 16 in TDX TCB info.
    #[serde(rename = "tdxtcbcomponents", skip_serializing_if = "Vec::is_empty")]
    pub tdx: Vec<Svn>,
}

/// One component. Wider than a byte, so that tests can exceed the range.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Svn {
    /// 0..=255 in a valid one.
    pub svn: u32,
}

impl Level {
    /// A level that requires these SVNs.
    #[must_use]
    pub fn new(sgx: &[u8], pce_svn: u16, tdx: &[u8], status: &str) -> Self {
        let svns = |all: &[u8]| all.iter().map(|svn| Svn { svn: (*svn).into() }).collect();
        Self {
            tcb: Tcb { sgx: svns(sgx), pce_svn: pce_svn.into(), tdx: svns(tdx) },
            tcb_date: TCB_DATE.to_owned(),
            tcb_status: status.to_owned(),
            advisories: Vec::new(),
        }
    }
}

impl TcbInfo {
    /// Honest TCB info for a platform: it is up to date, and one SVN less is out of date.
    #[must_use]
    pub fn of(id: &str, platform: &PckExtension, now: u64) -> Self {
        let tdx = id == "TDX";
        let (good, old): (&[u8], &[u8]) = if tdx {
            (&[6, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[4, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        } else {
            (&[], &[])
        };
        let mut below = Level::new(&[0; 16], 5, old, "OutOfDate");
        below.advisories = vec!["INTEL-SA-00960".to_owned()];
        Self {
            id: id.to_owned(),
            version: 3,
            issue_date: now.saturating_sub(2 * DAY),
            next_update: now.saturating_add(28 * DAY),
            fmspc: hex::encode_upper(&platform.fmspc),
            pce_id: hex::encode_upper(&platform.pce_id),
            tcb_type: 0,
            tcb_evaluation_data_number: 20,
            tdx_module: tdx.then(intel_module),
            tdx_module_identities: if tdx {
                vec![ModuleIdentity {
                    id: "TDX_01".to_owned(),
                    module: intel_module(),
                    tcb_levels: vec![ModuleLevel::new(6, "UpToDate"), ModuleLevel::new(2, "OutOfDate")],
                }]
            } else {
                Vec::new()
            },
            tcb_levels: vec![Level::new(&platform.components, platform.pce_svn, good, "UpToDate"), below],
        }
    }
}

fn intel_module() -> TdxModule {
    TdxModule { mrsigner: "00".repeat(48), attributes: "00".repeat(8), attributes_mask: "FF".repeat(8) }
}

/// Enclave identity of a quoting enclave, version 2.
///
/// Source: <https://api.portal.trustedservices.intel.com>, "Get TD QE Identity V4".
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QeIdentity {
    /// "QE" or "TD_QE".
    pub id: String,
    /// 2.
    pub version: u32,
    /// First second of validity.
    #[serde(serialize_with = "rfc3339")]
    pub issue_date: u64,
    /// Last second of validity.
    #[serde(serialize_with = "rfc3339")]
    pub next_update: u64,
    /// Rises with every TCB recovery.
    pub tcb_evaluation_data_number: u32,
    /// 8 hexadecimal digits.
    pub miscselect: String,
    /// 8 hexadecimal digits.
    pub miscselect_mask: String,
    /// 32 hexadecimal digits.
    pub attributes: String,
    /// 32 hexadecimal digits.
    pub attributes_mask: String,
    /// 64 hexadecimal digits.
    pub mrsigner: String,
    /// 1 for SGX, 2 for TDX.
    pub isvprodid: u32,
    /// Levels, best first.
    pub tcb_levels: Vec<QeLevel>,
}

impl QeIdentity {
    /// The identity of the simulated quoting enclave for `id` ("QE" or "TD_QE").
    #[must_use]
    pub fn of(id: &str, now: u64) -> Self {
        let (isvprodid, svn) = if id == "TD_QE" { (2, 4) } else { (1, 8) };
        Self {
            id: id.to_owned(),
            version: 2,
            issue_date: now.saturating_sub(2 * DAY),
            next_update: now.saturating_add(28 * DAY),
            tcb_evaluation_data_number: 20,
            miscselect: "00000000".to_owned(),
            miscselect_mask: "FFFFFFFF".to_owned(),
            attributes: format!("11{}", "00".repeat(15)),
            attributes_mask: format!("FBFFFFFFFFFFFFFF{}", "00".repeat(8)),
            mrsigner: hex::encode_upper(qe_mrsigner()),
            isvprodid,
            tcb_levels: vec![QeLevel::new(svn, "UpToDate")],
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn isvsvn<S: Serializer>(svn: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Object {
        isvsvn: u32,
    }
    Object { isvsvn: *svn }.serialize(serializer)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn rfc3339<S: Serializer>(seconds: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_time(*seconds).map_err(serde::ser::Error::custom)?)
}

fn format_time(seconds: u64) -> Result<String, Error> {
    let time = date(seconds)?;
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    Ok(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}
