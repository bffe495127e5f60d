//! Lists of data disks.

use super::super::tests::{data_parameters, with_root};
use super::super::{Conflict, DataDisk, DiskName, Error, Key};

#[test]
fn several_data_disks_have_names_of_their_own() {
    let uuid = "00112233-4455-6677-8899-aabbccddeeff";
    let parameters = |disks: &str, rest: &str| {
        with_root(&format!("{} {rest}", data_parameters().replace("cvm.data=serial=data", &format!("cvm.data={disks}"))))
    };
    let told = |disks: &str, rest: &str| {
        let disks = parameters(disks, rest).unwrap().data.unwrap().disks;
        let one = |disk: &DataDisk| {
            let name = disk.name.as_ref().map_or("-", DiskName::as_str);
            format!("{name} {} {}{}", disk.disk, disk.mount.as_str(), if disk.uuid.is_some() { " pinned" } else { "" })
        };
        disks.iter().map(one).collect::<Vec<_>>()
    };
    assert_eq!(told("serial=a:b,logs:PARTLABEL=c:d", ""), ["- serial=a:b /data", "logs PARTLABEL=c:d /logs"]);
    assert_eq!(told("logs:serial=x", "cvm.data.mount=logs:/srv/a"), ["logs serial=x /srv/a"]);
    let pinned = format!("cvm.data.mount=/srv,b2:/opt/b cvm.data.format=if-blank cvm.data.uuid={uuid}");
    assert_eq!(told("b2:serial=b,serial=a", &pinned), ["b2 serial=b /opt/b", "- serial=a /srv pinned"]);
    let malformed = |key| Error::Malformed(key);
    let cases = [
        ("serial=a,serial=b", "", malformed(Key::Data)),
        ("a:serial=a,a:serial=b", "", malformed(Key::Data)),
        ("A:serial=a", "", malformed(Key::Data)),
        ("1a:serial=a", "", malformed(Key::Data)),
        ("a-b:serial=a", "", malformed(Key::Data)),
        ("data:serial=a", "", malformed(Key::Data)),
        (":serial=a", "", malformed(Key::Data)),
        ("a23456789012345678:serial=a", "", malformed(Key::Data)),
        ("serial=a,", "", malformed(Key::Data)),
        ("serial=a", "cvm.data.mount=/a,/b", malformed(Key::DataMount)),
        ("serial=a", "cvm.data.mount=b:/b", Conflict::NoSuchDisk(Key::DataMount).into()),
        ("b:serial=a", "cvm.data.mount=/b", Conflict::NoSuchDisk(Key::DataMount).into()),
        ("serial=a", &format!("cvm.data.uuid=b:{uuid}"), Conflict::NoSuchDisk(Key::DataUuid).into()),
        ("serial=a,b:serial=a", "", Conflict::SameDisk(Key::Data, Key::Data).into()),
        ("serial=a,b:serial=b", "cvm.data.mount=b:/data/b", Conflict::MountsOverlap(Key::DataMount, Key::DataMount).into()),
        ("var:serial=a", "", Conflict::SystemFolder(Key::DataMount, "var").into()),
        ("serial=a", &format!("cvm.data.format=if-blank cvm.data.uuid={uuid}"), Conflict::FormatsAnother.into()),
    ];
    for (disks, rest, want) in cases {
        assert_eq!(parameters(disks, rest), Err(want), "{disks} {rest}");
    }
    let nine = (0..9).map(|number| format!("d{number}:serial={number}")).collect::<Vec<_>>().join(",");
    assert_eq!(parameters(&nine, ""), Err(malformed(Key::Data)));
}
