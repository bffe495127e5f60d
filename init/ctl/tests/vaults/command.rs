//! The program, as run by a shell.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::world::{ATTESTATION_SERVER, HANDLE, MRENCLAVE, NEW_IMAGE, OLD_IMAGE, World, now};

#[expect(clippy::disallowed_methods, reason = "the program under test is a program")]
fn cvmctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cvmctl")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A world, and the files of its operator.
struct Desk {
    world: World,
    dir: TempDir,
    vaults: String,
}

impl Desk {
    fn new() -> Self {
        let (world, dir) = (World::new(), tempfile::tempdir().unwrap());
        fs::write(dir.path().join("anchor.der"), world.pki.root_der()).unwrap();
        fs::write(dir.path().join("collateral.json"), world.collateral()).unwrap();
        fs::write(dir.path().join("issuer.pem"), dcap::pem("PRIVATE KEY", &world.issuer.key.pkcs8())).unwrap();
        let vaults = world.vaults().join(",");
        Self { world, dir, vaults }
    }

    fn path(&self, name: &str) -> String {
        Path::to_str(&self.dir.path().join(name)).unwrap().to_owned()
    }

    /// Arguments of every command that connects to vaults.
    fn common(&self) -> Vec<String> {
        let (anchor, collateral, mrenclave) = (self.path("anchor.der"), self.path("collateral.json"), hex(&MRENCLAVE));
        ["--vault", &self.vaults, "--anchor", &anchor, "--collateral", &collateral, "--mrenclave", &mrenclave]
            .map(str::to_owned)
            .into()
    }

    /// Runs `command` on [`HANDLE`] with the issuer's key, and `more`.
    fn run(&self, command: &str, more: &[&str]) -> Output {
        let (common, key) = (self.common(), self.path("issuer.pem"));
        let arguments: Vec<&str> = command.split(' ').collect();
        let common: Vec<&str> = common.iter().map(String::as_str).collect();
        cvmctl(&[&arguments, &common[..], &["--handle", HANDLE, "--issuer-key", &key], more].concat())
    }

    /// The same, with the owner as arguments.
    fn own(&self, command: &str, more: &[&str]) -> Output {
        let owner = ["--issuer", self.world.issuer.url.as_str(), "--owner-sub", "owner-1"];
        self.run(command, &[&owner, more].concat())
    }

    /// Deals [`HANDLE`] for [`OLD_IMAGE`].
    fn provision(&self) -> Output {
        let file = self.path("policy.json");
        fs::write(&file, self.world.policy(&[OLD_IMAGE]).to_string()).unwrap();
        let output = self.run("provision", &["--threshold", "2", "--policy", &file]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        output
    }

    fn policy(&self, rtmr2: &str) -> Output {
        let (mrtd, rtmr1) = (hex(&OLD_IMAGE.mrtd), hex(&OLD_IMAGE.rtmr1));
        let issuer = self.world.issuer.url.as_str();
        cvmctl(&[
            "policy",
            "--mrtd",
            &mrtd,
            "--rtmr1",
            &rtmr1,
            "--rtmr2",
            rtmr2,
            "--issuer",
            issuer,
            "--owner-sub",
            "owner-1",
            "--ttl",
            "86400",
            "--attestation-server",
            ATTESTATION_SERVER,
        ])
    }
}

#[test]
fn policy_provision_and_promote_work_hand_in_hand() {
    let desk = Desk::new();
    let policy = desk.policy(&hex(&OLD_IMAGE.rtmr2));
    assert_eq!(serde_json::from_slice::<Value>(&policy.stdout).unwrap(), desk.world.policy(&[OLD_IMAGE]));
    fs::write(desk.path("policy.json"), policy.stdout).unwrap();
    let file = desk.path("policy.json");

    let output = desk.provision();
    assert!(text(&output.stderr).contains("warning: any enclave of this build may hold a share: give --platform or --node-ca"));
    let parameters = text(&output.stdout);
    let line = parameters.replace('\n', " ");
    let guest =
        format!("roothash={} cvm.data=serial=d cvm.vault.app=00112233-4455-6677-8899-aabbccddeeff {line}", "ab".repeat(32));
    let policy = cmdline::parse(&guest).unwrap();
    assert_eq!(policy.data.unwrap().vaults.handle.as_str(), HANDLE);
    assert_eq!(parameters.lines().count(), 5);
    for vault in desk.world.vaults() {
        assert!(text(&output.stderr).contains(&format!("{vault}: tcb UpToDate, share until 20")), "{}", text(&output.stderr));
    }

    assert!(text(&output.stderr).contains("cvm.vault.app=UUID is required too"), "{}", text(&output.stderr));
    let again = desk.run("provision", &["--threshold", "2", "--policy", &file]);
    assert_eq!((again.status.code(), again.stdout.len()), (Some(1), 0));
    assert_eq!(text(&again.stderr).matches("key already exists").count(), 3, "{}", text(&again.stderr));

    fs::write(&file, desk.policy(&hex(&NEW_IMAGE.rtmr2)).stdout).unwrap();
    let promoted = desk.run("promote", &["--policy", &file]);
    assert_eq!(text(&promoted.stdout).matches(": policy version 2\n").count(), 3, "{}", text(&promoted.stderr));
    assert!(desk.world.export(1, &NEW_IMAGE).is_ok() && desk.world.export(1, &OLD_IMAGE).is_err());
}

#[test]
fn json_contains_the_parameters_and_no_output_contains_a_share() {
    let desk = Desk::new();
    let file = desk.path("policy.json");
    fs::write(&file, desk.world.policy(&[OLD_IMAGE]).to_string()).unwrap();
    let output = desk.run("provision", &["--threshold", "2", "--policy", &file, "--json", "--at", &now().to_string()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((json["handle"].as_str(), json["vaults"].as_array().map(Vec::len)), (Some(HANDLE), Some(3)));
    assert_eq!(json["cmdline"][4], format!("cvm.vault.key-commitment={}", json["key_commitment"].as_str().unwrap()));
    assert_eq!(json["vaults"][0]["expires_at"], json["expires_at"]);
    for index in 0..3 {
        let share = desk.world.export(index, &OLD_IMAGE).unwrap();
        assert_eq!(json["share_set_id"], hex(&share.share_set_id().0));
        let data = hex(share.expose_data());
        assert!(!text(&output.stdout).contains(&data) && !text(&output.stderr).contains(&data));
    }
}

#[test]
fn a_policy_of_another_owner_than_named_is_not_sent() {
    let desk = Desk::new();
    let file = desk.path("policy.json");
    fs::write(&file, desk.world.policy(&[OLD_IMAGE]).to_string()).unwrap();
    let named = ["--threshold", "2", "--policy", &file, "--issuer", desk.world.issuer.url.as_str(), "--owner-sub", "owner-2"];
    let output = desk.run("provision", &named);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("differ from the owner in the policy"), "{}", text(&output.stderr));
    assert!(desk.world.is_empty());
}

#[test]
fn floors_of_the_initrd_hold_here_too() {
    let desk = Desk::new();
    let (policy, floors) = (desk.path("policy.json"), desk.path("floors.json"));
    fs::write(&policy, desk.world.policy(&[OLD_IMAGE]).to_string()).unwrap();
    let with = |json: &str| {
        fs::write(&floors, json).unwrap();
        let output = desk.run("provision", &["--threshold", "2", "--policy", &policy, "--floors", &floors]);
        (output.status.code(), text(&output.stderr).to_owned())
    };
    let (code, message) = with(r#"{"built":1,"tcb_evaluation":4000000000,"root_crl":0,"pck_crl":0}"#);
    assert_eq!((code, message.matches("tcb evaluation number is below the image's floor").count()), (Some(1), 3), "{message}");
    let (code, message) = with(r#"{"built":1,"tcb_evaluation":4294967296,"root_crl":0,"pck_crl":0}"#);
    assert!(code == Some(1) && message.contains("expected u32"), "{message}");
    assert_eq!(with(r#"{"built":1,"tcb_evaluation":0,"root_crl":0,"pck_crl":0}"#).0, Some(0));
}

#[test]
fn measurements_come_in_threes() {
    let (one, two) = ("ab".repeat(48), format!("{0},{0}", "cd".repeat(48)));
    let output = cvmctl(&["policy", "--mrtd", &one, "--rtmr1", &two, "--rtmr2", &two]);
    assert_eq!(output.status.code(), Some(1));
    let output = cvmctl(&["policy", "--mrtd", &two, "--rtmr1", &two, "--rtmr2", &two]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json.pointer("/principals/tees/0/Tee/measurements").and_then(Value::as_array).map(Vec::len), Some(2));
    assert_eq!(json.pointer("/principals/owner"), Some(&Value::Null));
}

#[test]
fn command_lines_are_checked_as_the_guest_reads_them() {
    let roothash = format!("roothash={}", "ab".repeat(32));
    let good = cvmctl(&["cmdline", "check", &format!("quiet init=/x {roothash}")]);
    assert_eq!((good.status.code(), text(&good.stdout)), (Some(0), format!("ok\ninit=/x {roothash}\n").as_str()));
    let bad = cvmctl(&["cmdline", "check", &roothash, "cvm.dta=serial=x"]);
    let message = text(&bad.stderr);
    assert!(bad.status.code() == Some(2) && message.starts_with("command line: unknown key cvm.dta\n"), "{message}");
    assert!(message.contains("did you mean cvm.data?"), "{message}");
    let explained = cvmctl(&["cmdline", "explain", &roothash, "cvm.log=warn"]);
    assert!(text(&explained.stdout).contains("cvm.log = warn\n"), "{}", text(&explained.stdout));
}

#[test]
fn keys_are_listed_described_and_deleted() {
    let desk = Desk::new();
    desk.provision();
    let vaults = desk.world.vaults();
    let lines = |output: &Output| text(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>();
    let of = |vault: &String, rest: &str| format!("{vault}: {rest}");

    let (common, key) = (desk.common(), desk.path("issuer.pem"));
    let common: Vec<&str> = common.iter().map(String::as_str).collect();
    let owner = ["--issuer-key", &key, "--issuer", desk.world.issuer.url.as_str(), "--owner-sub", "owner-1"];
    let listed = cvmctl(&[&["key", "list"], &common[..], &owner].concat());
    assert!(
        lines(&listed)
            .iter()
            .zip(&vaults)
            .all(|(line, vault)| line.starts_with(&of(vault, &format!("{HANDLE} RawShare until 20"))))
    );
    assert_eq!((lines(&listed).len(), listed.status.code()), (3, Some(0)), "{}", text(&listed.stderr));

    let info = desk.own("key info", &[]);
    assert_eq!(text(&info.stdout).matches(": RawShare exportable, made 20").count(), 3, "{}", text(&info.stderr));
    let policy = desk.own("key policy", &[]);
    assert_eq!(serde_json::from_slice::<Value>(&policy.stdout).unwrap(), desk.world.policy(&[OLD_IMAGE]));
    assert_eq!(text(&policy.stderr).matches(": policy version 1\n").count(), 3);
    let audit = desk.own("key audit", &["--json"]);
    let json: Value = serde_json::from_slice(&audit.stdout).unwrap();
    assert_eq!(json["vaults"][0]["answer"]["entries"][0]["op"], "CreateKey", "{json}");

    let kept = desk.own("key delete", &[]);
    assert_eq!(
        (kept.status.code(), text(&kept.stderr).matches("give --even-in-use").count()),
        (Some(1), 3),
        "{}",
        text(&kept.stderr)
    );
    let deleted = desk.own("key delete", &["--even-in-use"]);
    assert_eq!(lines(&deleted), vaults.iter().map(|vault| of(vault, "deleted")).collect::<Vec<_>>());
    assert_eq!(lines(&desk.own("key delete", &[])), vaults.iter().map(|vault| of(vault, "absent")).collect::<Vec<_>>());
    let gone = desk.own("key info", &["--json"]);
    let json: Value = serde_json::from_slice(&gone.stdout).unwrap();
    assert_eq!(
        (gone.status.code(), &json["vaults"][2]["error"]),
        (Some(1), &"key not found; the node says: \"key not found\"".into())
    );
}

#[test]
fn profiles_are_staged_promoted_and_revoked() {
    let desk = Desk::new();
    desk.provision();
    let profile = |image: &ctl::policy::Image| desk.world.policy(&[*image])["principals"]["tees"][0]["Tee"].clone();
    let (file, bad) = (desk.path("profile.json"), desk.path("bad.json"));
    fs::write(&file, profile(&NEW_IMAGE).to_string()).unwrap();
    let mut wrong = profile(&NEW_IMAGE);
    wrong["required_oids"] = serde_json::json!([{ "oid": "1.3.6.1.4.1.65230.3.2", "value": "00" }]);
    fs::write(&bad, wrong.to_string()).unwrap();

    let refused = desk.own("profile stage", &["--profile", &bad]);
    assert!(text(&refused.stderr).contains("/required_oids/0/oid: expected 1.3.6.1.4.1.65230.4.1"), "{}", text(&refused.stderr));
    let early = desk.own("profile promote", &["--profile", &file]);
    assert_eq!(text(&early.stderr).matches("this profile is not staged there").count(), 3, "{}", text(&early.stderr));
    let nothing = desk.own("profile revoke", &["--profile", &file]);
    assert_eq!(text(&nothing.stderr).matches("not staged there, nothing to revoke").count(), 3, "{}", text(&nothing.stderr));
    let staged = desk.own("profile stage", &["--profile", &file]);
    assert_eq!(text(&staged.stdout).matches(": staged as ").count(), 3, "{}", text(&staged.stderr));
    let listed = desk.own("profile list", &[]);
    assert_eq!(text(&listed.stdout).matches(" by owner-1, source ManualImport\n").count(), 3, "{}", text(&listed.stdout));
    assert!(desk.world.export(0, &NEW_IMAGE).is_err());
    let numbered = desk.own("profile promote", &["--id", "0"]);
    assert!(text(&numbered.stderr).contains("a number names a profile at one node only"), "{}", text(&numbered.stderr));
    let promoted = desk.own("profile promote", &["--profile", &file]);
    assert_eq!(text(&promoted.stdout).matches(": policy version 2\n").count(), 3, "{}", text(&promoted.stderr));
    assert!(desk.world.export(0, &NEW_IMAGE).is_ok() && desk.world.export(0, &OLD_IMAGE).is_ok(), "it is added");

    let third = ctl::policy::Image { rtmr2: [4; 48], ..OLD_IMAGE };
    fs::write(&file, profile(&third).to_string()).unwrap();
    desk.own("profile stage", &["--profile", &file]);
    let revoked = desk.own("profile revoke", &["--profile", &file]);
    assert_eq!(text(&revoked.stdout).matches(": revoked\n").count(), 3, "{}", text(&revoked.stderr));
    assert_eq!(text(&desk.own("profile list", &[]).stdout).matches(": none\n").count(), 3);
}

/// The operator has no issuer's key, but a client key, a grant bound to it, and a bearer token.
#[test]
fn tokens_of_an_identity_provider_come_by_descriptor() {
    let desk = Desk::new();
    let (key, grant, bearer) = (desk.path("client.pem"), desk.path("grant"), desk.path("bearer"));
    let print = || text(&cvmctl(&["client-key", &key]).stdout).trim().to_owned();
    let thumbprint = print();
    assert_eq!((thumbprint.len(), print()), (43, thumbprint.clone()), "the leaf is the same bytes each time");
    let policy = desk.world.policy(&[OLD_IMAGE]);
    let mut claims = desk.world.issuer.grant_claims(&vault_node::Grant {
        sub: "owner-1",
        scope: "apps.example",
        policy: &policy,
        exp: now() + 900,
        caller_leaf: b"",
    });
    claims["cnf"]["x5t#S256"] = thumbprint.into();
    fs::write(&grant, desk.world.issuer.sign(&claims).unwrap()).unwrap();
    fs::write(&bearer, desk.world.issuer.bearer("owner-1", &[], now() + 900).unwrap() + "\n").unwrap();

    let run = |command: &[&str], more: &[&str]| {
        with_descriptors(
            &[&grant, &bearer],
            &[
                command,
                &desk.common().iter().map(String::as_str).collect::<Vec<_>>(),
                &["--handle", HANDLE, "--bearer-fd", "4"],
                more,
            ]
            .concat(),
        )
    };
    let deal = ["--threshold", "2", "--grant-fd", "3", "--client-key", &key];
    let output = run(&["provision"], &deal);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 5);
    assert_eq!(text(&run(&["key", "info"], &[]).stdout).lines().count(), 3);
    let secret = fs::read_to_string(&bearer).unwrap();
    assert!(!text(&output.stderr).contains(secret.trim()) && !text(&output.stdout).contains(secret.trim()));
    assert_eq!(text(&run(&["key", "delete"], &["--even-in-use"]).stdout).matches(": deleted").count(), 3);

    fs::remove_file(&key).unwrap();
    let other = print();
    let refused = run(&["provision"], &deal);
    let wanted = format!(
        "the grant: its claim cnf is {{\"x5t#S256\":\"{}\"}}; expected {{\"x5t#S256\":\"{other}\"}}",
        claims["cnf"]["x5t#S256"].as_str().unwrap()
    );
    assert_eq!(text(&refused.stderr).matches(&wanted).count(), 3, "{}", text(&refused.stderr));
    assert!(desk.world.is_empty());
    assert_eq!(run(&["provision"], &["--threshold", "2", "--grant-fd", "3"]).status.code(), Some(2), "without a kept key");
    assert_eq!(
        run(&["provision"], &["--threshold", "2", "--grant-fd", "4", "--client-key", &key]).status.code(),
        Some(1),
        "one descriptor"
    );
}

/// Runs the program with files open from descriptor 3 on.
#[expect(clippy::disallowed_methods, reason = "the program under test is a program")]
fn with_descriptors(files: &[&String; 2], arguments: &[&str]) -> Output {
    let script = "exec \"$0\" \"$@\" 3< \"$GRANT\" 4< \"$BEARER\"";
    let mut command = Command::new("sh");
    command.env("GRANT", files[0]).env("BEARER", files[1]);
    command.args(["-c", script, env!("CARGO_BIN_EXE_cvmctl")]).args(arguments).output().unwrap()
}

#[test]
fn client_key_is_its_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("client.pem");
    let key = path.to_str().unwrap();
    let made = cvmctl(&["client-key", key, "--json"]);
    let json: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(json["cnf"]["x5t#S256"].as_str().map(str::len), Some(43));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = cvmctl(&["client-key", key]);
    assert!(text(&refused.stderr).contains("expected mode 0600, got 0640, with which others could read the key. Run: chmod 600"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "-----BEGIN PRIVATE KEY-----\n").unwrap();
    let refused = cvmctl(&["client-key", key]);
    assert!(text(&refused.stderr).contains("expected PEM with a P-256 key"), "{}", text(&refused.stderr));
    let folder = cvmctl(&["client-key", dir.path().to_str().unwrap()]);
    assert!(text(&folder.stderr).contains("got something other than a regular file"), "{}", text(&folder.stderr));
}

#[test]
fn machines_that_leak_and_policies_that_cost_the_key_are_refused() {
    let desk = Desk::new();
    let register = "ab".repeat(48);
    let image = ["policy", "--mrtd", &register, "--rtmr1", &register, "--rtmr2", &register];
    let with = |more: &[&str]| cvmctl(&[&image, more].concat());
    let warned = with(&[]);
    assert!(warned.status.success() && text(&warned.stderr).contains("/attestation_servers: empty: nodes accept such a policy"));
    let server = ["--attestation-server", ATTESTATION_SERVER];
    let debug = with(&[&server[..], &["--td-attributes", "0x10000001"]].concat());
    assert_eq!((debug.status.code(), debug.stdout.len()), (Some(1), 0));
    assert!(text(&debug.stderr).contains("this machine is refused: TDATTRIBUTES.DEBUG is set"), "{}", text(&debug.stderr));
    for (bits, code) in [(0x1000_0000_u64, 0), (0x2000_0000, 1), (1, 1)] {
        let mut td = dcap::TdQuote::new([0; 64]);
        td.td_attributes = bits;
        fs::write(desk.path("quote"), td.sign(&desk.world.pki.platform("guest").unwrap()).unwrap()).unwrap();
        let output = with(&[&server[..], &["--td-quote", &desk.path("quote")]].concat());
        assert_eq!(output.status.code(), Some(code), "{bits:#x}: {}", text(&output.stderr));
    }
    let dropped = with(&[&server[..], &["--rtmr0", &register]].concat());
    assert!(text(&dropped.stderr).contains("give --nodes-match rtmr0"), "{}", text(&dropped.stderr));
    let named = with(
        &[&server[..], &["--rtmr0", &register, "--nodes-match", "rtmr0", "--issuer", "https://i.example", "--owner-sub", "o"]]
            .concat(),
    );
    assert_eq!(text(&named.stderr), "");
}
