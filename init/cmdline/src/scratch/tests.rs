use super::super::Mountpoint;
use super::super::{Conflict, DiskSelector, Error, Key, parse};
use super::Scratch;
use proptest::prelude::*;

const UUID: &str = "00112233-4455-6677-8899-aabbccddeeff";

fn read(parameters: &str) -> Result<Vec<Scratch>, Error> {
    parse(&format!("roothash={} {parameters}", "ab".repeat(32))).map(|policy| policy.scratch)
}

/// As pairs of selector and use.
fn told(value: &str) -> Result<Vec<(String, String)>, Error> {
    let pair = |scratch: &Scratch| (scratch.disk.to_string(), scratch.purpose.as_str().to_owned());
    read(&format!("cvm.scratch={value}")).map(|disks| disks.iter().map(pair).collect())
}

/// Beside a data disk.
fn with_data(parameters: &str) -> Result<Vec<Scratch>, Error> {
    read(&format!(
        "cvm.data=serial=data cvm.vault=vsock:2:1,vsock:2:2 cvm.vault.mrenclave={} cvm.vault.handle=h cvm.vault.app={UUID} cvm.vault.key-commitment=none {parameters}",
        "cd".repeat(32)
    ))
}

#[test]
fn use_begins_at_the_last_colon_before_swap_or_a_path() {
    let by_uuid = format!("PARTUUID={UUID}");
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("serial=a", &[("serial=a", "/scratch")]),
        ("serial=a:swap", &[("serial=a", "swap")]),
        ("serial=a:/srv/tmp", &[("serial=a", "/srv/tmp")]),
        ("serial=a:b", &[("serial=a:b", "/scratch")]),
        ("serial=a:b:swap", &[("serial=a:b", "swap")]),
        ("serial=a:b:/x", &[("serial=a:b", "/x")]),
        ("PARTLABEL=a:swap:swap", &[("PARTLABEL=a:swap", "swap")]),
        ("PARTLABEL=a/b", &[("PARTLABEL=a/b", "/scratch")]),
        (&format!("{by_uuid}:swap,serial=swap"), &[(&by_uuid, "swap"), ("serial=swap", "/scratch")]),
        (
            "serial=a:swap,serial=b:swap,serial=c:/c,serial=d",
            &[("serial=a", "swap"), ("serial=b", "swap"), ("serial=c", "/c"), ("serial=d", "/scratch")],
        ),
    ];
    for (value, want) in cases {
        let want = want.iter().map(|(disk, purpose)| ((*disk).to_owned(), (*purpose).to_owned())).collect();
        assert_eq!(told(value), Ok(want), "{value}");
    }
}

#[test]
fn malformed_values_are_refused() {
    let five = "serial=a:/a,serial=b:/b,serial=c:/c,serial=d:/d,serial=e:/e";
    let values = [
        "",
        ",",
        "serial=a,",
        "a",
        "a:swap",
        ":swap",
        "serial=:swap",
        "serial=a:swapfile",
        "serial=a:/",
        "serial=a:/x/",
        "serial=a:/x/../y",
        "serial=a:/x//y",
        "PARTLABEL=a:/b:c",
        "PARTUUID=1:swap",
        "serial=a;serial=b",
        five,
    ];
    for value in values {
        assert_eq!(told(value), Err(Error::Malformed(Key::Scratch)), "{value}");
    }
}

#[test]
fn disks_and_mount_points_are_each_one_thing() {
    let same = |key| Conflict::SameDisk(Key::Scratch, key);
    let mounts = |key| Conflict::MountsOverlap(Key::Scratch, key);
    let cases = [
        ("cvm.scratch=serial=a:swap,serial=a:/x", Err(same(Key::Scratch))),
        ("cvm.scratch=serial=a,serial=a", Err(same(Key::Scratch))),
        ("cvm.scratch=serial=data:swap", Err(same(Key::Data))),
        ("cvm.root=serial=r cvm.scratch=serial=r:swap", Err(same(Key::Root))),
        ("cvm.scratch=serial=a,serial=b", Err(mounts(Key::Scratch))),
        ("cvm.scratch=serial=a:/x,serial=b:/x/y", Err(mounts(Key::Scratch))),
        ("cvm.scratch=serial=a:/data", Err(mounts(Key::DataMount))),
        ("cvm.scratch=serial=a:/data/tmp", Err(mounts(Key::DataMount))),
        ("cvm.scratch=serial=a:/srv cvm.data.mount=/srv/data", Err(mounts(Key::DataMount))),
        ("cvm.scratch=serial=a:/var/tmp", Err(Conflict::SystemFolder(Key::Scratch, "var"))),
        ("cvm.scratch=serial=a:/data2,serial=b:swap", Ok(2)),
        ("cvm.scratch=serial=a:/x,serial=b:/xy,serial=c:/y/x", Ok(3)),
    ];
    for (parameters, want) in cases {
        assert_eq!(with_data(parameters).map(|disks| disks.len()), want.map_err(Error::Conflict), "{parameters}");
    }
    assert_eq!(told("serial=a:/data").map(|disks| disks.len()), Ok(1), "without a data disk its default mount point is free");
    let error = read("cvm.scratch=serial=a,serial=a").unwrap_err();
    assert_eq!(error.to_string(), "cvm.scratch names the same disk as cvm.scratch");
}

fn selector() -> impl Strategy<Value = String> {
    prop_oneof!["serial=[a-z:_.-]{1,8}", "PARTLABEL=[a-z:/=]{1,8}", Just(format!("PARTUUID={UUID}"))]
}

proptest! {
    #[test]
    fn parse_is_total(value in "[!-~]{0,40}") {
        let _read = told(&value);
    }

    #[test]
    fn given_use_is_read_back(disk in selector(), purpose in "swap|/[a-uw-z][a-z]{6}") {
        let read = told(&format!("{disk}:{purpose}"));
        prop_assert_eq!(read, Ok(vec![(disk, purpose)]));
    }

    #[test]
    fn no_use_is_read_out_of_a_selector(disk in selector()) {
        match told(&disk) {
            Ok(read) => prop_assert!(DiskSelector::parse(&read[0].0).is_some()),
            Err(error) => prop_assert!(disk.contains(":/") || disk.contains(":swap"), "{error}"),
        }
    }

    #[test]
    fn overlap_is_symmetric_and_by_whole_parts(one in "(/[ab]{1,2}){1,3}", other in "(/[ab]{1,2}){1,3}") {
        let parts = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
        let (a, b) = (parts(&one), parts(&other));
        let [x, y] = [&one, &other].map(|path| Mountpoint::parse(path).unwrap());
        prop_assert_eq!(x.overlaps(&y), a.starts_with(&b) || b.starts_with(&a));
        prop_assert_eq!(x.overlaps(&y), y.overlaps(&x));
    }
}
