//! The values of single keys.

use super::*;

#[test]
fn keywords_read_as_they_are_written() {
    for value in OnCorruption::ALL {
        let policy = with_root(&format!("cvm.verity.on-corruption={}", value.as_str())).unwrap();
        assert_eq!(policy.root.on_corruption, *value);
    }
    for value in DataCipher::ALL {
        let data = with_data(&format!("cvm.data.cipher={}", value.as_str())).unwrap();
        assert_eq!((data.format_cipher, data.cipher), (*value, Some(*value)));
    }
    for value in FailureAction::ALL {
        assert_eq!(with_root(&format!("cvm.fail={}", value.as_str())).unwrap().fail, Some(*value));
    }
    assert_eq!(with_root("cvm.log=debug").unwrap().log, LogLevel::Debug);
    assert_eq!(with_root("cvm.measure=tpm").unwrap().measure, Measure::Tpm);
    assert!(with_root("cvm.measure.require-cmdline=yes").unwrap().require_cmdline);
    assert_eq!(with_data("cvm.data.fstype=xfs").unwrap().fstype, FileSystem::Xfs);
    assert_eq!(with_data("cvm.data.wipe=full").unwrap().wipe, Wipe::Full);
    assert_eq!(with_data("cvm.vault.distinct=platform").unwrap().vaults.distinct, Distinct::Platform);
    assert!(with_root("cvm.net.keep=yes").unwrap().net.keep);
    let options = with_data("cvm.data.options=prjquota,noatime").unwrap().options;
    assert_eq!(options, [FsOption::NoAccessTime, FsOption::ProjectQuota]);
    let limited = with_data("cvm.data.format=if-blank cvm.data.format-until=2026-11-29T18:30:05Z").unwrap();
    assert_eq!(limited.format_until, Some(1_795_977_005));
}

#[test]
fn every_closed_key_refuses_other_values() {
    // All rows of the table: one that no code parses would be accepted and ignored.
    let alone = Key::ALL.iter().copied().filter(|key| !key.needs_data_disk() && *key != Key::RootHash);
    for key in alone {
        for value in ["", "x", "Auto", "on,", "1d", "~"] {
            assert_eq!(with_root(&format!("{key}={value}")), Err(Error::Malformed(key)), "{key}={value}");
        }
    }
    let about_data = Key::ALL.iter().copied().filter(|key| key.needs_data_disk());
    for key in about_data.filter(|key| !data_parameters().contains(&format!("{key}="))) {
        for value in ["", "~"] {
            assert_eq!(with_data(&format!("{key}={value}")), Err(Error::Malformed(key)), "{key}={value}");
        }
    }
}

#[test]
fn root_is_named_or_discoverable() {
    let uuid = encoding::text::uuid(APP).unwrap();
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
        ("cvm.data.fstype=btrfs cvm.data.options=prjquota".to_owned(), Conflict::NoProjectQuota),
        ("cvm.data.fstype=btrfs cvm.data.on-error=panic".to_owned(), Conflict::NoPanic),
        ("cvm.data.open=no-mount cvm.data.check=force".to_owned(), Conflict::NotMounted(Key::DataCheck)),
        ("cvm.data.open=no-mount cvm.data.grow=yes".to_owned(), Conflict::NotMounted(Key::DataGrow)),
        ("cvm.data.open=no-mount cvm.data.mount=/srv".to_owned(), Conflict::NotMounted(Key::DataMount)),
    ];
    for (parameters, want) in cases {
        assert_eq!(with_data(&parameters), Err(Error::Conflict(want)), "{parameters}");
    }
    assert!(with_data(&format!("{uuid} cvm.data.options=noexec cvm.data.check=no")).is_ok());
}

#[test]
fn lists_are_bounded_and_without_repeats() {
    let vaults = |count: u16| (1..=count).map(|port| format!("v:{port}")).collect::<Vec<_>>().join(",");
    let builds = |count: u8| (0..count).map(|byte| format!("{byte:02x}").repeat(32)).collect::<Vec<_>>().join(",");
    let base =
        data_parameters().replace("10.0.0.1:8443,10.0.0.2:8443,vault.example:1", "VAULTS").replace(&"cd".repeat(32), "BUILDS");
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
fn timeout_is_a_second_to_a_day() {
    let cases = [("1s", 1), ("30s", 30), ("5m", 300), ("1h", 3600), ("24h", 86400), ("86400s", 86400)];
    for (text, want) in cases {
        let data = with_data(&format!("cvm.vault.timeout={text}")).unwrap();
        assert_eq!(data.vaults.timeout, Duration::from_secs(want), "{text}");
    }
    for text in ["", "s", "5", "0s", "25h", "86401s", "05m", "+5m", "5M", "1.5h", "5m30s", "4294967295h", "99999999999s"] {
        let want = Err(Error::Malformed(Key::VaultTimeout));
        assert_eq!(with_data(&format!("cvm.vault.timeout={text}")), want, "{text}");
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
    let vaults = |parameters: &str| with_data(&format!("{before} {parameters}")).unwrap().vaults;
    let same = vaults("");
    let old = same.previous_vaults().unwrap();
    assert_eq!((&old.addresses, &old.mrenclaves, old.threshold), (&same.addresses, &same.mrenclaves, same.threshold));
    assert_eq!((old.handle.as_str(), old.commitment, old.previous.is_some()), ("v0", KeyCommitment::Sha256([0x1e; 32]), false));
    assert_eq!((old.app, old.platforms.len(), old.timeout), (same.app, same.platforms.len(), same.timeout));
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
    assert_eq!(with_data("cvm.vault.previous=h"), Err(Error::Missing(Key::VaultPreviousKeyCommitment)));
    let none = before.replace(&"1e".repeat(32), "none");
    assert_eq!(with_data(&format!("cvm.vault.previous=h {none}")), Err(Error::Malformed(Key::VaultPreviousKeyCommitment)));
    for text in ["None", "0f", &"0F".repeat(32), &"0f".repeat(33)] {
        let parameters = data_parameters().replace(&"0f".repeat(32), text);
        assert_eq!(with_root(&parameters), Err(Error::Malformed(Key::VaultKeyCommitment)), "{text}");
    }
    let platform = |byte: u8| format!("{byte:02x}").repeat(16);
    let platforms = with_data(&format!("cvm.vault.platforms={},{}", platform(1), platform(2))).unwrap().vaults.platforms;
    assert_eq!(platforms, [[1; 16], [2; 16]]);
    let twice = Err(Error::Malformed(Key::VaultPlatforms));
    assert_eq!(with_data(&format!("cvm.vault.platforms={0},{0}", platform(1))), twice);
    let upper = data_parameters().replace(APP, &APP.to_uppercase());
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
        ("pause:early", None),
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
