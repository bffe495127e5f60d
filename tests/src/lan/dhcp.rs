//! DHCP servers, honest and hostile. Written from RFC 2131, independent of the client's code.

use std::net::Ipv4Addr;

use super::frame::{self, Datagram};

pub(crate) const DISCOVER: u8 = 1;
pub(crate) const OFFER: u8 = 2;
pub(crate) const REQUEST: u8 = 3;
pub(crate) const ACK: u8 = 5;
pub(crate) const NAK: u8 = 6;

/// The address of the server and of the router.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The address that the server leases.
pub(crate) const LEASED: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 77);
/// Options by code.
pub(crate) type Options = Vec<(u8, Vec<u8>)>;

/// Offset of the options in a message.
const OPTIONS: usize = 240;

/// The guest's DHCP message in a frame, and its type.
pub(crate) fn request(bytes: &[u8]) -> Option<(u8, Datagram<'_>)> {
    let datagram = frame::udp(bytes).filter(|datagram| datagram.to.port() == 67)?;
    let mut options = datagram.payload.get(OPTIONS..)?;
    while let [code, length, rest @ ..] = options {
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        if *code == 53 {
            return Some((*value.first()?, datagram));
        }
        options = rest;
    }
    None
}

/// The options of an honest server: mask, router, lease time.
pub(crate) fn honest() -> Options {
    vec![(1, vec![255, 255, 255, 0]), (3, SERVER.octets().to_vec()), (51, 3600_u32.to_be_bytes().to_vec())]
}

/// The answer of type `kind` to `asked` with these options; `spoil` changes the message before it is sent.
pub(crate) fn answer(
    asked: &Datagram<'_>,
    kind: u8,
    options: &[(u8, Vec<u8>)],
    spoil: impl FnOnce(&mut Vec<u8>),
) -> Option<Vec<u8>> {
    let mut message = asked.payload.get(..OPTIONS)?.to_vec();
    *message.first_mut()? = 2;
    let leased = if kind == NAK { Ipv4Addr::UNSPECIFIED } else { LEASED };
    message.get_mut(16..20)?.copy_from_slice(&leased.octets());
    message.extend([53, 1, kind, 54, 4]);
    message.extend(SERVER.octets());
    for (code, value) in options {
        message.extend([*code, u8::try_from(value.len()).unwrap_or(u8::MAX)]);
        message.extend(value);
    }
    message.push(255);
    spoil(&mut message);
    frame::udp_to_guest(asked.mac, (SERVER, 67), (Ipv4Addr::BROADCAST, 68), &message)
}

/// The honest answer to a DISCOVER or a REQUEST.
pub(crate) fn serve(kind: u8, asked: &Datagram<'_>, options: &[(u8, Vec<u8>)]) -> Vec<Vec<u8>> {
    let kind = if kind == DISCOVER { OFFER } else { ACK };
    answer(asked, kind, options, |_| ()).into_iter().collect()
}

/// Answers that a client must refuse: for other clients, truncated, oversized, with wrong masks, addresses and names.
pub(crate) fn hostile(kind: u8, asked: &Datagram<'_>) -> Vec<Vec<u8>> {
    type Spoil = Box<dyn FnOnce(&mut Vec<u8>)>;
    let kind = if kind == DISCOVER { OFFER } else { ACK };
    let spoils: Vec<(Options, Spoil)> = vec![
        // A hardware address longer than its field.
        (honest(), Box::new(|message| message.iter_mut().skip(2).take(1).for_each(|length| *length = 255))),
        (honest(), Box::new(|message| message.iter_mut().skip(4).take(4).for_each(|xid| *xid ^= 0xff))),
        (honest(), Box::new(|message| message.truncate(100))),
        (honest(), Box::new(|message| message.truncate(message.len() - 4))),
        // Longer than a frame, and than the client announced.
        (honest(), Box::new(|message| message.resize(8000, 0))),
        // An address that cannot be leased, and a mask with holes.
        (honest(), Box::new(|message| message.iter_mut().skip(16).take(4).for_each(|octet| *octet = 255))),
        (vec![(1, vec![255, 0, 255, 0])], Box::new(|_| ())),
        (vec![(1, vec![255])], Box::new(|_| ())),
        // Names that point to themselves or are too long, and an option whose length is fixed at another value.
        (
            vec![(119, vec![0xc0, 0]), (15, vec![b'a'; 255]), (12, vec![b'.'; 255]), (152, vec![1; 3]), (1, vec![])],
            Box::new(|_| ()),
        ),
    ];
    spoils.into_iter().filter_map(|(options, spoil)| answer(asked, kind, &options, spoil)).collect()
}
