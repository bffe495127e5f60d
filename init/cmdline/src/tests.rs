//! The command line as a whole.

mod values;

use super::*;
use proptest::prelude::*;
use std::time::Duration;

const APP: &str = "00112233-4455-6677-8899-aabbccddeeff";

fn root_hash() -> String {
    format!("roothash={}", "ab".repeat(32))
}

/// The parameters that a data disk needs, and no other.
pub(super) fn data_parameters() -> String {
    let mrenclave = "cd".repeat(32);
    format!(
        "cvm.data=serial=data cvm.vault=10.0.0.1:8443,10.0.0.2:8443,vault.example:1 cvm.vault.mrenclave={mrenclave} \
         cvm.vault.handle=apps.example/1/kek/v1 cvm.vault.app={APP} cvm.vault.key-commitment={}",
        "0f".repeat(32)
    )
}

pub(super) fn with_root(parameters: &str) -> Result<Policy, Error> {
    parse(&format!("{} {parameters}", root_hash()))
}

fn with_data(parameters: &str) -> Result<Data, Error> {
    with_root(&format!("{} {parameters}", data_parameters())).map(|policy| policy.data.unwrap())
}

#[test]
fn parse_takes_exactly_one_root_hash() {
    let hash = "ab".repeat(32);
    let cases = [
        ("alone", format!("roothash={hash}"), Ok(RootHash([0xab; 32]))),
        ("among others", format!("quiet root=/dev/sda roothash={hash} systemd.show_status=1"), Ok(RootHash([0xab; 32]))),
        ("with the kernel's last newline", format!("roothash={hash}\n"), Ok(RootHash([0xab; 32]))),
        ("absent", "quiet".to_owned(), Err(Error::Missing(Key::RootHash))),
        ("empty line", String::new(), Err(Error::Missing(Key::RootHash))),
        ("after --", format!("-- roothash={hash}"), Err(Error::AfterDashes(Key::RootHash))),
        ("twice", format!("roothash={hash} roothash={hash}"), Err(Error::Repeated(Key::RootHash))),
        ("plus signs", format!("roothash={}", "+f".repeat(32)), Err(Error::Malformed(Key::RootHash))),
        ("upper case", format!("roothash={}", "AB".repeat(32)), Err(Error::Malformed(Key::RootHash))),
        ("short", format!("roothash={}", "ab".repeat(31)), Err(Error::Malformed(Key::RootHash))),
        ("long", format!("roothash={hash}ab"), Err(Error::Malformed(Key::RootHash))),
        ("without a value", "roothash".to_owned(), Err(Error::Malformed(Key::RootHash))),
    ];
    for (name, text, want) in cases {
        assert_eq!(parse(&text).map(|policy| policy.root.hash), want, "{name}: {text}");
    }
}

#[test]
fn command_line_is_refused_when_the_kernel_may_split_it_differently() {
    let root = root_hash();
    let padding = "x".repeat(2046 - root.len() - 1);
    let cases = [
        ("quoted key of this init", format!("{root} cvm.log=\"debug\""), Error::Quoted),
        ("quoted parameter of the kernel", format!("{root} dyndbg=\"file a +p\""), Error::Quoted),
        ("quote that would hide a key", format!("\"{root}"), Error::Quoted),
        ("nul", format!("{root}\0"), Error::NotAscii),
        ("not ascii", format!("{root} a=\u{e9}"), Error::NotAscii),
        ("vertical tab, on which only the kernel splits", format!("{root}\u{b}cvm.log=debug"), Error::NotAscii),
        ("no-break space", format!("{root}\u{a0}cvm.log=debug"), Error::NotAscii),
        ("escape", format!("{root} \u{1b}[2J"), Error::NotAscii),
        ("one byte too many", format!("{root} {padding}x"), Error::TooLong),
    ];
    for (name, text, want) in cases {
        assert_eq!(parse(&text), Err(want), "{name}");
    }
    assert!(parse(&format!("{root} {padding}\n")).is_ok(), "2,047 bytes and a newline");
}

#[test]
fn keys_are_known_given_once_and_before_the_dashes() {
    let long = "x".repeat(100);
    let cases = [
        ("cvm.dta=serial=a", Error::Unknown("cvm.dta".to_owned())),
        ("cvm.data_mount=/a", Error::Unknown("cvm.data_mount".to_owned())),
        ("CVM.log=info", Error::Unknown("CVM.log".to_owned())),
        ("cvm.", Error::Unknown("cvm.".to_owned())),
        ("cvm=1", Error::Unknown("cvm".to_owned())),
        (&format!("cvm.{long}=1"), Error::Unknown(format!("cvm.{}", "x".repeat(60)))),
        ("cvm.log", Error::Malformed(Key::Log)),
        ("cvm.log=", Error::Malformed(Key::Log)),
        ("cvm.log=info cvm.log=info", Error::Repeated(Key::Log)),
        ("init=/a init=/b", Error::Repeated(Key::Init)),
        ("-- cvm.log=info", Error::AfterDashes(Key::Log)),
        ("-- init=/a", Error::AfterDashes(Key::Init)),
        ("-- cvm.nonsense", Error::Unknown("cvm.nonsense".to_owned())),
    ];
    for (parameters, want) in cases {
        assert_eq!(with_root(parameters), Err(want), "{parameters}");
    }
}

#[test]
fn parameters_of_other_programs_are_ignored() {
    let parameters = "console=ttyS0 root=PARTUUID=1 rd.luks=0 my.cvm.log=x cvmx.a=1 xcvm.log rdinit=/init a=b=c =x -- single -x";
    assert_eq!(with_root(parameters).unwrap().given().collect::<Vec<_>>(), [Key::RootHash]);
}

#[test]
fn defaults_are_those_of_the_table() {
    let policy = with_root("").unwrap();
    assert_eq!(policy.root.on_corruption, OnCorruption::Panic);
    assert_eq!(policy.root.selector, RootSelector::Discoverable);
    assert_eq!((policy.data, policy.scratch), (None, vec![]));
    assert_eq!(policy.tcb, TcbPolicy::Collateral(vec![TcbStatus::UpToDate, TcbStatus::SwHardeningNeeded]));
    assert_eq!(policy.pccs, None);
    assert_eq!(policy.net, Net { mode: NetMode::Dhcp, link: None, dns: None, keep: false });
    assert_eq!((policy.measure, policy.require_cmdline), (Measure::Auto, false));
    assert_eq!((policy.watchdog, policy.fail, policy.log), (None, None, LogLevel::Info));
    assert_eq!(policy.init.as_str(), "/sbin/init");
    assert_eq!(policy.debug, DebugFlags { pauses: vec![], timeline: false });
}

#[test]
fn data_defaults_are_those_of_the_table() {
    let data = with_data("").unwrap();
    let disk = DiskSelector::parse("serial=data").unwrap();
    assert_eq!(data.disks, [DataDisk { name: None, disk, mount: Mountpoint::parse("/data").unwrap(), uuid: None }]);
    assert_eq!(data.disks[0].mount.as_str(), "/data");
    assert_eq!((data.format, data.fstype, data.format_cipher), (Format::Never, FileSystem::Ext4, DataCipher::XtsHmac));
    assert_eq!(data.cipher, None, "an existing disk may have any cipher");
    assert_eq!((data.header_auth, data.wipe, data.format_until), (HeaderAuth::Auto, Wipe::Lazy, None));
    assert_eq!((data.open, data.check, data.on_error), (MountMode::Mount, Check::Auto, OnError::RemountReadOnly));
    assert_eq!((data.grow, data.options), (false, vec![]));
    let vaults = data.vaults;
    assert_eq!(vaults.addresses.len(), 3);
    assert_eq!(vaults.mrenclaves, [[0xcd; 32]]);
    assert_eq!(vaults.handle.as_str(), "apps.example/1/kek/v1");
    assert_eq!((vaults.previous, vaults.platforms), (None, vec![]));
    assert_eq!(vaults.commitment, KeyCommitment::Sha256([0x0f; 32]));
    assert_eq!(vaults.app[..4], [0x00, 0x11, 0x22, 0x33]);
    assert_eq!((vaults.threshold.get(), vaults.distinct), (2, Distinct::Key));
    assert_eq!(vaults.timeout, Duration::from_secs(300));
}

#[test]
fn header_auth_follows_format_unless_it_is_given() {
    let cases = [
        ("", HeaderAuth::Auto),
        ("cvm.data.format=never", HeaderAuth::Auto),
        ("cvm.data.format=if-blank", HeaderAuth::Require),
        ("cvm.data.format=if-blank cvm.data.header-auth=auto", HeaderAuth::Auto),
        ("cvm.data.header-auth=require", HeaderAuth::Require),
    ];
    for (parameters, want) in cases {
        assert_eq!(with_data(parameters).map(|data| data.header_auth), Ok(want), "{parameters}");
    }
}

#[test]
fn data_disk_needs_its_vaults() {
    for key in [Key::Vault, Key::VaultMrenclave, Key::VaultHandle, Key::VaultKeyCommitment, Key::VaultApp] {
        let parameters = data_parameters();
        let without: Vec<_> = parameters.split(' ').filter(|parameter| !parameter.starts_with(&format!("{key}="))).collect();
        assert_eq!(with_root(&without.join(" ")), Err(Error::Missing(key)));
    }
}

#[test]
fn keys_about_data_are_refused_without_a_data_disk() {
    for key in Key::ALL.iter().copied().filter(|key| key.needs_data_disk()) {
        assert_eq!(with_root(&format!("{key}=x")), Err(Conflict::WithoutData(key).into()));
    }
}

#[test]
fn link_is_needed_unless_all_vaults_are_behind_vsock() {
    let data = data_parameters();
    let vsock = data.replace("10.0.0.1:8443,10.0.0.2:8443,vault.example:1", "vsock:2:1,vsock:2:2");
    let cases = [
        (data.clone(), true),
        (vsock.clone(), false),
        (format!("{vsock} cvm.net=dhcp"), true),
        (format!("{vsock} cvm.net=none"), false),
        (format!("{vsock} cvm.net.keep=yes"), true),
        (format!("{vsock} cvm.pccs=http://10.0.0.9:8081"), true),
        (vsock.replace("vsock:2:2", "10.0.0.2:8443"), true),
    ];
    for (parameters, want) in cases {
        assert_eq!(with_root(&parameters).unwrap().needs_link(), want, "{parameters}");
    }
}

#[test]
fn keys_are_held_against_each_other() {
    let data = data_parameters();
    let one = data.replace("10.0.0.1:8443,10.0.0.2:8443,vault.example:1", "vsock:2:1");
    let before = format!("cvm.vault.previous.key-commitment={}", "1e".repeat(32));
    let none = data.replace(&"0f".repeat(32), "none");
    // The same handle, at another fleet.
    let moves =
        format!("cvm.vault.previous=apps.example/1/kek/v1 {before} cvm.vault.previous.vaults=old1.example:1,old2.example:1");
    let cases = [
        (format!("{data} cvm.vault.threshold=3"), None),
        (format!("{data} cvm.vault.threshold=4"), Some(Conflict::TooFewVaults { threshold: 4, vaults: 3 })),
        (one.clone(), Some(Conflict::TooFewVaults { threshold: 2, vaults: 1 })),
        (format!("{data} cvm.vault.previous=apps.example/1/kek/v1 {before}"), Some(Conflict::SameHandle)),
        (format!("{data} cvm.vault.previous=apps.example/1/kek/v0 {before}"), None),
        (format!("{data} cvm.vault.previous=v0 {}", before.replace("1e", "0f")), Some(Conflict::SameCommitment)),
        (format!("{data} {before}"), Some(Conflict::NoPrevious(Key::VaultPreviousKeyCommitment))),
        (format!("{data} cvm.vault.previous.vaults=a:1"), Some(Conflict::NoPrevious(Key::VaultPreviousVaults))),
        (format!("{data} {moves}"), None),
        (format!("{data} {moves} cvm.vault.previous.threshold=3"), Some(Conflict::TooFewVaults { threshold: 3, vaults: 2 })),
        (format!("{one} {moves}").replace("vsock:2:1", "vsock:2:1,vsock:2:2 cvm.net=none"), Some(Conflict::NoNetwork)),
        (none.clone(), None),
        (format!("{none} cvm.data.format=if-blank"), Some(Conflict::Uncommitted(Key::DataFormat))),
        (format!("{none} cvm.vault.previous=v0 {before}"), Some(Conflict::Uncommitted(Key::VaultPrevious))),
        (format!("{data} cvm.net=none"), Some(Conflict::NoNetwork)),
        (format!("{} cvm.net=none", one.replace("vsock:2:1", "vsock:2:1,vsock:2:2")), None),
        ("cvm.net=none".to_owned(), None),
        ("cvm.net=none cvm.pccs=http://10.0.0.9:8081".to_owned(), Some(Conflict::NoNetwork)),
    ];
    for (parameters, want) in cases {
        assert_eq!(with_root(&parameters).err(), want.map(Error::Conflict), "{parameters}");
    }
}

#[test]
fn policy_lists_the_given_keys() {
    let policy = with_root("cvm.log=info quiet init=/a cvm.watchdog=30").unwrap();
    assert_eq!(policy.given().collect::<Vec<_>>(), [Key::RootHash, Key::Watchdog, Key::Init, Key::Log]);
}

#[test]
fn canonical_text_has_the_keys_of_this_init_alone_and_sorted() {
    let policy = with_root("quiet init=/a cvm.watchdog=30").unwrap();
    assert_eq!(policy.canonical(), format!("cvm.watchdog=30 init=/a {}", root_hash()));
}

#[test]
fn errors_read_as_links_of_a_chain() {
    let cases = [
        (Error::TooLong, "longer than 2046 bytes"),
        (Error::Repeated(Key::RootHash), "roothash is repeated"),
        (Conflict::WithoutData(Key::Vault).into(), "cvm.vault without cvm.data"),
        (Conflict::SameHandle.into(), "cvm.vault.previous equals cvm.vault.handle, at the same vaults"),
    ];
    for (error, want) in cases {
        assert_eq!(error.to_string(), want);
    }
}

/// Any key with any value: valid, invalid or none.
fn parameter() -> impl Strategy<Value = String> {
    let value = "(=[!-~]{0,20})?|=(auto|yes|serial=a|serial=b:swap,serial=c|v:1,v:2|5m|dhcp|3)";
    (proptest::sample::select(Key::ALL), value).prop_map(|(key, value)| format!("{key}{value}"))
}

proptest! {
    #[test]
    fn parse_never_panics_on_any_text(line in "\\PC*", bytes: Vec<u8>) {
        let _read = parse(&line);
        let _read = parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn parse_never_panics_on_known_keys(parameters in proptest::collection::vec(parameter(), 0..8)) {
        let _read = with_data(&parameters.join(" ")).and_then(|_| with_root(&parameters.join("\t")));
    }

    #[test]
    fn order_of_parameters_changes_nothing(parameters in Just(data_parameters().split(' ').map(str::to_owned).collect::<Vec<_>>()).prop_shuffle()) {
        prop_assert_eq!(with_root(&parameters.join(" ")), with_root(&data_parameters()));
    }

    #[test]
    fn canonical_text_parses_to_the_same_policy(extra in proptest::collection::hash_set(parameter(), 0..4)) {
        let extra: Vec<_> = extra.into_iter().collect();
        if let Ok(policy) = with_root(&format!("{} {}", data_parameters(), extra.join(" "))) {
            prop_assert_eq!(parse(&policy.canonical()), Ok(policy));
        }
    }

    #[test]
    fn second_copy_of_any_parameter_is_refused(at in 0_usize..6) {
        let parameters = data_parameters();
        let again = parameters.split(' ').nth(at).unwrap();
        prop_assert!(matches!(with_data(again), Err(Error::Repeated(_))));
    }
}
