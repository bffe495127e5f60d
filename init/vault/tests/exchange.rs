//! The client against a simulated node: the honest exchange, and each kind of misbehaviour.
#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use attest::{Anchor, Floors, Policy, Role, TcbDemand, TcbStatus, VerifyError};
use dcap::{Pki, TdQuote};
use ratls::{Clock, Error as Session, Expectation, Handshaken, Identity, LeafError, NodeCa, OwnEvidence, Step};
use vault::{Error, Refused};
use vault_node::{Extensions, Issuer, Misbehaviour, Node, NodeConfig, NodeHandle};

const MRENCLAVE: [u8; 32] = [0x11; 32];
const HANDLE: &str = "apps.example/disk/v1";

struct World {
    pki: Arc<Pki>,
    node: NodeHandle,
    identity: Identity,
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// A quote of the client's platform, with only the report data set.
fn own_quote(pki: &Pki, report_data: &[u8; 64]) -> Vec<u8> {
    TdQuote::new(*report_data).sign(&pki.platform("guest").unwrap()).unwrap()
}

impl World {
    fn with(misbehaviour: Misbehaviour) -> Self {
        Self::requiring(misbehaviour, &serde_json::json!([]))
    }

    /// A node whose key policy requires these extensions in the guest's certificate.
    fn requiring(misbehaviour: Misbehaviour, required_oids: &serde_json::Value) -> Self {
        let pki = Arc::new(Pki::mint(now()).unwrap());
        let issuer = Issuer::generate().unwrap();
        let honest = NodeConfig::honest(Arc::clone(&pki), "node-1", MRENCLAVE, issuer).unwrap();
        // The node staples its collateral, since these tests have no other source.
        let extensions = Extensions { staple_collateral: true, ..Extensions::default() };
        let node = Node::start(NodeConfig { extensions, ..honest }).unwrap();
        let td = TdQuote::new([0; 64]);
        let policy = serde_json::json!({
            "version": 1,
            "principals": { "owner": { "Oidc": { "issuer": "https://issuer.example", "sub": "owner-1", "required_roles": [] } },
                "managers": [], "auditors": [],
                "tees": [{ "Tee": { "name": "guest", "measurements": [{ "Tdx": { "mrtd": hex(&td.mrtd), "rtmr1": hex(&td.rtmr[1]), "rtmr2": hex(&td.rtmr[2]) } }],
                    "attestation_servers": [{ "url": "https://as.simulated.invalid/verify", "pinned_spki_sha256_hex": null }], "required_oids": required_oids, "acceptable_tcb_statuses": null } }] },
            "operations": [{ "ops": ["ExportKey"], "principals": ["AnyTee"], "requires": [] }],
            "mutability": { "owner_can": [], "manager_can": [], "immutable": ["Owner", "Mutability"] },
            "lifecycle": { "ttl_seconds": 7_776_000, "auto_migrate_to_next_attestation_profile": false },
        });
        node.put_key(HANDLE, vec![7; 49], policy).unwrap();
        node.set_misbehaviour(misbehaviour);
        Self { pki, node, identity: Identity::guest([9; 16]).unwrap() }
    }

    /// Runs the exchange with a deadline of two seconds for each step. Returns the material.
    fn exchange(&self) -> Result<Vec<u8>, Error> {
        let anchor = Anchor::from_der(self.pki.root_der().to_vec());
        let demand = TcbDemand::Statuses(vec![TcbStatus::UpToDate]);
        let policy = Policy::of_nodes(vec![MRENCLAVE], demand, Floors::default());
        let clock = Clock { not_before: 0, machine: now(), is_trusted: true };
        let expected = Expectation { anchor: &anchor, policy: &policy, clock, collateral: &() };
        let deadline = || Instant::now() + Duration::from_secs(2);
        let stream = TcpStream::connect(self.node.addr()).unwrap();
        let challenged = Handshaken::connect(stream, &self.identity, deadline())?.challenge(&[3; 32], &expected, deadline())?;
        assert_eq!(challenged.node().mrenclave(), &MRENCLAVE);
        let quote = |data: &[u8; 64]| Ok(OwnEvidence { quote: own_quote(&self.pki, data), tee: "tdx" });
        let mut session = challenged.present(quote, Duration::from_secs(2))?;
        vault::export_key(&mut session, HANDLE, deadline()).map(|key| key.material.to_vec())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn honest_node_exports_the_key() {
    assert_eq!(World::with(Misbehaviour::None).exchange().unwrap(), vec![7; 49]);
}

/// Required OIDs cannot be removed, so a policy that requires another value denies every guest permanently.
#[test]
fn certificate_contains_the_app_id_as_policies_require_it() {
    let world = |value: &str| {
        World::requiring(Misbehaviour::None, &serde_json::json!([{ "oid": "1.3.6.1.4.1.65230.4.1", "value": value }]))
    };
    assert_eq!(world(&hex(&[9; 16])).exchange().unwrap(), vec![7; 49]);
    assert!(matches!(world(&hex(&[8; 16])).exchange(), Err(Error::Refused(Refused::Denied))));
}

/// A leaked key of an expired leaf does not authenticate a node, and the dates of a leaf do not affect the agreed time.
#[test]
fn validity_of_a_node_ends_with_its_leaf_if_a_node_ca_issued_it() {
    let world = World::with(Misbehaviour::None);
    let prove_at = |node_ca: &NodeCa, machine: u64| {
        let anchor = Anchor::from_der(world.pki.root_der().to_vec());
        let policy = Policy::of_nodes(vec![MRENCLAVE], TcbDemand::Statuses(vec![TcbStatus::UpToDate]), Floors::default());
        let clock = Clock { not_before: 0, machine, is_trusted: true };
        let expected = Expectation { anchor: &anchor, policy: &policy, clock, collateral: &() };
        let (stream, deadline) = (TcpStream::connect(world.node.addr()).unwrap(), Instant::now() + Duration::from_secs(2));
        let handshaken = Handshaken::connect_within(node_ca, stream, &world.identity, deadline)?;
        handshaken.challenge(&[3; 32], &expected, deadline).map(|challenged| challenged.node().clone())
    };
    let prove = |node_ca: &NodeCa| prove_at(node_ca, now());
    let alone = prove(&NodeCa::default()).unwrap();
    let certified = prove(&NodeCa::of(vec![world.node.ca_der()])).unwrap();
    let in_two_days = now() + 2 * 86_400;
    assert!(alone.is_valid_at(in_two_days) && certified.is_valid_at(now()) && !certified.is_valid_at(in_two_days));
    // An operator's clock is trusted, so the leaf must be valid at its time.
    let expired = prove_at(&NodeCa::of(vec![world.node.ca_der()]), in_two_days);
    assert!(matches!(expired, Err(ratls::Error::Leaf(LeafError::Validity))));
    assert!(prove_at(&NodeCa::default(), in_two_days).is_ok());
    // The node generates its collateral each time; its leaf is valid since minutes before.
    assert!(certified.issued().abs_diff(alone.issued()) < 60, "{} and {}", certified.issued(), alone.issued());
    assert_eq!(certified.tcb(), alone.tcb());
    let other = World::with(Misbehaviour::None);
    assert!(matches!(prove(&NodeCa::of(vec![other.node.ca_der()])), Err(ratls::Error::Leaf(LeafError::NodeCa))));
}

/// A node accepts evidence of the last day by its own clock, and the machine's clock is set by the host.
#[test]
fn client_repeats_the_node_s_time() {
    for seconds in [-10 * 86_400, 86_400] {
        assert_eq!(World::with(Misbehaviour::WrongClock(seconds)).exchange().unwrap(), vec![7; 49], "{seconds}");
    }
}

#[test]
fn each_misbehaviour_of_a_node_has_its_own_error() {
    type Check = fn(&Error) -> bool;
    let cases: [(Misbehaviour, Check); 27] = [
        (Misbehaviour::Down, |e| matches!(e, Error::Session(Session::Stream(Step::Handshake, _) | Session::Tls(_)))),
        (Misbehaviour::HangAfterAccept, |e| matches!(e, Error::Session(Session::Deadline(Step::Handshake)))),
        (Misbehaviour::HangAfterHandshake, |e| matches!(e, Error::Session(Session::Deadline(Step::Challenge)))),
        (Misbehaviour::Unavailable, |e| matches!(e, Error::Session(Session::Status(Step::Challenge, 503)))),
        (Misbehaviour::Deny, |e| matches!(e, Error::Refused(Refused::Denied))),
        (Misbehaviour::Expired, |e| matches!(e, Error::Refused(Refused::Expired))),
        (Misbehaviour::WrongMrenclave, |e| matches!(e, Error::Session(Session::Node(VerifyError::Mrenclave(_))))),
        (Misbehaviour::DebugEnclave, |e| matches!(e, Error::Session(Session::Node(VerifyError::Debug)))),
        (Misbehaviour::StaleQuote, |e| matches!(e, Error::Session(Session::Node(VerifyError::ReportData)))),
        (Misbehaviour::OtherConnection, |e| matches!(e, Error::Session(Session::Node(VerifyError::ReportData)))),
        (Misbehaviour::Reflection, |e| matches!(e, Error::Session(Session::Node(VerifyError::NotSgx)))),
        (Misbehaviour::WrongSpki, |e| matches!(e, Error::Session(Session::Node(VerifyError::ReportData)))),
        (Misbehaviour::HalfReportData, |e| matches!(e, Error::Session(Session::Node(VerifyError::ReportData)))),
        (Misbehaviour::Tls12, |e| matches!(e, Error::Session(Session::Tls(_)))),
        (Misbehaviour::Oversize, |e| {
            matches!(e, Error::Session(Session::Protocol(Step::Challenge, "answer longer than the limit")))
        }),
        (Misbehaviour::Echo, |e| matches!(e, Error::Session(Session::Protocol(Step::Request, "answer is not one of a vault")))),
        (Misbehaviour::NoCollateral, |e| matches!(e, Error::Session(Session::Collateral(None)))),
        (Misbehaviour::ExpiredCollateral, |e| matches!(e, Error::Session(Session::Node(VerifyError::Expired(_))))),
        (Misbehaviour::ForeignCollateral, |e| matches!(e, Error::Session(Session::Node(_)))),
        (Misbehaviour::ForeignRoot, |e| matches!(e, Error::Session(Session::Node(VerifyError::Anchor)))),
        (Misbehaviour::RevokedPck, |e| matches!(e, Error::Session(Session::Node(VerifyError::Revoked(Role::PckLeaf))))),
        (Misbehaviour::OutOfDate, |e| matches!(e, Error::Session(Session::Node(VerifyError::TcbStatus(_))))),
        (Misbehaviour::PresentStatus(400), |e| matches!(e, Error::Session(Session::EvidenceMalformed))),
        (Misbehaviour::PresentStatus(403), |e| matches!(e, Error::Session(Session::EvidenceRefused))),
        (Misbehaviour::PresentStatus(500), |e| matches!(e, Error::Session(Session::Status(Step::Present, 500)))),
        (Misbehaviour::FrozenClock(-60), |e| matches!(e, Error::Session(Session::Status(Step::Present, 503)))),
        (Misbehaviour::Slow(Duration::from_secs(5)), |e| matches!(e, Error::Session(Session::Deadline(_)))),
    ];
    for (misbehaviour, check) in cases {
        let name = format!("{misbehaviour:?}");
        match World::with(misbehaviour).exchange() {
            Ok(_) => panic!("{name}: the node exported a key"),
            Err(error) => assert!(check(&error), "{name}: {error:?}"),
        }
    }
}
