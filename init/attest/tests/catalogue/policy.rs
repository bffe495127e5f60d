//! P: genuine quotes that policy does not accept.

use attest::{PlatformProperty, VerifyError};

use crate::world::Kind::{Sgx, Tdx, Tdx15};
use crate::world::{Case, MRENCLAVE, appraise, measurement};

const SEPT: u64 = 1 << 28;

#[test]
fn enclaves_that_policy_does_not_accept_are_refused() {
    let cases: [Case; 13] = [
        ("P1", Sgx, "debug", |p| p.sgx.report.flags |= 2, VerifyError::Debug),
        ("P0", Sgx, "not initialised", |p| p.sgx.report.flags &= !1, VerifyError::Sgx("not initialised")),
        (
            "P0",
            Sgx,
            "provisioning key",
            |p| p.sgx.report.flags |= 0x10,
            VerifyError::Sgx("access to provisioning or launch keys"),
        ),
        ("P0", Sgx, "launch key", |p| p.sgx.report.flags |= 0x20, VerifyError::Sgx("access to provisioning or launch keys")),
        ("P0", Sgx, "MRENCLAVE one bit off", |p| p.sgx.report.mrenclave[31] ^= 1, VerifyError::Mrenclave(MRENCLAVE)),
        (
            "P0",
            Sgx,
            "MRENCLAVE in MRSIGNER's place",
            |p| std::mem::swap(&mut p.sgx.report.mrenclave, &mut p.sgx.report.mrsigner),
            VerifyError::Mrenclave(MRENCLAVE),
        ),
        ("P0", Sgx, "no build is listed", |p| p.policy.sgx.mrenclaves = Some(Vec::new()), VerifyError::Mrenclave(MRENCLAVE)),
        ("P0", Sgx, "no list of builds", |p| p.policy.sgx.mrenclaves = None, VerifyError::NoMrenclave),
        (
            "P0",
            Sgx,
            "CONFIGID of the host's",
            |p| p.sgx.report.config_id[63] = 1,
            VerifyError::Sgx("CONFIGID or CONFIGSVN differs from policy"),
        ),
        (
            "P0",
            Sgx,
            "CONFIGSVN of the host's",
            |p| p.sgx.report.config_svn = 1,
            VerifyError::Sgx("CONFIGID or CONFIGSVN differs from policy"),
        ),
        (
            "P0",
            Sgx,
            "another CONFIGID than is pinned",
            |p| p.policy.sgx.config_id = [1; 64],
            VerifyError::Sgx("CONFIGID or CONFIGSVN differs from policy"),
        ),
        ("P0", Sgx, "unknown MISCSELECT", |p| p.sgx.report.misc_select = 4, VerifyError::Sgx("unknown bits in MISCSELECT")),
        (
            "P11",
            Sgx,
            "another platform than is pinned",
            |p| p.policy.platforms = vec![vec![0; 16]],
            VerifyError::PlatformId(Vec::new()),
        ),
    ];
    crate::run(&cases);
}

#[test]
fn domains_that_policy_does_not_accept_are_refused() {
    let td = VerifyError::Td;
    let cases: [Case; 29] = [
        ("P1", Tdx, "debug", |p| p.td.td_attributes |= 1, VerifyError::Debug),
        ("P2", Tdx, "profiling", |p| p.td.td_attributes |= 0x10, td("profiling is on")),
        ("P2", Tdx, "profiling of another kind", |p| p.td.td_attributes |= 0x40, td("profiling is on")),
        ("P3", Tdx, "a reserved bit", |p| p.td.td_attributes |= 1 << 40, td("reserved bits in TDATTRIBUTES")),
        ("P3", Tdx, "a reserved bit beside debug", |p| p.td.td_attributes |= 1 << 8, td("reserved bits in TDATTRIBUTES")),
        ("P4", Tdx, "migratable", |p| p.td.td_attributes |= 1 << 29, td("migratable")),
        ("P5", Tdx, "SERVTD_EXT", |p| p.td.td_attributes |= 1 << 17, td("bound to a service TD")),
        ("P5", Tdx15, "MRSERVICETD", |p| p.td.mrservicetd[47] = 1, td("bound to a service TD")),
        ("P6", Tdx, "SEPT_VE_DISABLE off", |p| p.td.td_attributes &= !SEPT, td("SEPT_VE_DISABLE is off")),
        ("P7", Tdx, "KL", |p| p.td.td_attributes |= 1 << 31, td("an attribute that policy does not allow")),
        ("P7", Tdx, "PERFMON", |p| p.td.td_attributes |= 1 << 63, td("an attribute that policy does not allow")),
        ("P8", Tdx, "XFAM all ones", |p| p.td.xfam = u64::MAX, td("XFAM has bits that are not allowed, or lacks x87 and SSE")),
        ("P8", Tdx, "XFAM without SSE", |p| p.td.xfam = 1, td("XFAM has bits that are not allowed, or lacks x87 and SSE")),
        ("P9", Tdx, "MRTD one bit off", |p| p.policy.td.mrtd = Some(off(p.td.mrtd)), measurement("mrtd")),
        ("P9", Tdx, "RTMR0 one bit off", |p| p.policy.td.rtmrs[0] = Some(off(p.td.rtmr[0])), measurement("rtmr0")),
        ("P9", Tdx, "RTMR1 one bit off", |p| p.policy.td.rtmrs[1] = Some(off(p.td.rtmr[1])), measurement("rtmr1")),
        ("P9", Tdx, "RTMR2 one bit off", |p| p.policy.td.rtmrs[2] = Some(off(p.td.rtmr[2])), measurement("rtmr2")),
        ("P9", Tdx, "RTMR3 one bit off", |p| p.policy.td.rtmrs[3] = Some(off(p.td.rtmr[3])), measurement("rtmr3")),
        ("P9", Tdx, "MRCONFIGID one bit off", |p| p.policy.td.mrconfigid = Some(off(p.td.mrconfigid)), measurement("mrconfigid")),
        ("P9", Tdx, "MROWNER one bit off", |p| p.policy.td.mrowner = Some(off(p.td.mrowner)), measurement("mrowner")),
        (
            "P9",
            Tdx,
            "MROWNERCONFIG one bit off",
            |p| p.policy.td.mrownerconfig = Some(off(p.td.mrownerconfig)),
            measurement("mrownerconfig"),
        ),
        ("P9", Tdx, "MRSEAM one bit off", |p| p.policy.td.mrseam = Some(off(p.td.mrseam)), measurement("mrseam")),
        (
            "P10",
            Tdx,
            "the right image, and RTMR3 extended",
            |p| {
                p.policy.td.rtmrs[3] = Some([0; 48]);
                p.td.rtmr[3] = [9; 48];
            },
            measurement("rtmr3"),
        ),
        (
            "P11",
            Tdx,
            "another platform than is pinned",
            |p| p.policy.platforms = vec![vec![0; 16]],
            VerifyError::PlatformId(Vec::new()),
        ),
        (
            "P12",
            Tdx,
            "hyperthreading",
            |p| p.policy.floors.platforms_denied = vec![PlatformProperty::Smt],
            VerifyError::Platform("hyperthreading is on"),
        ),
        (
            "P12",
            Tdx,
            "packages to come",
            |p| p.policy.floors.platforms_denied = vec![PlatformProperty::Dynamic],
            VerifyError::Platform("packages can be added later"),
        ),
        ("B1", Tdx, "report data of another request", |p| p.td.report_data[63] ^= 1, VerifyError::ReportData),
        (
            "B4",
            Sgx,
            "MRENCLAVE list, and the guest's own report data",
            |p| p.sgx.report.report_data = [1; 64],
            VerifyError::ReportData,
        ),
        (
            "P8",
            Tdx15,
            "XFAM with a reserved bit",
            |p| p.td.xfam |= 1 << 10,
            td("XFAM has bits that are not allowed, or lacks x87 and SSE"),
        ),
    ];
    crate::run(&cases);
}

fn off(mut value: [u8; 48]) -> [u8; 48] {
    value[47] ^= 1;
    value
}

#[test]
fn values_that_policy_names_are_accepted() {
    appraise(Tdx, |p| {
        p.td.td_attributes |= 1 << 63 | 1 << 30;
        p.policy.td.attributes_allowed = 1 << 63;
        p.policy.td.mrtd = Some(p.td.mrtd);
        p.policy.td.rtmrs = p.td.rtmr.map(Some);
        p.policy.td.mrseam = Some(p.td.mrseam);
        p.policy.platforms = vec![p.platform.extension.platform_instance.clone().unwrap()];
        p.policy.floors.platforms_denied = vec![PlatformProperty::CachedKeys];
    })
    .unwrap();
    appraise(Sgx, |p| {
        p.sgx.report.misc_select = 1;
        p.sgx.report.config_id = [7; 64];
        p.policy.sgx.config_id = [7; 64];
    })
    .unwrap();
}
