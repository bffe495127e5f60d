//! Vaults by name, and name servers that a hostile host runs.

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::op::ResponseCode;

use vault_node::Misbehaviour;

use super::Stage;
use super::net::{HOST6, boot, patience_was};
use crate::lan::dns::{self, Says, Zone};
use crate::lan::{Fate, Lan, dhcp, frame};
use crate::{DataDisk, Doing, Failure, Vaults, relay};

/// Where the vaults are, in IPv4.
const HOST: IpAddr = IpAddr::V4(machine::spec::HOST_IN_GUEST);
/// A name server of the link; QEMU's network leads its TCP port to ours.
const WITH_TCP: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);
/// One that QEMU's network has of its own, but for what is kept from it here.
const UDP_ONLY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// An address where nobody ever answers.
const HOLE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 200));

/// A link whose DHCP names `server`, and a name server there that knows `zone`.
fn lan(zone: Zone, server: Ipv4Addr) -> Result<Lan, Failure> {
    Lan::start(move |bytes| with_server(bytes, server).or_else(|| dns::answers(&zone, bytes)).map_or(Fate::Pass, Fate::Answer))
}

/// The answers to a question of DHCP; `server` is the name server.
fn with_server(bytes: &[u8], server: Ipv4Addr) -> Option<Vec<Vec<u8>>> {
    let (kind, asked) = dhcp::asked(bytes)?;
    let mut options = dhcp::honest();
    options.push((6, server.octets().to_vec()));
    Some(dhcp::serve(kind, &asked, &options))
}

/// Vaults under names of their own.
fn named(stage: &Stage, needed: usize, dealt: usize) -> Result<Vaults, Failure> {
    let vaults = Vaults::up(&stage.artifacts, needed, dealt)?;
    Ok((0..dealt).fold(vaults, |vaults, index| vaults.called(index, |port| format!("vault-{index}.example:{port}"))))
}

pub(super) fn finds_vaults_by_names_in_any_way_they_are_told(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, named(stage, 4, 4)?);
    let zone: Zone = vec![
        // Too much for a datagram: TCP.
        ("vault-0.example", Says::OverTcp(vec![HOST])),
        // Noise first, then an alias with an address that is a hole beside the right one: whichever answers.
        ("vault-1.example", Says::Alias("real.example", vec![HOLE, HOST])),
        ("vault-2.example", Says::NoiseFirst(vec![HOST6.into(), HOST])),
        ("vault-3.example", Says::OnlyA(vec![HOST])),
    ];
    let tcp = dns::over_tcp(zone.clone()).doing("a name server over TCP")?;
    let lan = lan(zone, WITH_TCP)?.forwarding(format!("tcp:{WITH_TCP}:53-tcp:{tcp}"));
    let ended = boot(stage, &data, &vaults).lan(&lan).tasks("mounts").run()?;
    ended.reached_the_real_system()?;
    ended.line("mounts| /dev/mapper/data-crypt /data ext4")?;
    Ok(())
}

pub(super) fn lies_about_names_only_cost_time(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, named(stage, 2, 3)?);
    let zone: Zone = vec![
        ("vault-0.example", Says::At(vec![[127, 0, 0, 1].into(), [0, 0, 0, 0].into(), [224, 0, 0, 1].into()])),
        ("vault-1.example", Says::Code(ResponseCode::Refused)),
        // vault-2 is told not to be there at all.
    ];
    let ended = boot(stage, &data, &vaults).lan(&lan(zone, UDP_ONLY)?).word("cvm.vault.timeout=15s").run()?;
    patience_was(&ended, 15, 50)?;
    ended.line("vault vault-0.example")?;
    ended.line("down: the name has no address")?;
    ended.line("down: the name server failed with code 5")?;
    Ok(())
}

pub(super) fn silent_name_servers_end_with_patience(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, named(stage, 2, 3)?);
    let zone: Zone = (["vault-0.example", "vault-1.example", "vault-2.example"]).map(|name| (name, Says::Silence)).to_vec();
    let ended = boot(stage, &data, &vaults).lan(&lan(zone, UDP_ONLY)?).word("cvm.vault.timeout=20s").run()?;
    patience_was(&ended, 20, 50)?;
    ended.line("no name server answered")?;
    Ok(())
}

pub(super) fn names_that_lead_to_others_first_cost_time_only(stage: &Stage) -> Result<(), Failure> {
    let (data, mut vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 3, 3)?);
    // By IPv6, which is there first and stays in front, each name leads to a node of the host's, by IPv4 to the right one: a node of another
    // build; a genuine one that denies; a genuine one that gives a share of another owner's key.
    let others =
        Vaults::up(&stage.artifacts, 3, 3)?.misbehaving(0, Misbehaviour::WrongMrenclave).misbehaving(1, Misbehaviour::Deny);
    for index in 0..3 {
        let port = vaults.node(index)?.addr().port();
        relay::from(&format!("[::1]:{port}"), others.node(index)?.addr()).doing("a relay on ::1")?;
        vaults = vaults.called(index, |_| format!("vault-{index}.example:{port}"));
    }
    let both = || Says::At(vec![HOST, HOST6.into()]);
    let zone: Zone = vec![("vault-0.example", both()), ("vault-1.example", both()), ("vault-2.example", both())];
    let (mut has_ipv6, mut is_dialled) = (false, false);
    let lan = Lan::start(move |bytes| {
        // A neighbour solicitation for an address of the guest's that is not the link's own.
        let wanted =
            frame::icmpv6(bytes).filter(|icmp| icmp.message.first() == Some(&135)).and_then(|icmp| icmp.message.get(8..10));
        has_ipv6 |= wanted.is_some_and(|address| address != [0xfe, 0x80]);
        let to = frame::tcp_to(bytes);
        is_dialled |= to.is_some_and(|to| to.is_ipv6());
        match (to, dns::answers(&zone, bytes)) {
            (Some(to), _) if to.is_ipv4() && !is_dialled => Fate::Drop,
            (_, Some(_)) if !has_ipv6 => Fate::Drop,
            (_, Some(answers)) => Fate::Answer(answers),
            _ => with_server(bytes, UDP_ONLY).map_or(Fate::Pass, Fate::Answer),
        }
    })?;
    let boot = boot(stage, &data, &vaults).lan(&lan).word("cvm.net=dual").tasks("mounts");
    others.grant(&boot.measurement()?)?;
    let ended = boot.run()?;
    ended.line("untrusted: challenge: node not verified: mrenclave ")?;
    ended.line("denied by the key's policy; trying again")?;
    ended.line("vault vault-2.example")?;
    ended.line("its share and the others do not combine to the key; trying again")?;
    ended.reached_the_real_system()?;
    ended.line("mounts| /dev/mapper/data-crypt /data ext4")?;
    Ok(())
}
