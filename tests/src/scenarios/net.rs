//! Links as clouds give them, and as a hostile host may.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use machine::Vm;
use vault_node::Misbehaviour;

use super::Stage;
use super::root::assert_field;
use crate::lan::{Fate, Lan, dhcp, frame, ndp};
use crate::vsock::Vsock;
use crate::{Boot, DataDisk, Doing, Ended, Failure, Vaults};

/// How long the console may take for a line, under TCG on a busy machine.
const SOON: Duration = Duration::from_secs(90);

/// The vaults, a blank disk that they open, and the words that let it be formatted.
pub(super) fn boot<'a>(stage: &'a Stage, data: &'a DataDisk, vaults: &'a Vaults) -> Boot<'a> {
    Boot::new(stage).data(data, vaults).word("cvm.data.format=if-blank")
}

/// Expects the verdict within 10 % of the patience, counted over both phases, and that another try may help.
pub(super) fn patience_was(ended: &Ended, seconds: u64, code: u8) -> Result<(), Failure> {
    ended.rebooted_with(code)?;
    let took = ended.phase("net")? + ended.phase("unlock").unwrap_or(0);
    // What passes between the two phases is counted in neither.
    let bounds = seconds * 990..=seconds * 1100;
    if bounds.contains(&took) { Ok(()) } else { Err(Failure(format!("{took} ms of {seconds} s patience"))) }
}

pub(super) fn stops_in_time_without_a_dhcp_server(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let lan = Lan::start(|bytes| if dhcp::asked(bytes).is_some() { Fate::Drop } else { Fate::Pass })?;
    let ended = boot(stage, &data, &vaults).lan(&lan).word("cvm.vault.timeout=20s").run()?;
    patience_was(&ended, 20, 42)?;
    // Never a silent wait.
    for left in ["14", "9", "4"] {
        ended.line(&format!("{left} s left"))?;
    }
    ended.line("E42 net: eth0: no lease after")?;
    if data.is_blank()? { Ok(()) } else { Err(Failure("the disk was written to".to_owned())) }
}

pub(super) fn takes_a_lease_among_hostile_answers(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let mut seen = (0, 0);
    let lan = Lan::start(move |bytes| {
        let Some((kind, asked)) = dhcp::asked(bytes) else { return Fate::Pass };
        let number = if kind == dhcp::DISCOVER { &mut seen.0 } else { &mut seen.1 };
        *number += 1;
        match (kind, *number) {
            (dhcp::DISCOVER, 1) => Fate::Drop, // a server that is late
            (dhcp::REQUEST, 1) => Fate::Answer(dhcp::answer(&asked, dhcp::NAK, &[], |_| ()).into_iter().collect()),
            _ => {
                let mut answers = dhcp::hostile(kind, &asked);
                let routers = (3, (1..=63).flat_map(|n| [10, 0, 2, 2 * (n % 2) + n / 60]).collect());
                let mut options = dhcp::honest();
                options.extend([(6, (1..=60).flat_map(|n| [10, 0, 3, n]).collect()), (26, 1400_u16.to_be_bytes().to_vec())]);
                options.retain(|(code, _)| *code != 3);
                options.push(routers);
                answers.extend(dhcp::serve(kind, &asked, &options));
                Fate::Answer(answers)
            }
        }
    })?;
    let ended = boot(stage, &data, &vaults).lan(&lan).tasks("links").run()?;
    ended.reached_the_real_system()?;
    ended.line("net: eth0 is 10.0.2.77/24")?;
    ended.line("the DHCP server refused the address that it had offered")?;
    as_found(&ended)
}

/// Expects that the link was returned: down, its usual packet size, no address, no route.
fn as_found(ended: &Ended) -> Result<(), Failure> {
    let link = ended.line("link| 2: eth0")?;
    if !link.contains("state DOWN") || !link.contains("mtu 1500") {
        return Err(Failure(format!("not as found: {link}")));
    }
    ended.no_line("address| 2: eth0")?;
    ended.no_line("route| ")
}

pub(super) fn takes_classless_routes_and_no_router(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let lan = Lan::start(|bytes| {
        let Some((kind, asked)) = dhcp::asked(bytes) else { return Fate::Pass };
        // The subnet is one address; the way to the vaults is a classless route, and the router option does not count.
        let routes = vec![32, 10, 0, 2, 2, 0, 0, 0, 0, 16, 10, 9, 10, 0, 2, 2];
        let options = vec![(1, vec![255; 4]), (3, vec![10, 0, 2, 99]), (121, routes), (26, 1280_u16.to_be_bytes().to_vec())];
        Fate::Answer(dhcp::serve(kind, &asked, &options))
    })?;
    let keeping = boot(stage, &data, &vaults).lan(&lan).word("cvm.net.keep=yes").tasks("links");
    let ended = keeping.run()?;
    ended.reached_the_real_system()?;
    ended.line("net: eth0 is 10.0.2.77/32")?;
    // Kept for the real system, as policy says: so it can be seen.
    ended.line("route| 10.0.2.2 dev eth0")?;
    ended.line("route| 10.9.0.0/16 via 10.0.2.2 dev eth0")?;
    ended.line("mtu 1280")?;
    ended.no_line("route| default")
}

pub(super) fn goes_on_with_the_link_that_answers(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) =
        (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?.misbehaving(1, Misbehaviour::Down));
    let ended = boot(stage, &data, &vaults).no_network().arguments(DEAD_LINK_FIRST).tasks("links").run()?;
    ended.reached_the_real_system()?;
    ended.line("net: eth1 is 10.0.2.15/24")?;
    assert_field(&ended.receipt()?, "/link", &"eth1")?;
    for link in ["eth0", "eth1"] {
        let line = ended.line(&format!(": {link}: <"))?;
        if !line.contains("state DOWN") {
            return Err(Failure(format!("not as found: {line}")));
        }
    }
    Ok(())
}

/// A link with a carrier and nobody behind it, and after it one that works.
pub(crate) const DEAD_LINK_FIRST: [&str; 8] = [
    "-netdev",
    "hubport,id=nobody,hubid=9",
    "-device",
    "virtio-net-pci,netdev=nobody,romfile=",
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

pub(super) fn goes_over_to_the_other_link(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let vaults = vaults.misbehaving(1, Misbehaviour::HangAfterAccept).misbehaving(2, Misbehaviour::HangAfterAccept);
    let nodes = [vaults.node(1)?, vaults.node(2)?];
    // An address that both links' networks have, and a router: whichever is in use must have the routes.
    let boot = boot(stage, &data, &vaults).no_network().arguments(TWO_LINKS);
    let ended = boot.word("cvm.net=static:10.0.2.15/24,gw=10.0.2.2").tasks("links").run_with(|vm: &Vm| {
        let wait = |line: &str| vm.console().wait_for(line, SOON).doing("the console");
        let in_use = wait("net: eth")?;
        wait("verified, tcb UpToDate")?;
        // Whichever came first is taken away for good.
        let gone = if in_use.text.contains("eth0 is") { "one" } else { "two" };
        vm.set_link(gone, false).doing("unplugging")?;
        wait("lost its carrier")?;
        for node in nodes {
            node.set_misbehaviour(Misbehaviour::None);
        }
        Ok(())
    })?;
    ended.reached_the_real_system()?;
    ended.line("net: eth0 is 10.0.2.15/24")?;
    ended.line("net: eth1 is 10.0.2.15/24")?;
    ended.no_line("address| 3: eth1")?;
    as_found(&ended)
}

pub(super) fn makes_an_address_under_a_flood_of_routers(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?.over_ipv6()?);
    let mut claimed = false;
    let lan = Lan::start(move |bytes| {
        let Some(message) = frame::icmpv6(bytes) else { return Fate::Pass };
        if ndp::asks_for_routers(&message) {
            // Whoever claims an address must be heard within the second that the kernel waits, behind all of these.
            return Fate::PassAndAnswer(ndp::flood(message.mac, 1000));
        }
        // The first address that is made of the router's prefix is somebody's.
        match ndp::probed(bytes, &message).filter(|address| !claimed && !address.is_unicast_link_local()) {
            Some(address) => {
                claimed = true;
                Fate::Answer(ndp::claim(message.mac, address).into_iter().collect())
            }
            None => Fate::Pass,
        }
    })?;
    let ended = boot(stage, &data, &vaults).lan(&lan).word("cvm.net=slaac").tasks("links").run()?;
    ended.reached_the_real_system()?;
    ended.line("net: eth0: another host on the link uses fec0::5054:ff:fe12:3456")?;
    ended.line("net: eth0 is fec0::")?;
    as_found(&ended)
}

pub(super) fn stops_in_time_when_every_address_is_somebodys(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?.over_ipv6()?);
    let lan = Lan::start(|bytes| {
        let probed = frame::icmpv6(bytes).and_then(|message| ndp::probed(bytes, &message).map(|address| (message.mac, address)));
        let global = probed.filter(|(_, address)| !address.is_unicast_link_local());
        global.map_or(Fate::Pass, |(mac, address)| Fate::Answer(ndp::claim(mac, address).into_iter().collect()))
    })?;
    let boot = boot(stage, &data, &vaults).lan(&lan).word("cvm.net=static:fec0::99/64,gw=fec0::2");
    let ended = boot.word("cvm.vault.timeout=15s").run()?;
    patience_was(&ended, 15, 45)
}

pub(super) fn takes_static_addresses_of_either_family(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    // Nobody serves addresses.
    let lan = || Lan::start(|bytes| if dhcp::asked(bytes).is_some() { Fate::Drop } else { Fate::Pass });
    let (v4, v6) = (lan()?, lan()?);
    let first =
        boot(stage, &data, &vaults).lan(&v4).word("cvm.net=static:10.0.2.50/24,gw=10.0.2.2,if=eth0").tasks("links").run()?;
    first.reached_the_real_system()?;
    first.line("net: eth0 is 10.0.2.50/24")?;
    as_found(&first)?;
    let vaults = vaults.over_ipv6()?;
    let by_mac = "cvm.net=static:fec0::50/64,gw=fec0::2,if=52:54:00:12:34:56";
    let second = boot(stage, &data, &vaults).lan(&v6).word(by_mac).tasks("links").run()?;
    second.reached_the_real_system()?;
    second.line("net: eth0 is fec0::50/64")?;
    as_found(&second)
}

pub(super) fn unlocks_over_vsock_without_a_link(stage: &Stage) -> Result<(), Failure> {
    // A cache is reached over a link, and there is none: collateral comes with the initrd.
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?.without_cache());
    let vsock = Vsock::start(&stage.artifacts)?;
    let mut vaults = vaults;
    for index in 0..3 {
        let node = vaults.node(index)?.addr();
        // The last one is away: nobody listens at its port.
        if index < 2 {
            vsock.lead(node.port(), node)?;
        }
        vaults = vaults.called(index, |port| format!("vsock:2:{port}"));
    }
    let boot = boot(stage, &data, &vaults).initrd(vaults.bundled(stage)?).no_network();
    let ended = boot.arguments(vsock.arguments(machine::Machine::default().memory_mib)).tasks("mounts").run()?;
    ended.reached_the_real_system()?;
    ended.line("mounts| /dev/mapper/data-crypt /data ext4")?;
    assert_field(&ended.receipt()?, "/link", &serde_json::Value::Null)?;
    assert_field(&ended.receipt()?, "/unlock/vaults/1/status", &"served")
}

pub(super) fn link_lost_in_the_middle_comes_back(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    // Two vaults answer nothing until the link was away and is back.
    let vaults = vaults.misbehaving(1, Misbehaviour::HangAfterAccept).misbehaving(2, Misbehaviour::HangAfterAccept);
    let nodes = [vaults.node(1)?, vaults.node(2)?];
    let ended = boot(stage, &data, &vaults).run_with(|vm: &Vm| {
        let wait = |line: &str| vm.console().wait_for(line, SOON).doing("the console");
        wait("verified, tcb UpToDate")?;
        vm.set_link("link", false).doing("unplugging")?;
        wait("net: eth0 lost its carrier")?;
        for node in nodes {
            node.set_misbehaviour(Misbehaviour::None);
        }
        wait("s left")?;
        vm.set_link("link", true).doing("plugging in")
    })?;
    ended.reached_the_real_system()?;
    assert_field(&ended.receipt()?, "/unlock/vaults/0/status", &"served")
}

pub(super) fn stops_in_time_when_vaults_are_black_holes(stage: &Stage) -> Result<(), Failure> {
    let (data, mut vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    for index in 0..2 {
        vaults = vaults.called(index, |port| format!("10.0.2.20{index}:{port}"));
    }
    let hole = |address: IpAddr| matches!(address, IpAddr::V4(ip) if ip.octets()[3] >= 200);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let lan = Lan::start(move |bytes| {
        let lost = frame::tcp_to(bytes).is_some_and(|to| hole(to.ip())) || is_arp_for_a_hole(bytes);
        counted.fetch_add(usize::from(lost), Ordering::Relaxed);
        if lost { Fate::Drop } else { Fate::Pass }
    })?;
    let ended = boot(stage, &data, &vaults).lan(&lan).word("cvm.vault.timeout=25s").run()?;
    patience_was(&ended, 25, 50)?;
    ended.line("unlock: 1 of 2 shares")?;
    let told = ended.lines.iter().filter(|line| line.contains("cvm-init: unlock: ") && line.contains(" s left")).count();
    if told != 4 {
        return Err(Failure(format!("the console was told {told} times in 25 s")));
    }
    if asked.load(Ordering::Relaxed) == 0 { Err(Failure("the holes were never asked".to_owned())) } else { Ok(()) }
}

/// Whether a frame asks who has one of the addresses that are holes.
fn is_arp_for_a_hole(bytes: &[u8]) -> bool {
    bytes.get(12..14) == Some(&[8, 6]) && bytes.get(38..42).is_some_and(|target| matches!(target, [10, 0, 2, 200..=255]))
}

pub(super) fn networkd_works_after_a_returned_link(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let ended = boot(stage, &data, &vaults).tasks("online,units").systemd().run()?;
    ended.reached_the_real_system()?;
    ended.line("cvm-tests: online")?;
    // By its lasting name: udev can only rename a link that is down.
    ended.line("networkd| 2: enp0s3    inet 10.0.2.15/24")?;
    ended.line("cvm-tests: 0 failed units")?;
    Ok(())
}

/// Where QEMU's network has the host, in IPv6.
pub(super) const HOST6: Ipv6Addr = Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 2);
