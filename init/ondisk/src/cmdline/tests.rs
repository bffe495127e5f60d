//! The command line as a whole.

use super::*;
use crate::Guid;
use proptest::prelude::*;
use std::time::Duration;

const APP: &str = "00112233-4455-6677-8899-aabbccddeeff";

fn root_word() -> String {
    format!("roothash={}", "ab".repeat(32))
}

/// The words that a data disk needs, and no other.
pub(super) fn data_words() -> String {
    let mrenclave = "cd".repeat(32);
    format!(
        "cvm.data=serial=data cvm.vault=10.0.0.1:8443,10.0.0.2:8443,vault.example:1 cvm.vault.mrenclave={mrenclave} \
         cvm.vault.handle=apps.example/1/kek/v1 cvm.vault.app={APP} cvm.vault.commit={}",
        "0f".repeat(32)
    )
}

pub(super) fn with_root(words: &str) -> Result<Policy, Error> {
    parse(&format!("{} {words}", root_word()))
}

fn with_data(words: &str) -> Result<Data, Error> {
    with_root(&format!("{} {words}", data_words())).map(|policy| policy.data.unwrap())
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
fn line_is_refused_as_a_whole_when_the_kernel_may_see_other_words() {
    let root = root_word();
    let padding = "x".repeat(2046 - root.len() - 1);
    let cases = [
        ("quoted word of ours", format!("{root} cvm.log=\"debug\""), Error::Quoted),
        ("quoted word of the kernel's", format!("{root} dyndbg=\"file a +p\""), Error::Quoted),
        ("quote that would hide a word", format!("\"{root}"), Error::Quoted),
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
fn words_of_ours_are_known_single_and_before_the_dashes() {
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
    for (words, want) in cases {
        assert_eq!(with_root(words), Err(want), "{words}");
    }
}

#[test]
fn words_of_others_are_left_alone() {
    let words = "console=ttyS0 root=PARTUUID=1 rd.luks=0 my.cvm.log=x cvmx.a=1 xcvm.log rdinit=/init a=b=c =x -- single -x";
    assert_eq!(with_root(words).unwrap().given().collect::<Vec<_>>(), [Key::RootHash]);
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
    assert_eq!((policy.measure, policy.measured), (Measure::Auto, Measured::Auto));
    assert_eq!((policy.watchdog, policy.fail, policy.log), (None, None, LogLevel::Info));
    assert_eq!(policy.init.as_str(), "/sbin/init");
    assert_eq!(policy.debug, DebugFlags { pauses: vec![], timeline: false });
}

#[test]
fn data_defaults_are_those_of_the_table() {
    let data = with_data("").unwrap();
    let disk = DiskSelector::parse("serial=data").unwrap();
    assert_eq!(data.disks, [DataDisk { name: None, disk, mount: Mountpoint::default(), uuid: None }]);
    assert_eq!(data.disks[0].mount.as_str(), "/data");
    assert_eq!((data.format, data.fs, data.cipher), (Format::Never, FileSystem::Ext4, DataCipher::XtsHmac));
    assert_eq!((data.seal, data.wipe, data.format_until), (Seal::Auto, Wipe::Lazy, None));
    assert_eq!((data.open, data.check, data.on_error), (OpenMode::Mount, Check::Auto, OnError::RemountReadOnly));
    assert_eq!((data.grow, data.options), (false, vec![]));
    let vaults = data.vaults;
    assert_eq!(vaults.addresses.len(), 3);
    assert_eq!(vaults.mrenclaves, [[0xcd; 32]]);
    assert_eq!(vaults.handle.as_str(), "apps.example/1/kek/v1");
    assert_eq!((vaults.previous, vaults.platforms), (None, vec![]));
    assert_eq!(vaults.commitment, KeyCommitment::Sha256([0x0f; 32]));
    assert_eq!(vaults.app[..4], [0x00, 0x11, 0x22, 0x33]);
    assert_eq!((vaults.threshold.get(), vaults.distinct), (2, Distinct::Key));
    assert_eq!(vaults.patience, Duration::from_secs(300));
}

#[test]
fn seal_follows_format_unless_it_is_given() {
    let cases = [
        ("", Seal::Auto),
        ("cvm.data.format=never", Seal::Auto),
        ("cvm.data.format=if-blank", Seal::Require),
        ("cvm.data.format=if-blank cvm.data.seal=auto", Seal::Auto),
        ("cvm.data.seal=require", Seal::Require),
    ];
    for (words, want) in cases {
        assert_eq!(with_data(words).map(|data| data.seal), Ok(want), "{words}");
    }
}

#[test]
fn data_disk_needs_its_vaults() {
    for key in [Key::Vault, Key::VaultMrenclave, Key::VaultHandle, Key::VaultCommit, Key::VaultApp] {
        let words = data_words();
        let without: Vec<_> = words.split(' ').filter(|word| !word.starts_with(&format!("{key}="))).collect();
        assert_eq!(with_root(&without.join(" ")), Err(Error::Missing(key)));
    }
}

#[test]
fn keys_about_data_are_refused_without_a_data_disk() {
    for key in Key::ALL.iter().copied().filter(|key| key.is_about_data()) {
        assert_eq!(with_root(&format!("{key}=x")), Err(Conflict::WithoutData(key).into()));
    }
}

#[test]
fn link_is_needed_unless_all_vaults_are_behind_vsock() {
    let data = data_words();
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
    for (words, want) in cases {
        assert_eq!(with_root(&words).unwrap().needs_link(), want, "{words}");
    }
}

#[test]
fn keys_are_held_against_each_other() {
    let data = data_words();
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
        (format!("{data} {before}"), Some(Conflict::NoPrevious(Key::VaultPreviousCommit))),
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
    for (words, want) in cases {
        assert_eq!(with_root(&words).err(), want.map(Error::Conflict), "{words}");
    }
}

#[test]
fn keywords_read_as_they_are_written() {
    for value in OnCorruption::ALL {
        let policy = with_root(&format!("cvm.verity.on-corruption={}", value.as_str())).unwrap();
        assert_eq!(policy.root.on_corruption, *value);
    }
    for value in DataCipher::ALL {
        assert_eq!(with_data(&format!("cvm.data.cipher={}", value.as_str())).unwrap().cipher, *value);
    }
    for value in FailVerdict::ALL {
        assert_eq!(with_root(&format!("cvm.fail={}", value.as_str())).unwrap().fail, Some(*value));
    }
    assert_eq!(with_root("cvm.log=debug").unwrap().log, LogLevel::Debug);
    assert_eq!(with_root("cvm.measure=tpm").unwrap().measure, Measure::Tpm);
    assert_eq!(with_root("cvm.measured=require").unwrap().measured, Measured::Require);
    assert_eq!(with_data("cvm.data.fs=xfs").unwrap().fs, FileSystem::Xfs);
    assert_eq!(with_data("cvm.data.wipe=full").unwrap().wipe, Wipe::Full);
    assert_eq!(with_data("cvm.vault.distinct=platform").unwrap().vaults.distinct, Distinct::Platform);
    assert!(with_root("cvm.net.keep=yes").unwrap().net.keep);
    let options = with_data("cvm.data.options=prjquota,noatime").unwrap().options;
    assert_eq!(options, [FsOption::NoAccessTime, FsOption::ProjectQuota]);
    let limited = with_data("cvm.data.format=if-blank cvm.data.format-until=2026-11-29T18:30:05Z").unwrap();
    assert_eq!(limited.format_until, Some(1_795_977_005));
    let removed = with_data("cvm.data.journal=off").unwrap_err();
    assert!(removed.to_string().starts_with("cvm.data.journal is not supported any more: dm-integrity always"), "{removed}");
}

#[test]
fn every_closed_key_refuses_other_words() {
    let root = [Key::VerityOnCorruption, Key::Root, Key::Data, Key::Tcb, Key::Pccs, Key::Net, Key::Measure, Key::Measured];
    let rest = [Key::Scratch, Key::NetKeep, Key::Watchdog, Key::Init, Key::Fail, Key::Log, Key::Debug];
    for key in root.into_iter().chain(rest) {
        for value in ["", "x", "Auto", "on,", "1d", "~"] {
            assert_eq!(with_root(&format!("{key}={value}")), Err(Error::Malformed(key)), "{key}={value}");
        }
    }
    let about_data = Key::ALL.iter().copied().filter(|key| key.is_about_data());
    for key in about_data.filter(|key| !data_words().contains(&format!("{key}="))) {
        for value in ["", "~"] {
            assert_eq!(with_data(&format!("{key}={value}")), Err(Error::Malformed(key)), "{key}={value}");
        }
    }
}

#[test]
fn root_is_named_or_discoverable() {
    let uuid = Guid::parse(APP).unwrap();
    assert_eq!(
        with_root(&format!("cvm.root=PARTUUID={APP}")).unwrap().root.selector,
        RootSelector::Named(DiskSelector::PartUuid(uuid))
    );
    let label = with_root("cvm.root=PARTLABEL=root-a=b").unwrap().root.selector;
    assert!(matches!(label, RootSelector::Named(DiskSelector::PartLabel(label)) if label.as_str() == "root-a=b"));
    let long = format!("PARTLABEL={}", "l".repeat(37));
    for text in ["PARTUUID=", "PARTUUID=1", "partuuid=1", "UUID=1", "serial=", "serial=a/b", "PARTLABEL=", &long, "/dev/vda"] {
        assert_eq!(with_root(&format!("cvm.root={text}")), Err(Error::Malformed(Key::Root)), "{text}");
    }
}

#[test]
fn discoverable_partitions_are_the_ends_of_the_root_hash() {
    let mut hash = [0; 32];
    hash.iter_mut().zip(0..).for_each(|(byte, value)| *byte = value);
    let want = ["00010203-0405-0607-0809-0a0b0c0d0e0f", "10111213-1415-1617-1819-1a1b1c1d1e1f"];
    assert_eq!(RootHash(hash).partitions().map(|guid| guid.to_string()), want);
}

#[test]
fn paths_are_absolute_and_normalised() {
    let long = format!("/{}", "a".repeat(255));
    for path in ["/data", "/srv/var/data", "/a.b/c..d", "/a@b", "/variable"] {
        assert_eq!(with_data(&format!("cvm.data.mount={path}")).unwrap().disks[0].mount.as_str(), path);
        assert_eq!(with_root(&format!("init={path}")).unwrap().init.as_str(), path);
    }
    for path in ["", "/", "data", "//data", "/data/", "/a//b", "/.", "/..", "/a/../b", "/a/./b", "/a\\b", "/a,b", &long] {
        assert_eq!(with_data(&format!("cvm.data.mount={path}")), Err(Error::Malformed(Key::DataMount)), "{path}");
        assert_eq!(with_root(&format!("init={path}")), Err(Error::Malformed(Key::Init)), "{path}");
    }
}

#[test]
fn mount_point_is_not_in_a_folder_of_the_system() {
    for (path, folder) in [("/var", "var"), ("/var/lib/data", "var"), ("/usr/data", "usr"), ("/etc", "etc"), ("/run/x", "run")] {
        let want = Err(Error::Conflict(Conflict::SystemFolder(Key::DataMount, folder)));
        assert_eq!(with_data(&format!("cvm.data.mount={path}")), want, "{path}");
    }
}

#[test]
fn data_keys_that_do_not_go_together_are_refused() {
    let uuid = "cvm.data.uuid=00112233-4455-6677-8899-aabbccddeeff";
    let cases = [
        ("cvm.data.format-until=2026-11-29T00:00:00Z".to_owned(), Conflict::NeverFormats),
        (format!("{uuid} cvm.data.format=if-blank"), Conflict::FormatsAnother),
        ("cvm.data.fs=btrfs cvm.data.options=prjquota".to_owned(), Conflict::NoProjectQuota),
        ("cvm.data.fs=btrfs cvm.data.on-error=panic".to_owned(), Conflict::NoPanic),
        ("cvm.data.open=no-mount cvm.data.check=force".to_owned(), Conflict::NotMounted(Key::DataCheck)),
        ("cvm.data.open=no-mount cvm.data.grow=yes".to_owned(), Conflict::NotMounted(Key::DataGrow)),
        ("cvm.data.open=no-mount cvm.data.mount=/srv".to_owned(), Conflict::NotMounted(Key::DataMount)),
    ];
    for (words, want) in cases {
        assert_eq!(with_data(&words), Err(Error::Conflict(want)), "{words}");
    }
    assert!(with_data(&format!("{uuid} cvm.data.options=noexec cvm.data.check=no")).is_ok());
}

#[test]
fn lists_are_bounded_and_without_repeats() {
    let vaults = |count: u16| (1..=count).map(|port| format!("v:{port}")).collect::<Vec<_>>().join(",");
    let builds = |count: u8| (0..count).map(|byte| format!("{byte:02x}").repeat(32)).collect::<Vec<_>>().join(",");
    let base = data_words().replace("10.0.0.1:8443,10.0.0.2:8443,vault.example:1", "VAULTS").replace(&"cd".repeat(32), "BUILDS");
    let read = |vaults: &str, builds: &str| with_root(&base.replace("VAULTS", vaults).replace("BUILDS", builds));
    assert!(read(&vaults(16), &builds(8)).is_ok());
    assert_eq!(read(&vaults(17), &builds(1)), Err(Error::Malformed(Key::Vault)));
    assert_eq!(read(&vaults(2), &builds(9)), Err(Error::Malformed(Key::VaultMrenclave)));
    for text in ["v:1,v:1", "v:1,", ",v:1", "v:1,,v:2", "v:1;v:2"] {
        assert_eq!(read(text, &builds(1)), Err(Error::Malformed(Key::Vault)), "{text}");
    }
    let twice = format!("{0},{0}", "cd".repeat(32));
    for text in [twice.as_str(), "cd", &"CD".repeat(32)] {
        assert_eq!(read(&vaults(2), text), Err(Error::Malformed(Key::VaultMrenclave)), "{text}");
    }
}

#[test]
fn patience_is_a_second_to_a_day() {
    let cases = [("1s", 1), ("30s", 30), ("5m", 300), ("1h", 3600), ("24h", 86400), ("86400s", 86400)];
    for (text, want) in cases {
        let data = with_data(&format!("cvm.vault.patience={text}")).unwrap();
        assert_eq!(data.vaults.patience, Duration::from_secs(want), "{text}");
    }
    for text in ["", "s", "5", "0s", "25h", "86401s", "05m", "+5m", "5M", "1.5h", "5m30s", "4294967295h", "99999999999s"] {
        let want = Err(Error::Malformed(Key::VaultPatience));
        assert_eq!(with_data(&format!("cvm.vault.patience={text}")), want, "{text}");
    }
}

#[test]
fn numbers_are_bounded() {
    assert_eq!(with_root("cvm.watchdog=3600").unwrap().watchdog, Some(Duration::from_secs(3600)));
    for text in ["0", "9", "3601", "030", "30s", "-1"] {
        assert_eq!(with_root(&format!("cvm.watchdog={text}")), Err(Error::Malformed(Key::Watchdog)), "{text}");
    }
    for text in ["0", "1", "256", "02", "+2"] {
        assert_eq!(with_data(&format!("cvm.vault.threshold={text}")), Err(Error::Malformed(Key::VaultThreshold)), "{text}");
    }
    assert_eq!(Threshold::new(1), None);
    assert_eq!(Threshold::new(255).map(Threshold::get), Some(255));
}

#[test]
fn previous_key_is_at_the_same_vaults_unless_it_has_its_own() {
    let before = format!("cvm.vault.previous=v0 cvm.vault.previous.key-commitment={}", "1e".repeat(32));
    let vaults = |words: &str| with_data(&format!("{before} {words}")).unwrap().vaults;
    let same = vaults("");
    let old = same.previous_vaults().unwrap();
    assert_eq!((&old.addresses, &old.mrenclaves, old.threshold), (&same.addresses, &same.mrenclaves, same.threshold));
    assert_eq!((old.handle.as_str(), old.commitment, old.previous.is_some()), ("v0", KeyCommitment::Sha256([0x1e; 32]), false));
    assert_eq!((old.app, old.platforms.len(), old.patience), (same.app, same.platforms.len(), same.patience));
    let own = "cvm.vault.previous.vaults=old1.example:1,[fd00::1]:2,vsock:2:1 cvm.vault.previous.threshold=3";
    let moved = vaults(&format!("{own} cvm.vault.previous.mrenclave={}", "2d".repeat(32)));
    let old = moved.previous_vaults().unwrap();
    assert_eq!((old.addresses.len(), old.threshold.get(), old.mrenclaves), (3, 3, vec![[0x2d; 32]]));
    assert_eq!((moved.addresses, moved.threshold), (same.addresses, same.threshold));
    assert_eq!(with_data("").unwrap().vaults.previous_vaults(), None);
}

#[test]
fn handles_commitments_and_apps_have_one_spelling() {
    let before = format!("cvm.vault.previous.key-commitment={}", "1e".repeat(32));
    let handle = |length: usize| format!("{before} cvm.vault.previous={}", "h".repeat(length));
    assert!(with_data(&handle(256)).is_ok());
    assert_eq!(with_data(&handle(257)), Err(Error::Malformed(Key::VaultPrevious)));
    assert_eq!(with_data("cvm.vault.previous=a:b"), Err(Error::Malformed(Key::VaultPrevious)));
    assert_eq!(with_data("cvm.vault.previous=h"), Err(Error::Missing(Key::VaultPreviousCommit)));
    let none = before.replace(&"1e".repeat(32), "none");
    assert_eq!(with_data(&format!("cvm.vault.previous=h {none}")), Err(Error::Malformed(Key::VaultPreviousCommit)));
    for text in ["None", "0f", &"0F".repeat(32), &"0f".repeat(33)] {
        let words = data_words().replace(&"0f".repeat(32), text);
        assert_eq!(with_root(&words), Err(Error::Malformed(Key::VaultCommit)), "{text}");
    }
    let platform = |byte: u8| format!("{byte:02x}").repeat(16);
    let platforms = with_data(&format!("cvm.vault.platforms={},{}", platform(1), platform(2))).unwrap().vaults.platforms;
    assert_eq!(platforms, [[1; 16], [2; 16]]);
    let twice = Err(Error::Malformed(Key::VaultPlatforms));
    assert_eq!(with_data(&format!("cvm.vault.platforms={0},{0}", platform(1))), twice);
    let upper = data_words().replace(APP, &APP.to_uppercase());
    assert_eq!(with_root(&upper), Err(Error::Malformed(Key::VaultApp)));
}

#[test]
fn tcb_always_takes_what_is_up_to_date_and_never_what_is_revoked() {
    use TcbStatus::{OutOfDate, SwHardeningNeeded, UpToDate};
    let cases = [
        ("uptodate", Some(TcbPolicy::Collateral(vec![UpToDate]))),
        ("UpToDate", Some(TcbPolicy::Collateral(vec![UpToDate]))),
        ("OutOfDate,SWHardeningNeeded", Some(TcbPolicy::Collateral(vec![UpToDate, SwHardeningNeeded, OutOfDate]))),
        ("signature", Some(TcbPolicy::Signature)),
        ("signature,uptodate", None),
        ("uptodate,UpToDate", None),
        ("Revoked", None),
        ("uptodate,Revoked", None),
        ("swhardeningneeded", None),
        ("uptodate,", None),
    ];
    for (text, want) in cases {
        let want = want.ok_or(Error::Malformed(Key::Tcb));
        assert_eq!(with_root(&format!("cvm.tcb={text}")).map(|policy| policy.tcb), want, "{text}");
    }
}

#[test]
fn debug_pauses_where_a_phase_is() {
    let flags = |pauses: &[Phase], timeline| Some(DebugFlags { pauses: pauses.to_vec(), timeline });
    let cases = [
        ("timeline", flags(&[], true)),
        ("pause:data", flags(&[Phase::Data], false)),
        ("pause:handoff,timeline,pause:root", flags(&[Phase::Root, Phase::Handoff], true)),
        ("pause:api", None),
        ("pause:", None),
        ("pause", None),
        ("timeline,timeline", None),
        ("pause:data,pause:data", None),
        ("timeline:data", None),
    ];
    for (text, want) in cases {
        let want = want.ok_or(Error::Malformed(Key::Debug));
        assert_eq!(with_root(&format!("cvm.debug={text}")).map(|policy| policy.debug), want, "{text}");
    }
}

#[test]
fn policy_says_what_was_given() {
    let policy = with_root("cvm.log=info quiet init=/a cvm.watchdog=30").unwrap();
    assert_eq!(policy.given().collect::<Vec<_>>(), [Key::RootHash, Key::Watchdog, Key::Init, Key::Log]);
}

#[test]
fn canonical_text_is_ours_alone_and_sorted() {
    let policy = with_root("quiet init=/a cvm.watchdog=30").unwrap();
    assert_eq!(policy.canonical(), format!("cvm.watchdog=30 init=/a {}", root_word()));
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

/// Any key with something behind it: good, bad or nothing.
fn word() -> impl Strategy<Value = String> {
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
    fn parse_never_panics_on_words_of_ours(words in proptest::collection::vec(word(), 0..8)) {
        let _read = with_data(&words.join(" ")).and_then(|_| with_root(&words.join("\t")));
    }

    #[test]
    fn order_of_words_changes_nothing(words in Just(data_words().split(' ').map(str::to_owned).collect::<Vec<_>>()).prop_shuffle()) {
        prop_assert_eq!(with_root(&words.join(" ")), with_root(&data_words()));
    }

    #[test]
    fn canonical_text_parses_to_the_same_policy(extra in proptest::collection::hash_set(word(), 0..4)) {
        let extra: Vec<_> = extra.into_iter().collect();
        if let Ok(policy) = with_root(&format!("{} {}", data_words(), extra.join(" "))) {
            prop_assert_eq!(parse(&policy.canonical()), Ok(policy));
        }
    }

    #[test]
    fn second_copy_of_any_word_is_refused(at in 0_usize..6) {
        let words = data_words();
        let again = words.split(' ').nth(at).unwrap();
        prop_assert!(matches!(with_data(again), Err(Error::Repeated(_))));
    }
}
