//! Genuine answers of Intel, served in all forms that a PCS or a PCCS uses: HTTP and HTTPS, revocation lists in DER, hexadecimal and PEM,
//! header names in any case, with Content-Length or until the end of the connection.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what it expects")]
#![expect(clippy::disallowed_methods, reason = "runs the program under test")]

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use encoding::hex;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

const ROOT: &str = "../../initrd/anchors/intel-sgx-root.der";
const QUOTE: &str = "../../tests/vectors/dcap-qvl/sgx_quote";
const COLLATERAL: &[u8] = include_bytes!("../../../tests/vectors/dcap-qvl/sgx_quote_collateral.json");
const TIME: &str = "2025-06-25T00:00:00Z";

#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    Der,
    Hex,
    Pem,
}

/// How the server writes its answers.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a way to differ from the usual, and cases name the one they take")]
struct Form {
    is_tls: bool,
    /// A certificate that cannot be parsed: OpenSSL's usual command makes X.509 v1, and the client must not look at it.
    odd_certificate: bool,
    root_crl: List,
    pck_crl: List,
    upper_case: bool,
    with_length: bool,
    close_notify: bool,
    chunked: bool,
    status: u16,
}

const USUAL: Form = Form {
    is_tls: false,
    odd_certificate: false,
    root_crl: List::Der,
    pck_crl: List::Der,
    upper_case: false,
    with_length: true,
    close_notify: true,
    chunked: false,
    status: 200,
};
/// Intel's reference PCCS: express, HTTPS with a certificate of its own, the root CRL in hexadecimal.
const PCCS: Form = Form { is_tls: true, root_crl: List::Hex, ..USUAL };

/// The genuine parts of `COLLATERAL`.
fn answer(path: &str, form: Form) -> Vec<u8> {
    let json: Value = serde_json::from_slice(COLLATERAL).unwrap();
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    let list = |name: &str, form: List| {
        let der = hex::decode_any_case(text(name).as_bytes()).unwrap();
        match form {
            List::Der => der,
            List::Hex => text(name).into_bytes(),
            List::Pem => format!("-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n", STANDARD.encode(der)).into_bytes(),
        }
    };
    let signed = |inner: &str, name: &str| {
        format!("{{\"{inner}\":{},\"signature\":\"{}\"}}", text(name), text(&format!("{name}_signature"))).into_bytes()
    };
    let (header, chain, body) = match path.split('?').next().unwrap() {
        "/sgx/certification/v4/tcb" => ("TCB-Info-Issuer-Chain", "tcb_info_issuer_chain", signed("tcbInfo", "tcb_info")),
        "/sgx/certification/v4/qe/identity" => {
            ("SGX-Enclave-Identity-Issuer-Chain", "qe_identity_issuer_chain", signed("enclaveIdentity", "qe_identity"))
        }
        "/sgx/certification/v4/pckcrl" => ("SGX-PCK-CRL-Issuer-Chain", "pck_crl_issuer_chain", list("pck_crl", form.pck_crl)),
        "/sgx/certification/v4/rootcacrl" => ("X-Nothing", "", list("root_ca_crl", form.root_crl)),
        _ => ("X-Nothing", "", Vec::new()),
    };
    // encodeURIComponent, as express and Intel write it.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte);
    let encode = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let chain: String = if chain.is_empty() { String::new() } else { text(chain).bytes().map(encode).collect() };
    let case = |name: &str| if form.upper_case { name.to_uppercase() } else { name.to_lowercase() };
    let length = if form.with_length { format!("{}: {}\r\n", case("Content-Length"), body.len()) } else { String::new() };
    let coding = if form.chunked { "Transfer-Encoding: chunked\r\n" } else { "" };
    let head = format!("HTTP/1.1 {} X\r\nX-Powered-By: Express\r\n{}: {chain}\r\n", form.status, case(header));
    [format!("{head}{length}{coding}Connection: close\r\n\r\n").into_bytes(), body].concat()
}

fn tls(form: Form) -> Arc<ServerConfig> {
    let key = dcap::Key::generate().unwrap();
    let leaf = dcap::Identity::self_signed(dcap::CertSpec::new("localhost", 1_750_000_000), key.clone()).unwrap();
    let der = if form.odd_certificate { vec![0x30, 3, 2, 1, 0] } else { leaf.der };
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8()));
    let signing = rustls::crypto::ring::sign::any_supported_type(&private).unwrap();
    let certified = Arc::new(CertifiedKey::new(vec![CertificateDer::from(der)], signing));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    Arc::new(config)
}

fn serve_one(stream: &mut (impl Read + Write), form: Form) -> Option<()> {
    let mut line = String::new();
    let mut reader = BufReader::new(&mut *stream);
    reader.read_line(&mut line).ok()?;
    assert!(line.ends_with(" HTTP/1.0\r\n"), "{line}");
    let path = line.split(' ').nth(1)?.to_owned();
    while reader.read_line(&mut line).ok()? > 2 {}
    stream.write_all(&answer(&path, form)).ok()?;
    stream.flush().ok()
}

/// Starts such a server and returns its address.
fn serve(form: Form) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("{}://{}", if form.is_tls { "https" } else { "http" }, listener.local_addr().unwrap());
    let config = tls(form);
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            if !form.is_tls {
                serve_one(&mut stream, form);
                continue;
            }
            let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
            if serve_one(&mut tls, form).is_some() && form.close_notify {
                tls.conn.send_close_notify();
                tls.conn.complete_io(&mut tls.sock).ok();
            }
        }
    });
    url
}

/// The last line of `cvmctl quote verify` with these sources.
fn verify_with(sources: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cvmctl"));
    command.args(["quote", "verify", QUOTE, "--anchor", ROOT, "--at", TIME, "--tcb", "ConfigurationAndSWHardeningNeeded"]);
    for source in sources {
        command.args(["--collateral", source]);
    }
    let output = command.output().unwrap();
    let message = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8(message).unwrap().lines().last().unwrap_or_default().to_owned()
}

#[test]
fn every_form_that_intel_and_its_caches_use_is_read() {
    let cases = [
        ("a PCS", USUAL),
        ("a stock PCCS", PCCS),
        ("PEM lists", Form { root_crl: List::Pem, pck_crl: List::Pem, ..USUAL }),
        ("hexadecimal lists", Form { root_crl: List::Hex, pck_crl: List::Hex, ..USUAL }),
        ("upper-case names", Form { upper_case: true, ..PCCS }),
        ("up to the end", Form { with_length: false, ..USUAL }),
        ("up to the end, TLS", Form { with_length: false, ..PCCS }),
        ("no close_notify", Form { close_notify: false, ..PCCS }),
        ("a certificate that no one can read", Form { odd_certificate: true, ..PCCS }),
    ];
    for (name, form) in cases {
        assert_eq!(verify_with(&[&serve(form)]), "verified", "{name}");
    }
}

#[test]
fn what_a_cache_gets_wrong_is_named_with_its_address() {
    let plain = serve(USUAL);
    let cases = [
        (serve(Form { chunked: true, ..USUAL }), "TCB info: answer with a transfer encoding"),
        (serve(Form { status: 404, ..PCCS }), "TCB info: http status 404"),
        (plain.replace("http:", "https:"), "TCB info: "),
        (serve(PCCS).replace("https:", "http:"), "TCB info: "),
        ("http://127.0.0.1:1".to_owned(), "TCB info: connection refused"),
    ];
    for (url, want) in cases {
        let message = verify_with(&[&url]);
        assert!(message.starts_with(&format!("cvmctl: collateral cache: {url}: {want}")), "{message}");
    }
    let dead = "http://127.0.0.1:1";
    assert_eq!(verify_with(&[dead, &serve(PCCS)]), "verified", "another cache will do");
    assert_eq!(verify_with(&[dead, "../../tests/vectors/dcap-qvl/sgx_quote_collateral.json"]), "verified", "and so will a file");
    assert!(
        verify_with(&["https://localhost"]).contains("expected the address of a cache, http://HOST:PORT or https://HOST:PORT")
    );
}
