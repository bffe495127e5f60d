//! Networks as in clouds, and networks that a hostile host controls.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use qemu::Vm;
use vault_node::Misbehaviour;

use super::TestContext;
use super::root::assert_field;
use crate::lan::{FrameAction, Lan, dhcp, frame, ndp};
use crate::vsock::Vsock;
use crate::{Boot, BootResult, Context, DataDisk, Failure, Vaults};

/// The longest that a line may take under emulation on a busy machine.
const SOON: Duration = Duration::from_secs(90);

/// A boot with these vaults that may format a blank disk.
pub(super) fn boot<'a>(context: &'a TestContext, data: &'a DataDisk, vaults: &'a Vaults) -> Boot<'a> {
    Boot::new(context).data(data, vaults).cmdline("cvm.data.format=if-blank")
}

/// Expects failure `code` within 10 % after the timeout, counted over both phases, and a reboot.
pub(super) fn timed_out_after(result: &BootResult, seconds: u64, code: u8) -> Result<(), Failure> {
    result.rebooted_with(code)?;
    let took = result.phase("net")? + result.phase("unlock").unwrap_or(0);
    // The time between the two phases is counted in neither.
    let bounds = seconds * 990..=seconds * 1100;
    if bounds.contains(&took) {
        Ok(())
    } else {
        Err(Failure(format!("expected {seconds} s, at most 10 % more, until the timeout, took {took} ms")))
    }
}

pub(super) fn stops_in_time_without_a_dhcp_server(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let lan = Lan::start(|bytes| if dhcp::request(bytes).is_some() { FrameAction::Drop } else { FrameAction::Pass })?;
    let result = boot(context, &data, &vaults).lan(&lan).cmdline("cvm.vault.timeout=20s").run()?;
    timed_out_after(&result, 20, 42)?;
    // The console always shows progress.
    for left in ["14", "9", "4"] {
        result.line(&format!("{left} s left"))?;
    }
    result.line("E42 net: eth0: no lease after")?;
    data.expect_blank()
}

pub(super) fn takes_the_valid_lease_among_hostile_answers(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let mut seen = (0, 0);
    let lan = Lan::start(move |bytes| {
        let Some((kind, asked)) = dhcp::request(bytes) else { return FrameAction::Pass };
        let number = if kind == dhcp::DISCOVER { &mut seen.0 } else { &mut seen.1 };
        *number += 1;
        match (kind, *number) {
            (dhcp::DISCOVER, 1) => FrameAction::Drop, // a server that is late
            (dhcp::REQUEST, 1) => FrameAction::Answer(dhcp::answer(&asked, dhcp::NAK, &[], |_| ()).into_iter().collect()),
            _ => {
                let mut answers = dhcp::hostile(kind, &asked);
                let routers = (3, (1..=63).flat_map(|n| [10, 0, 2, 2 * (n % 2) + n / 60]).collect());
                let mut options = dhcp::honest();
                options.extend([(6, (1..=60).flat_map(|n| [10, 0, 3, n]).collect()), (26, 1400_u16.to_be_bytes().to_vec())]);
                options.retain(|(code, _)| *code != 3);
                options.push(routers);
                answers.extend(dhcp::serve(kind, &asked, &options));
                FrameAction::Answer(answers)
            }
        }
    })?;
    let result = boot(context, &data, &vaults).lan(&lan).tasks("links").run()?;
    result.reached_the_real_system()?;
    result.line("net: eth0 is 10.0.2.77/24")?;
    result.line("the DHCP server refused the address that it had offered")?;
    link_was_returned(&result)
}

/// Expects the link as PID 1 found it: down, MTU 1500, no address, no route.
fn link_was_returned(result: &BootResult) -> Result<(), Failure> {
    let link = result.line("link| 2: eth0")?;
    if !link.contains("state DOWN") || !link.contains("mtu 1500") {
        return Err(Failure(format!("expected the link to be down with MTU 1500: {link}")));
    }
    result.no_line("address| 2: eth0")?;
    result.no_line("route| ")
}

pub(super) fn uses_classless_routes_instead_of_the_router(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let lan = Lan::start(|bytes| {
        let Some((kind, asked)) = dhcp::request(bytes) else { return FrameAction::Pass };
        // The subnet is a single address. The route to the vaults is a classless route, which overrides the router option.
        let routes = vec![32, 10, 0, 2, 2, 0, 0, 0, 0, 16, 10, 9, 10, 0, 2, 2];
        let options = vec![(1, vec![255; 4]), (3, vec![10, 0, 2, 99]), (121, routes), (26, 1280_u16.to_be_bytes().to_vec())];
        FrameAction::Answer(dhcp::serve(kind, &asked, &options))
    })?;
    let keeping = boot(context, &data, &vaults).lan(&lan).cmdline("cvm.net.keep=yes").tasks("links");
    let result = keeping.run()?;
    result.reached_the_real_system()?;
    result.line("net: eth0 is 10.0.2.77/32")?;
    // `cvm.net.keep=yes` keeps the configuration, so that the test can see it.
    result.line("route| 10.0.2.2 dev eth0")?;
    result.line("route| 10.9.0.0/16 via 10.0.2.2 dev eth0")?;
    result.line("mtu 1280")?;
    result.no_line("route| default")
}

pub(super) fn uses_the_link_that_answers(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) =
        (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?.misbehaving(1, Misbehaviour::Down));
    let result = boot(context, &data, &vaults).no_network().qemu_arguments(DEAD_LINK_FIRST).tasks("links").run()?;
    result.reached_the_real_system()?;
    result.line("net: eth1 is 10.0.2.15/24")?;
    assert_field(&result.boot_report()?, "/link", &"eth1")?;
    for link in ["eth0", "eth1"] {
        let line = result.line(&format!(": {link}: <"))?;
        if !line.contains("state DOWN") {
            return Err(Failure(format!("expected the link to be down: {line}")));
        }
    }
    Ok(())
}

/// A link with a carrier and no network behind it, then one that works.
pub(crate) const DEAD_LINK_FIRST: [&str; 8] = [
    "-netdev",
    "hubport,id=dead,hubid=9",
    "-device",
    "virtio-net-pci,netdev=dead,romfile=",
    "-netdev",
    "user,id=link",
    "-device",
    "virtio-net-pci,netdev=link,romfile=",
];

/// Two links that both lead to the vaults.
const TWO_LINKS: [&str; 8] = [
    "-netdev",
    "user,id=one",
    "-device",
    "virtio-net-pci,netdev=one,romfile=",
    "-netdev",
    "user,id=two",
    "-device",
    "virtio-net-pci,netdev=two,romfile=",
];

pub(super) fn switches_to_the_other_link(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let vaults = vaults.misbehaving(1, Misbehaviour::HangAfterAccept).misbehaving(2, Misbehaviour::HangAfterAccept);
    let nodes = [vaults.node(1)?, vaults.node(2)?];
    // Both networks have this address and router; the link in use must have the routes.
    let boot = boot(context, &data, &vaults).no_network().qemu_arguments(TWO_LINKS);
    let result = boot.cmdline("cvm.net=static:10.0.2.15/24,gw=10.0.2.2").tasks("links").run_with(|vm: &Vm| {
        let wait = |line: &str| vm.console().wait_for(line, SOON).context("waiting for a console line");
        let in_use = wait("net: eth")?;
        wait("verified, tcb UpToDate")?;
        // Unplugs the link that PID 1 used first, for good.
        let gone = if in_use.text.contains("eth0 is") { "one" } else { "two" };
        vm.set_link(gone, false).context("unplugging the link")?;
        wait("lost its carrier")?;
        for node in nodes {
            node.set_misbehaviour(Misbehaviour::None);
        }
        Ok(())
    })?;
    result.reached_the_real_system()?;
    result.line("net: eth0 is 10.0.2.15/24")?;
    result.line("net: eth1 is 10.0.2.15/24")?;
    result.no_line("address| 3: eth1")?;
    link_was_returned(&result)
}

pub(super) fn configures_an_address_under_a_flood_of_routers(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?.over_ipv6()?);
    let mut claimed = false;
    let lan = Lan::start(move |bytes| {
        let Some(message) = frame::icmpv6(bytes) else { return FrameAction::Pass };
        if ndp::asks_for_routers(&message) {
            // A claim of the address must arrive within one second after all of these.
            return FrameAction::PassAndAnswer(ndp::flood(message.mac, 1000));
        }
        // Claims the first address that the guest makes from the router's prefix.
        match ndp::probed(bytes, &message).filter(|address| !claimed && !address.is_unicast_link_local()) {
            Some(address) => {
                claimed = true;
                FrameAction::Answer(ndp::claim(message.mac, address).into_iter().collect())
            }
            None => FrameAction::Pass,
        }
    })?;
    let result = boot(context, &data, &vaults).lan(&lan).cmdline("cvm.net=slaac").tasks("links").run()?;
    result.reached_the_real_system()?;
    result.line("net: eth0: another host on the link uses fec0::5054:ff:fe12:3456")?;
    result.line("net: eth0 is fec0::")?;
    link_was_returned(&result)
}

pub(super) fn stops_in_time_when_every_address_is_taken(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?.over_ipv6()?);
    let lan = Lan::start(|bytes| {
        let probed = frame::icmpv6(bytes).and_then(|message| ndp::probed(bytes, &message).map(|address| (message.mac, address)));
        let global = probed.filter(|(_, address)| !address.is_unicast_link_local());
        global.map_or(FrameAction::Pass, |(mac, address)| FrameAction::Answer(ndp::claim(mac, address).into_iter().collect()))
    })?;
    let boot = boot(context, &data, &vaults).lan(&lan).cmdline("cvm.net=static:fec0::99/64,gw=fec0::2");
    let result = boot.cmdline("cvm.vault.timeout=15s").run()?;
    timed_out_after(&result, 15, 45)
}

pub(super) fn uses_static_addresses_of_both_families(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    // No DHCP server.
    let lan = || Lan::start(|bytes| if dhcp::request(bytes).is_some() { FrameAction::Drop } else { FrameAction::Pass });
    let (v4, v6) = (lan()?, lan()?);
    let first =
        boot(context, &data, &vaults).lan(&v4).cmdline("cvm.net=static:10.0.2.50/24,gw=10.0.2.2,if=eth0").tasks("links").run()?;
    first.reached_the_real_system()?;
    first.line("net: eth0 is 10.0.2.50/24")?;
    link_was_returned(&first)?;
    let vaults = vaults.over_ipv6()?;
    let by_mac = "cvm.net=static:fec0::50/64,gw=fec0::2,if=52:54:00:12:34:56";
    let second = boot(context, &data, &vaults).lan(&v6).cmdline(by_mac).tasks("links").run()?;
    second.reached_the_real_system()?;
    second.line("net: eth0 is fec0::50/64")?;
    link_was_returned(&second)
}

pub(super) fn unlocks_over_vsock_without_a_link(context: &TestContext) -> Result<(), Failure> {
    // Without a link there is no cache: the initrd contains the collateral.
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?.without_cache());
    let vsock = Vsock::start(&context.artifacts)?;
    let mut vaults = vaults;
    for index in 0..3 {
        let node = vaults.node(index)?.addr();
        // The last vault is down: nothing listens at its port.
        if index < 2 {
            vsock.forward(node.port(), node)?;
        }
        vaults = vaults.with_address(index, |port| format!("vsock:2:{port}"));
    }
    let boot = boot(context, &data, &vaults).initrd(vaults.initrd_with_collateral(context)?).no_network();
    let result = boot.qemu_arguments(vsock.arguments(qemu::Machine::default().memory_mib)).tasks("mounts").run()?;
    result.reached_the_real_system()?;
    result.line("mounts| /dev/mapper/data-crypt /data ext4")?;
    assert_field(&result.boot_report()?, "/link", &serde_json::Value::Null)?;
    assert_field(&result.boot_report()?, "/unlock/vaults/1/status", &"served")
}

pub(super) fn continues_after_a_lost_link_returns(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    // Two vaults answer only after the link was lost and is back.
    let vaults = vaults.misbehaving(1, Misbehaviour::HangAfterAccept).misbehaving(2, Misbehaviour::HangAfterAccept);
    let nodes = [vaults.node(1)?, vaults.node(2)?];
    let result = boot(context, &data, &vaults).run_with(|vm: &Vm| {
        let wait = |line: &str| vm.console().wait_for(line, SOON).context("waiting for a console line");
        wait("verified, tcb UpToDate")?;
        vm.set_link("link", false).context("unplugging the link")?;
        wait("net: eth0 lost its carrier")?;
        for node in nodes {
            node.set_misbehaviour(Misbehaviour::None);
        }
        wait("s left")?;
        vm.set_link("link", true).context("plugging the link in")
    })?;
    result.reached_the_real_system()?;
    assert_field(&result.boot_report()?, "/unlock/vaults/0/status", &"served")
}

pub(super) fn stops_in_time_when_vaults_are_black_holes(context: &TestContext) -> Result<(), Failure> {
    let (data, mut vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    for index in 0..2 {
        vaults = vaults.with_address(index, |port| format!("10.0.2.20{index}:{port}"));
    }
    let hole = |address: IpAddr| matches!(address, IpAddr::V4(ip) if ip.octets()[3] >= 200);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let lan = Lan::start(move |bytes| {
        let lost = frame::tcp_to(bytes).is_some_and(|to| hole(to.ip())) || is_arp_for_a_hole(bytes);
        counted.fetch_add(usize::from(lost), Ordering::Relaxed);
        if lost { FrameAction::Drop } else { FrameAction::Pass }
    })?;
    let result = boot(context, &data, &vaults).lan(&lan).cmdline("cvm.vault.timeout=25s").run()?;
    timed_out_after(&result, 25, 50)?;
    result.line("unlock: 1 of 2 shares")?;
    let progress = result.lines.iter().filter(|line| line.contains("cvm-init: unlock: ") && line.contains(" s left")).count();
    if progress != 4 {
        return Err(Failure(format!("expected four lines of progress in 25 s, found {progress}")));
    }
    if asked.load(Ordering::Relaxed) == 0 {
        Err(Failure("PID 1 never contacted the addresses that do not answer".to_owned()))
    } else {
        Ok(())
    }
}

/// Whether a frame is an ARP request for one of the addresses that do not answer.
fn is_arp_for_a_hole(bytes: &[u8]) -> bool {
    bytes.get(12..14) == Some(&[8, 6]) && bytes.get(38..42).is_some_and(|target| matches!(target, [10, 0, 2, 200..=255]))
}

pub(super) fn networkd_works_after_a_returned_link(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let result = boot(context, &data, &vaults).tasks("online,units").systemd().run()?;
    result.reached_the_real_system()?;
    result.line("cvm-tests: online")?;
    // By the persistent name: udev can rename only a link that is down.
    result.line("networkd| 2: enp0s3    inet 10.0.2.15/24")?;
    result.line("cvm-tests: 0 failed units")?;
    Ok(())
}

/// The host's IPv6 address in QEMU's user network.
pub(super) const HOST6: Ipv6Addr = Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 2);
