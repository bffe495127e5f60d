//! Time to verify one vault, compared with one P-256 verification. It contains nine: quote, quoting enclave, PCK leaf and its
//! authority, TCB signer, TCB info, QE identity, two revocation lists. Run: `initrd/cargo-in-tools-tree bench -p attest`.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a benchmark says what it measured")]

use std::time::{Duration, Instant};

use attest::{Anchor, Collateral, Floors, Policy, TcbDemand, TcbStatus, verify_node};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey};

const ROUNDS: u32 = 200;
/// 2025-06-25, inside the collateral's windows.
const NOW: u64 = 1_750_809_600;

fn main() {
    let quote: &[u8] = include_bytes!("../../../tests/vectors/dcap-qvl/sgx_quote");
    let collateral = Collateral::from_json(include_bytes!("../../../tests/vectors/dcap-qvl/sgx_quote_collateral.json")).unwrap();
    let anchor = Anchor::from_der(include_bytes!("../../../initrd/anchors/intel-sgx-root.der").to_vec());
    let (mrenclave, report_data) = (quote[112..144].try_into().unwrap(), quote[368..432].try_into().unwrap());
    let statuses = TcbDemand::Statuses(vec![TcbStatus::ConfigurationAndSwHardeningNeeded]);
    let policies = [statuses, TcbDemand::Signature].map(|demand| Policy::of_nodes(vec![mrenclave], demand, Floors::default()));

    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref(), &random).unwrap();
    let signature = key.sign(&random, quote).unwrap();
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.public_key().as_ref());
    let one = mean(|| public.verify(quote, signature.as_ref()).unwrap());

    println!("one P-256 signature: {one:?}");
    for (name, policy) in ["with collateral", "signatures alone"].into_iter().zip(&policies) {
        let took = mean(|| drop(verify_node(quote, &report_data, &anchor, Some(&collateral), policy, NOW).unwrap()));
        println!("one vault, {name}: {took:?}, {:.1} signatures", took.as_secs_f64() / one.as_secs_f64());
    }
}

/// The mean over all rounds, after a tenth of them unmeasured.
fn mean(mut work: impl FnMut()) -> Duration {
    (0..ROUNDS / 10).for_each(|_| work());
    let start = Instant::now();
    (0..ROUNDS).for_each(|_| work());
    start.elapsed() / ROUNDS
}
