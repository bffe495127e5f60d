//! Vaults by host name, and name servers that a hostile host controls.

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::op::ResponseCode;

use vault_node::Misbehaviour;

use super::TestContext;
use super::net::{HOST6, boot, timed_out_after};
use crate::lan::dns::{self, DnsAnswer, Zone};
use crate::lan::{FrameAction, Lan, dhcp, frame};
use crate::{Context, DataDisk, Failure, Vaults, forward};

/// The IPv4 address at which the guest reaches the vaults.
const HOST: IpAddr = IpAddr::V4(qemu::HOST_IN_GUEST);
/// A name server on the link; QEMU's user network forwards its TCP port to the test.
const WITH_TCP: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);
/// The name server of QEMU's user network; this test answers in its place.
const UDP_ONLY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// An address where nothing answers.
const UNREACHABLE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 200));

/// A link whose DHCP server names the name server `server`, which knows `zone`.
fn lan(zone: Zone, server: Ipv4Addr) -> Result<Lan, Failure> {
    Lan::start(move |bytes| {
        with_server(bytes, server).or_else(|| dns::answers(&zone, bytes)).map_or(FrameAction::Pass, FrameAction::Answer)
    })
}

/// Answers DHCP requests and names `server` as the name server.
fn with_server(bytes: &[u8], server: Ipv4Addr) -> Option<Vec<Vec<u8>>> {
    let (kind, asked) = dhcp::request(bytes)?;
    let mut options = dhcp::honest();
    options.push((6, server.octets().to_vec()));
    Some(dhcp::serve(kind, &asked, &options))
}

/// Vaults with host names.
fn named(context: &TestContext, needed: usize, dealt: usize) -> Result<Vaults, Failure> {
    let vaults = Vaults::up(&context.artifacts, needed, dealt)?;
    Ok((0..dealt).fold(vaults, |vaults, index| vaults.with_address(index, |port| format!("vault-{index}.example:{port}"))))
}

pub(super) fn finds_vaults_by_name(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, named(context, 4, 4)?);
    let zone: Zone = vec![
        // Too long for UDP.
        ("vault-0.example", DnsAnswer::OverTcp(vec![HOST])),
        // Noise before the answer, and an alias with an address that does not answer beside the right one.
        ("vault-1.example", DnsAnswer::Alias("real.example", vec![UNREACHABLE, HOST])),
        ("vault-2.example", DnsAnswer::NoiseFirst(vec![HOST6.into(), HOST])),
        ("vault-3.example", DnsAnswer::OnlyA(vec![HOST])),
    ];
    let tcp = dns::over_tcp(zone.clone()).context("starting a name server over TCP")?;
    let lan = lan(zone, WITH_TCP)?.forwarding(format!("tcp:{WITH_TCP}:53-tcp:{tcp}"));
    let result = boot(context, &data, &vaults).lan(&lan).tasks("mounts").run()?;
    result.reached_the_real_system()?;
    result.line("mounts| /dev/mapper/data-crypt /data ext4")?;
    Ok(())
}

pub(super) fn wrong_answers_only_delay(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, named(context, 2, 3)?);
    let zone: Zone = vec![
        ("vault-0.example", DnsAnswer::Addresses(vec![[127, 0, 0, 1].into(), [0, 0, 0, 0].into(), [224, 0, 0, 1].into()])),
        ("vault-1.example", DnsAnswer::Code(ResponseCode::Refused)),
        // vault-2 does not exist.
    ];
    let result = boot(context, &data, &vaults).lan(&lan(zone, UDP_ONLY)?).cmdline("cvm.vault.timeout=15s").run()?;
    timed_out_after(&result, 15, 50)?;
    result.line("vault vault-0.example")?;
    result.line("down: the name has no address")?;
    result.line("down: the name server failed with code 5")?;
    Ok(())
}

pub(super) fn silent_name_servers_end_with_the_timeout(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, named(context, 2, 3)?);
    let zone: Zone = (["vault-0.example", "vault-1.example", "vault-2.example"]).map(|name| (name, DnsAnswer::NoAnswer)).to_vec();
    let result = boot(context, &data, &vaults).lan(&lan(zone, UDP_ONLY)?).cmdline("cvm.vault.timeout=20s").run()?;
    timed_out_after(&result, 20, 50)?;
    result.line("no name server answered")?;
    Ok(())
}

pub(super) fn wrong_addresses_first_only_delay(context: &TestContext) -> Result<(), Failure> {
    let (data, mut vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 3, 3)?);
    // Each name has two addresses. The IPv6 address, which PID 1 tries first, leads to a node of the host: one of another build,
    // one that denies, one that gives a share of another key. The IPv4 address leads to the owner's node.
    let others =
        Vaults::up(&context.artifacts, 3, 3)?.misbehaving(0, Misbehaviour::WrongMrenclave).misbehaving(1, Misbehaviour::Deny);
    for index in 0..3 {
        let port = vaults.node(index)?.addr().port();
        forward::from(&format!("[::1]:{port}"), others.node(index)?.addr()).context("starting a forward on ::1")?;
        vaults = vaults.with_address(index, |_| format!("vault-{index}.example:{port}"));
    }
    let both = || DnsAnswer::Addresses(vec![HOST, HOST6.into()]);
    let zone: Zone = vec![("vault-0.example", both()), ("vault-1.example", both()), ("vault-2.example", both())];
    let (mut has_ipv6, mut is_dialled) = (false, false);
    let lan = Lan::start(move |bytes| {
        // Neighbour solicitation for an address that is not link-local: the guest has a global one.
        let wanted =
            frame::icmpv6(bytes).filter(|icmp| icmp.message.first() == Some(&135)).and_then(|icmp| icmp.message.get(8..10));
        has_ipv6 |= wanted.is_some_and(|address| address != [0xfe, 0x80]);
        let to = frame::tcp_to(bytes);
        is_dialled |= to.is_some_and(|to| to.is_ipv6());
        match (to, dns::answers(&zone, bytes)) {
            (Some(to), _) if to.is_ipv4() && !is_dialled => FrameAction::Drop,
            (_, Some(_)) if !has_ipv6 => FrameAction::Drop,
            (_, Some(answers)) => FrameAction::Answer(answers),
            _ => with_server(bytes, UDP_ONLY).map_or(FrameAction::Pass, FrameAction::Answer),
        }
    })?;
    let boot = boot(context, &data, &vaults).lan(&lan).cmdline("cvm.net=dual").tasks("mounts");
    others.grant(&boot.measurement()?)?;
    let result = boot.run()?;
    result.line("is not in cvm.vault.mrenclave (cvmctl: --mrenclave); trying again")?;
    result.line("denied by the key's policy; trying again")?;
    result.line("vault vault-2.example")?;
    result.line("its share and the others do not combine to the key; trying again")?;
    result.reached_the_real_system()?;
    result.line("mounts| /dev/mapper/data-crypt /data ext4")?;
    Ok(())
}
