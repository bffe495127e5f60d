//! Connections: one request at a time, and none that is idle for long.

use std::thread;
use std::time::{Duration, Instant};

use vault_node::{Misbehaviour, Node, NodeConfig};

use crate::guest::{Guest, HANDLE, World};
use crate::link::material;

#[test]
fn slow_attestation_server_delays_every_other_request() {
    let delay = Duration::from_millis(600);
    let world = World::new();
    let (node, guest) = (world.node(Misbehaviour::SlowAttestation(delay)), Guest::new(&world));
    node.put_key(HANDLE, vec![7; 49], world.policy()).unwrap();
    let mut first = guest.unlock(node.addr()).unwrap();
    let mut second = guest.dial(node.addr()).unwrap();
    let begun = Instant::now();
    thread::scope(|scope| {
        let exporting = scope.spawn(|| material(&first.export(HANDLE)));
        // The first request is served once it is at the attestation server.
        while node.served().attestation_calls == 0 {
            thread::yield_now();
        }
        second.challenge(&[1; 32]).unwrap();
        assert!(begun.elapsed() >= delay, "{:?}", begun.elapsed());
        assert_eq!(exporting.join().unwrap(), [7; 49]);
    });
}

#[test]
fn a_connection_that_idles_is_dropped_and_one_that_is_used_is_not() {
    let world = World::new();
    let guest = Guest::new(&world);
    let node = Node::start(NodeConfig { idle_timeout: Duration::from_millis(300), ..world.config("vault") }).unwrap();
    node.put_key(HANDLE, vec![7; 49], world.policy()).unwrap();
    let mut used = guest.unlock(node.addr()).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(600) {
        assert_eq!(material(&used.export(HANDLE)), [7; 49]);
    }
    let mut idle = guest.unlock(node.addr()).unwrap();
    let mut end = [0; 1];
    let begun = Instant::now();
    let read = std::io::Read::read(&mut idle.tls.sock, &mut end);
    assert!(matches!(read, Ok(0) | Err(_)) && begun.elapsed() < Duration::from_secs(20), "{read:?}");
    assert!(idle.post("/data", b"\"ListKeys\"", None).is_err(), "the node is gone");
    assert_eq!(material(&guest.unlock(node.addr()).unwrap().export(HANDLE)), [7; 49], "and takes the next");
}
