//! Records of systemd, of cvm-init, and of firmware as `systemd-pcrlock cel` prints them.

use proptest::prelude::*;

use encoding::hex;

use super::*;

/// A record of `systemd-pcrphase enter-initrd` by systemd 257, from the sources of `tpm2_userspace_log`; digests by Python 3.11 hashlib.
const OF_SYSTEMD: &str = concat!(
    "\x1e{\"pcr\":11,\"digests\":[{\"hashAlg\":\"sha256\",\"digest\":",
    "\"51e6b92f405d1f98d96e3de343d61d420ad6923b25de21d766f9298192f14fed\"},",
    "{\"hashAlg\":\"sm3_256\",\"digest\":\"00\"}],",
    "\"content_type\":\"systemd\",\"content\":{\"string\":\"enter-initrd\",\"bootId\":\"0123456789abcdef0123456789abcdef\",",
    "\"timestamp\":1234567,\"eventType\":\"phase\"}}\n"
);

fn cap_record(register: Register) -> Record {
    let string = r#"{"cvm-init":"leave-initrd"}"#;
    Record {
        register,
        digests: [Hash::Sha256, Hash::Sha384].map(|hash| (hash, hash.digest(string.as_bytes()))).to_vec(),
        string: Some(string.to_owned()),
        event_type: Some("phase".to_owned()),
        boot_id: None,
        timestamp: Some(7),
        firmware: None,
    }
}

#[test]
fn records_of_systemd_are_read() {
    let [record] = parse(OF_SYSTEMD.as_bytes()).unwrap().try_into().unwrap();
    assert_eq!((record.register, record.string.as_deref()), (Register::Pcr(11), Some("enter-initrd")));
    assert_eq!((record.event_type.as_deref(), record.timestamp, record.digests.len()), (Some("phase"), Some(1_234_567), 1));
    assert!(record.content_matches_digests());
}

#[test]
fn written_records_are_read_back() {
    let records = vec![cap_record(Register::Pcr(15)), cap_record(Register::Rtmr(3))];
    let text: String = records.iter().map(|record| record.to_text().unwrap()).collect();
    assert!(text.starts_with("\x1e{\"pcr\":15,\"digests\":[{\"hashAlg\":\"sha256\",\"digest\":\""));
    assert_eq!(parse(text.as_bytes()).unwrap(), records);
}

#[test]
fn digest_of_another_text_is_found() {
    let mut record = cap_record(Register::Pcr(15));
    record.string = Some("something else".to_owned());
    assert!(!record.content_matches_digests());
    record.string = None;
    assert!(record.content_matches_digests());
    let nothing = Record { digests: Vec::new(), ..cap_record(Register::Pcr(15)) };
    assert!(!nothing.content_matches_digests(), "a text without a digest is not measured");
}

/// A record of an NvPCR, in the form of systemd's `tpm2_userspace_log`; digest by Python 3.11 hashlib.
const OF_NV_INDEX: &str = concat!(
    "\x1e{\"nv_index\":30474502,\"digests\":[{\"hashAlg\":\"sha256\",\"digest\":",
    "\"51e6b92f405d1f98d96e3de343d61d420ad6923b25de21d766f9298192f14fed\"}],\"content_type\":\"systemd\",",
    "\"content\":{\"nvIndexName\":\"hardware\",\"string\":\"enter-initrd\",\"eventType\":\"product-id\"}}\n"
);

#[test]
fn records_without_a_register_of_quotes_are_read() {
    let text = [OF_SYSTEMD, OF_NV_INDEX, "\x1e{\"digests\":[]}\n"].concat();
    let registers: Vec<Register> = parse(text.as_bytes()).unwrap().iter().map(|record| record.register).collect();
    assert_eq!(registers, [Register::Pcr(11), Register::NvIndex(30_474_502), Register::Unnamed]);
    // Of systemd's log for the registers of a TD (src/shared/tdx-rtmr.c).
    let text = OF_SYSTEMD.replace("\"pcr\":11", "\"rtmr\":2,\"mapped_pcr\":11");
    assert_eq!(parse(text.as_bytes()).unwrap()[0].register, Register::Rtmr(2));
}

#[test]
fn arrays_and_records_without_separators_are_read() {
    let (one, nv) = (OF_SYSTEMD.trim_matches(['\x1e', '\n']), OF_NV_INDEX.trim_matches(['\x1e', '\n']));
    let want = parse([OF_SYSTEMD, OF_NV_INDEX].concat().as_bytes()).unwrap();
    for text in [format!("[{one},{nv}]"), format!("\n[{one},\n{nv}]\n"), format!("{one}\n{nv}"), format!("[{one}]\x1e{nv}")] {
        assert_eq!(parse(text.as_bytes()).unwrap(), want, "{text}");
    }
    assert_eq!(parse(b"[]").unwrap(), []);
    for (text, want) in [
        (format!("[{one},[{one}]]"), "record 2"),
        (format!("[{one}"), "record 1"),
        (format!("[{one},7]"), "record 2"),
        (format!("[{}]", vec!["{\"digests\":[]}"; 16385].join(",")), "event log with more than 16384 records"),
    ] {
        assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), want);
    }
}

#[test]
fn events_of_firmware_in_arrays_keep_type_and_data() {
    let of = |content: &str| {
        let text = format!(r#"[{{"pcr":4,"recnum":1,"digests":[],"content_type":"pcclient_std","content":{content}}}]"#);
        parse(text.as_bytes()).map(|records| records[0].firmware.clone().unwrap())
    };
    let event = |kind: Option<u32>, name: &str| FirmwareEvent { kind, name: name.to_owned(), data: vec![0xab, 0xcd] };
    let cases = [
        ("\"EV_EFI_ACTION\"", event(Some(0x8000_0007), "EV_EFI_ACTION")),
        ("\"EV_EFI_HCRTM_EVENT\"", event(Some(0x8000_0010), "EV_EFI_HCRTM_EVENT")),
        ("\"2147483999\"", event(Some(2_147_483_999), "2147483999")),
        ("13", event(Some(13), "13")),
        ("\"EV_OF_LATER\"", event(None, "EV_OF_LATER")),
    ];
    for (kind, want) in cases {
        assert_eq!(of(&format!(r#"{{"event_type":{kind},"event_data":"ABcd"}}"#)).unwrap(), want, "{kind}");
    }
    for content in
        [r#"{"event_type":13}"#, r#"{"event_type":13,"event_data":"abc"}"#, r#"{"event_type":-1,"event_data":""}"#, "7", "null"]
    {
        let want = "record 1: content does not have the form of its content_type";
        assert_eq!(of(content).unwrap_err().to_string(), want, "{content}");
    }
}

#[test]
fn events_of_dstack_are_read() {
    let digest = "ab".repeat(48);
    let of = |rest: &str| parse(format!(r#"[{{"imr":3,"event_type":134217729,"digest":"{digest}"{rest}}}]"#).as_bytes());
    let [record] = of(r#","event":"app-id","event_payload":"0102""#).unwrap().try_into().unwrap();
    assert_eq!((record.register, record.digest(Hash::Sha384)), (Register::Rtmr(3), Some(&[0xab; 48][..])));
    assert_eq!(
        record.firmware.unwrap(),
        FirmwareEvent { kind: Some(0x0800_0001), name: "134217729".to_owned(), data: b"app-id".to_vec() }
    );
    assert_eq!(of(r#","event":"","event_payload":"0102""#).unwrap()[0].firmware.as_ref().unwrap().data, [1, 2]);
    assert_eq!(of("").unwrap()[0].firmware.as_ref().unwrap().data, [0; 0]);
    assert_eq!(
        of(r#","event_payload":"0""#).unwrap_err().to_string(),
        "record 1: content does not have the form of its content_type"
    );
    // Without a digest, as newer versions write it; the digest is of Phala-Network/dstack, sdk/simulator/eventlog.json.
    let text = r#"[{"imr":3,"event_type":134217729,"digest":"","event":"app-id","event_payload":"ea549f02e1a25fabd1cb788380e033ec5461b2ff"}]"#;
    let want = "b01c7a2e6a406ae9cd5aa81451e4614e112b8f404df12e6ef506962c1a5279a94dc58da0923c4b7db89e26da9e538302";
    assert_eq!(parse(text.as_bytes()).unwrap()[0].digest(Hash::Sha384).map(hex::encode).as_deref(), Some(want));
    let refused = |text: &str| parse(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(refused(r#"[{"imr":4,"event_type":1,"digest":""}]"#), "record 1: imr 4, expected 0 to 3");
    assert_eq!(refused(r#"[{"imr":1,"event_type":1,"digest":"00"}]"#), "record 1: the sha384 digest is malformed");
    assert_eq!(refused(r#"[{"imr":1,"event_type":1}]"#), "record 1");
}

#[test]
fn texts_of_keyed_digests_are_no_contradiction() {
    let mut record = cap_record(Register::Pcr(15));
    record.string = Some("cryptsetup:root:5e47a9".to_owned());
    for (kind, want) in [("volume-key", true), ("nvpcr-init", true), ("machine-id", false)] {
        record.event_type = Some(kind.to_owned());
        assert_eq!((record.is_keyed(), record.content_matches_digests()), (want, want), "{kind}");
    }
}

#[test]
fn malformed_records_are_refused() {
    let cases = [
        ("\x1e{", "record 1"),
        ("\x1e{\"pcr\":1,\"rtmr\":3,\"digests\":[]}", "record 1 must have one of pcr, rtmr and nv_index"),
        ("\x1e{\"pcr\":24,\"digests\":[]}", "record 1: pcr 24, expected 0 to 23"),
        ("\x1e{\"rtmr\":4,\"digests\":[]}", "record 1: rtmr 4, expected 0 to 3"),
        ("\x1e{\"pcr\":1,\"digests\":[{\"hashAlg\":\"sha1\",\"digest\":\"0g\"}]}", "record 1: the sha1 digest is malformed"),
        (
            "\x1e{\"pcr\":1,\"digests\":[]}\n\x1e{\"pcr\":1,\"digests\":[{\"hashAlg\":\"sha256\",\"digest\":\"00\"}]}",
            "record 2: the sha256 digest is malformed",
        ),
        (
            "\x1e{\"pcr\":1,\"digests\":[],\"content_type\":\"systemd\",\"content\":{\"string\":7}}",
            "record 1: content does not have the form of its content_type",
        ),
        ("\x1e{\"pcr\":-1,\"digests\":[]}", "record 1"),
    ];
    for (text, want) in cases {
        assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), want, "{text}");
    }
    assert_eq!(parse(b"\xff").unwrap_err().to_string(), "event log is not text");
    assert_eq!(parse(b"").unwrap(), []);
}

proptest! {
    #[test]
    fn any_text_is_a_log_or_refused(text in "(\\x1e|\\{|\\}|\"pcr\":|\"rtmr\":|\"nv_index\":|[0-9]|\"digests\":\\[|\\]|,|[a-z\"])*") {
        drop(parse(text.as_bytes()));
    }
}
