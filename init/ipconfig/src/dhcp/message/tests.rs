use proptest::prelude::*;

use super::super::options::tests::reply;
use super::*;
use crate::frame::tests::from_server;

const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
const TRANSACTION: Transaction = Transaction { mac: MAC, xid: 7 };
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// A server's frame with the usual options; those in `changed` replace them, and an empty value removes the option.
fn answer(kind: u8, address: [u8; 4], changed: &[(u8, &[u8])]) -> Vec<u8> {
    let kind = [kind];
    let server = SERVER.octets();
    let usual: [(u8, &[u8]); 4] = [
        (options::MESSAGE_TYPE, &kind),
        (options::SERVER, &server),
        (options::SUBNET_MASK, &[255, 255, 255, 0]),
        (options::ROUTER, &server),
    ];
    let kept = usual.iter().filter(|(code, _)| changed.iter().all(|(other, _)| other != code));
    let all: Vec<_> = kept.chain(changed.iter().filter(|(_, value)| !value.is_empty())).copied().collect();
    from_server(&reply(MAC, 7, address, &all))
}

fn lease(changed: &[(u8, &[u8])]) -> Option<Lease> {
    match TRANSACTION.read_answer(&answer(ACK, [10, 0, 2, 15], changed), SERVER)? {
        Answer::Leased(lease) => Some(*lease),
        Answer::Refused => None,
    }
}

fn with(code: u8, value: &[u8]) -> Lease {
    lease(&[(code, value)]).unwrap()
}

fn route(destination: [u8; 4], prefix: u8, gateway: Option<[u8; 4]>) -> Route {
    Route { destination: destination.into(), prefix, gateway: gateway.map(IpAddr::from) }
}

#[test]
fn all_values_of_an_acknowledgement_are_read() {
    let want = Lease {
        address: Ipv4Addr::new(10, 0, 2, 15),
        prefix: 24,
        routes: vec![route([0; 4], 0, Some([10, 0, 2, 2]))],
        resolvers: vec![Ipv4Addr::new(10, 0, 2, 3)],
        mtu: None,
        lifetime: Some(Duration::from_secs(3600)),
    };
    assert_eq!(lease(&[(options::LEASE_TIME, &[0, 0, 14, 16]), (options::NAME_SERVER, &[10, 0, 2, 3])]), Some(want));
    assert_eq!(with(options::LEASE_TIME, &[255; 4]).lifetime, None);
}

#[test]
fn lease_without_a_router_has_no_routes_and_without_a_mask_no_neighbours() {
    assert_eq!(with(options::ROUTER, &[]).routes, []);
    assert_eq!(with(options::SUBNET_MASK, &[]).prefix, 32);
}

#[test]
fn router_outside_the_subnet_comes_with_a_route_to_it() {
    let lease = with(options::SUBNET_MASK, &[255; 4]);
    assert_eq!(lease.routes, [route([10, 0, 2, 2], 32, None), route([0; 4], 0, Some([10, 0, 2, 2]))]);
}

#[test]
fn classless_routes_replace_the_router_option() {
    let lease = with(
        options::CLASSLESS_ROUTES,
        &[
            16, 10, 9, 10, 0, 2, 3, // by a router
            32, 169, 254, 169, 254, 0, 0, 0, 0, // on the link
            8, 127, 10, 0, 2, 3, // loopback
            16, 10, 8, 224, 0, 0, 1, // by a multicast group
            0, 10, 0, 2, 4, // default route
        ],
    );
    let want = [
        route([10, 9, 0, 0], 16, Some([10, 0, 2, 3])),
        route([169, 254, 169, 254], 32, None),
        route([0; 4], 0, Some([10, 0, 2, 4])),
    ];
    assert_eq!(lease.routes, want);
}

#[test]
fn long_lists_are_cut_to_their_bounds() {
    let many: Vec<u8> = (1..=60).flat_map(|n| [10, 0, 3, n]).collect();
    assert_eq!(with(options::ROUTER, &many).routes.len(), 2, "the first of 60 routers, and the route to it");
    assert_eq!(with(options::NAME_SERVER, &many).resolvers.len(), RESOLVERS_MAX);
    let routes: Vec<u8> = (1..=30).flat_map(|n| [16, 10, 9, 10, 0, 3, n]).collect();
    assert_eq!(with(options::CLASSLESS_ROUTES, &routes).routes.len(), ROUTES_MAX);
}

#[test]
fn mtu_out_of_range_is_left_out() {
    for (mtu, want) in [(0, None), (576, None), (1279, None), (1280, Some(1280)), (9216, Some(9216)), (65535, None)] {
        let mtu: u16 = mtu;
        assert_eq!(with(options::MTU, &mtu.to_be_bytes()).mtu, want, "{mtu}");
    }
}

#[test]
fn offers_without_a_usable_lease_are_ignored() {
    let offered = |address, changed: &[(u8, &[u8])]| TRANSACTION.read_offer(&answer(OFFER, address, changed));
    assert_eq!(offered([10, 0, 2, 15], &[]), Some(Offer { address: Ipv4Addr::new(10, 0, 2, 15), server: SERVER }));
    for address in [[0; 4], [255; 4], [127, 0, 0, 1], [224, 0, 0, 1]] {
        assert_eq!(offered(address, &[]), None, "{address:?}");
    }
    let cases: [(&str, (u8, &[u8])); 4] = [
        ("no server", (options::SERVER, &[])),
        ("half a server", (options::SERVER, &[10, 0])),
        ("mask with holes", (options::SUBNET_MASK, &[255, 0, 255, 0])),
        ("mask of another length", (options::SUBNET_MASK, &[255, 255, 0])),
    ];
    for (name, change) in cases {
        assert_eq!(offered([10, 0, 2, 15], &[change]), None, "{name}");
    }
}

#[test]
fn answers_of_other_servers_are_ignored() {
    let other = Ipv4Addr::new(10, 0, 2, 3);
    let ack = answer(ACK, [10, 0, 2, 15], &[]);
    assert!(matches!(TRANSACTION.read_answer(&ack, SERVER), Some(Answer::Leased(_))));
    assert_eq!(TRANSACTION.read_answer(&answer(NAK, [0; 4], &[]), SERVER), Some(Answer::Refused));
    assert_eq!(TRANSACTION.read_answer(&ack, other), None);
    assert_eq!(TRANSACTION.read_answer(&answer(OFFER, [10, 0, 2, 15], &[]), SERVER), None);
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(tail in proptest::collection::vec(any::<u8>(), 0..300), at in 0..240_usize, byte: u8) {
        let mut message = reply(MAC, 7, [10, 0, 2, 15], &[(options::MESSAGE_TYPE, &[ACK]), (options::SERVER, &SERVER.octets())]);
        message.pop();
        message.extend(tail);
        message[at] = byte;
        if let Some(Answer::Leased(lease)) = TRANSACTION.read_answer(&from_server(&message), SERVER) {
            prop_assert!(lease.routes.len() <= ROUTES_MAX && lease.resolvers.len() <= RESOLVERS_MAX);
        }
    }
}
