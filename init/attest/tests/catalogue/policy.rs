//! P: genuine, and not what is wanted.

use attest::{PlatformProperty, Refusal};

use crate::world::Kind::{Sgx, Tdx, Tdx15};
use crate::world::{Case, judge};

const SEPT: u64 = 1 << 28;

#[test]
fn enclaves_are_what_policy_names() {
    let cases: [Case; 13] = [
        ("P1", Sgx, "debug", |p| p.sgx.report.flags |= 2, Refusal::Debug),
        ("P0", Sgx, "not initialised", |p| p.sgx.report.flags &= !1, Refusal::Enclave("not initialised")),
        ("P0", Sgx, "provisioning key", |p| p.sgx.report.flags |= 0x10, Refusal::Enclave("holds provisioning or launch keys")),
        ("P0", Sgx, "launch key", |p| p.sgx.report.flags |= 0x20, Refusal::Enclave("holds provisioning or launch keys")),
        ("P0", Sgx, "MRENCLAVE one bit off", |p| p.sgx.report.mrenclave[31] ^= 1, Refusal::Measurement("mrenclave")),
        (
            "P0",
            Sgx,
            "MRENCLAVE in MRSIGNER's place",
            |p| std::mem::swap(&mut p.sgx.report.mrenclave, &mut p.sgx.report.mrsigner),
            Refusal::Measurement("mrenclave"),
        ),
        (
            "P0",
            Sgx,
            "no build is on the list",
            |p| p.policy.enclave.mrenclaves = Some(Vec::new()),
            Refusal::Measurement("mrenclave"),
        ),
        ("P0", Sgx, "no list of builds", |p| p.policy.enclave.mrenclaves = None, Refusal::Measurement("mrenclave")),
        ("P0", Sgx, "CONFIGID of the host's", |p| p.sgx.report.config_id[63] = 1, Refusal::Enclave("CONFIGID")),
        ("P0", Sgx, "CONFIGSVN of the host's", |p| p.sgx.report.config_svn = 1, Refusal::Enclave("CONFIGID")),
        ("P0", Sgx, "another CONFIGID than is pinned", |p| p.policy.enclave.config_id = [1; 64], Refusal::Enclave("CONFIGID")),
        ("P0", Sgx, "unknown MISCSELECT", |p| p.sgx.report.misc_select = 4, Refusal::Enclave("MISCSELECT")),
        ("P11", Sgx, "another platform than is pinned", |p| p.policy.platforms = vec![vec![0; 16]], Refusal::PlatformPin),
    ];
    crate::play(&cases);
}

#[test]
fn domains_are_what_policy_names() {
    let domain = Refusal::Domain;
    let cases: [Case; 29] = [
        ("P1", Tdx, "debug", |p| p.td.td_attributes |= 1, Refusal::Debug),
        ("P2", Tdx, "profiling", |p| p.td.td_attributes |= 0x10, domain("profiling")),
        ("P2", Tdx, "profiling of another kind", |p| p.td.td_attributes |= 0x40, domain("profiling")),
        ("P3", Tdx, "a reserved bit", |p| p.td.td_attributes |= 1 << 40, domain("reserved attributes")),
        ("P3", Tdx, "a reserved bit beside debug", |p| p.td.td_attributes |= 1 << 8, domain("reserved attributes")),
        ("P4", Tdx, "migratable", |p| p.td.td_attributes |= 1 << 29, domain("migratable")),
        ("P5", Tdx, "SERVTD_EXT", |p| p.td.td_attributes |= 1 << 17, domain("bound to a service domain")),
        ("P5", Tdx15, "MRSERVICETD", |p| p.td.mrservicetd[47] = 1, domain("bound to a service domain")),
        ("P6", Tdx, "SEPT_VE_DISABLE off", |p| p.td.td_attributes &= !SEPT, domain("SEPT_VE_DISABLE is off")),
        ("P7", Tdx, "KL", |p| p.td.td_attributes |= 1 << 31, domain("an attribute that policy does not allow")),
        ("P7", Tdx, "PERFMON", |p| p.td.td_attributes |= 1 << 63, domain("an attribute that policy does not allow")),
        ("P8", Tdx, "XFAM all ones", |p| p.td.xfam = u64::MAX, domain("XFAM")),
        ("P8", Tdx, "XFAM without SSE", |p| p.td.xfam = 1, domain("XFAM")),
        ("P9", Tdx, "MRTD one bit off", |p| p.policy.domain.mrtd = Some(off(p.td.mrtd)), Refusal::Measurement("mrtd")),
        ("P9", Tdx, "RTMR0 one bit off", |p| p.policy.domain.rtmrs[0] = Some(off(p.td.rtmr[0])), Refusal::Measurement("rtmr0")),
        ("P9", Tdx, "RTMR1 one bit off", |p| p.policy.domain.rtmrs[1] = Some(off(p.td.rtmr[1])), Refusal::Measurement("rtmr1")),
        ("P9", Tdx, "RTMR2 one bit off", |p| p.policy.domain.rtmrs[2] = Some(off(p.td.rtmr[2])), Refusal::Measurement("rtmr2")),
        ("P9", Tdx, "RTMR3 one bit off", |p| p.policy.domain.rtmrs[3] = Some(off(p.td.rtmr[3])), Refusal::Measurement("rtmr3")),
        (
            "P9",
            Tdx,
            "MRCONFIGID one bit off",
            |p| p.policy.domain.mrconfigid = Some(off(p.td.mrconfigid)),
            Refusal::Measurement("mrconfigid"),
        ),
        (
            "P9",
            Tdx,
            "MROWNER one bit off",
            |p| p.policy.domain.mrowner = Some(off(p.td.mrowner)),
            Refusal::Measurement("mrowner"),
        ),
        (
            "P9",
            Tdx,
            "MROWNERCONFIG one bit off",
            |p| p.policy.domain.mrownerconfig = Some(off(p.td.mrownerconfig)),
            Refusal::Measurement("mrownerconfig"),
        ),
        ("P9", Tdx, "MRSEAM one bit off", |p| p.policy.domain.mrseam = Some(off(p.td.mrseam)), Refusal::Measurement("mrseam")),
        (
            "P10",
            Tdx,
            "the right image, and RTMR3 extended",
            |p| {
                p.policy.domain.rtmrs[3] = Some([0; 48]);
                p.td.rtmr[3] = [9; 48];
            },
            Refusal::Measurement("rtmr3"),
        ),
        ("P11", Tdx, "another platform than is pinned", |p| p.policy.platforms = vec![vec![0; 16]], Refusal::PlatformPin),
        (
            "P12",
            Tdx,
            "hyperthreading",
            |p| p.policy.floors.platforms_denied = vec![PlatformProperty::Smt],
            Refusal::Platform("hyperthreading is on"),
        ),
        (
            "P12",
            Tdx,
            "packages to come",
            |p| p.policy.floors.platforms_denied = vec![PlatformProperty::Dynamic],
            Refusal::Platform("packages can be added"),
        ),
        ("B1", Tdx, "report data of another request", |p| p.td.report_data[63] ^= 1, Refusal::ReportData),
        (
            "B4",
            Sgx,
            "MRENCLAVE list, and the guest's own report data",
            |p| p.sgx.report.report_data = [1; 64],
            Refusal::ReportData,
        ),
        ("P8", Tdx15, "XFAM with a reserved bit", |p| p.td.xfam |= 1 << 10, domain("XFAM")),
    ];
    crate::play(&cases);
}

fn off(mut value: [u8; 48]) -> [u8; 48] {
    value[47] ^= 1;
    value
}

#[test]
fn what_policy_names_is_accepted() {
    judge(Tdx, |p| {
        p.td.td_attributes |= 1 << 63 | 1 << 30;
        p.policy.domain.attributes_allowed = 1 << 63;
        p.policy.domain.mrtd = Some(p.td.mrtd);
        p.policy.domain.rtmrs = p.td.rtmr.map(Some);
        p.policy.domain.mrseam = Some(p.td.mrseam);
        p.policy.platforms = vec![p.platform.extension.platform_instance.clone().unwrap()];
        p.policy.floors.platforms_denied = vec![PlatformProperty::CachedKeys];
    })
    .unwrap();
    judge(Sgx, |p| {
        p.sgx.report.misc_select = 1;
        p.sgx.report.config_id = [7; 64];
        p.policy.enclave.config_id = [7; 64];
    })
    .unwrap();
}
