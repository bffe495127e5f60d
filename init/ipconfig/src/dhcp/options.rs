//! Encoding and decoding of DHCP messages: the fixed part, and the options.
//!
//! The crate dhcproto is not used: version 0.15 panics on an answer whose field `hlen` is larger than 16, and little of it is needed.
//!
//! Source: RFC 2131 section 2 (layout), RFC 2132 (options), RFC 3396 (options in several pieces).

use std::net::Ipv4Addr;

/// Length of the fixed part in bytes.
const FIXED_BYTES: usize = 236;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const ETHERNET: u8 = 1;
const BROADCAST: u8 = 0x80;
const PAD: u8 = 0;
const END: u8 = 255;
const OVERLOAD: u8 = 52;

/// Option codes.
pub(super) const SUBNET_MASK: u8 = 1;
pub(super) const ROUTER: u8 = 3;
pub(super) const NAME_SERVER: u8 = 6;
pub(super) const MTU: u8 = 26;
pub(super) const REQUESTED_ADDRESS: u8 = 50;
pub(super) const LEASE_TIME: u8 = 51;
pub(super) const MESSAGE_TYPE: u8 = 53;
pub(super) const SERVER: u8 = 54;
pub(super) const PARAMETERS: u8 = 55;
pub(super) const LARGEST_MESSAGE: u8 = 57;
pub(super) const CLASSLESS_ROUTES: u8 = 121;

/// Encodes a client's message. Its broadcast flag is set, since a kernel may drop unicast to an address that it does not have yet.
/// `secs`: seconds since the client started.
pub(super) fn write(mac: [u8; 6], xid: u32, secs: u16, options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut message = vec![REQUEST, ETHERNET, 6, 0];
    message.extend(xid.to_be_bytes());
    message.extend(secs.to_be_bytes());
    message.extend([BROADCAST, 0]);
    message.extend([0; 16]); // ciaddr, yiaddr, siaddr, giaddr
    message.extend(mac);
    message.resize(FIXED_BYTES, 0);
    message.extend(MAGIC);
    for (code, value) in options {
        message.extend([*code, u8::try_from(value.len()).unwrap_or(u8::MAX)]);
        message.extend(value.iter().take(255));
    }
    message.push(END);
    message
}

/// A server's message (BOOTREPLY).
#[derive(Debug)]
pub(super) struct Reply {
    /// `yiaddr`: the address for the client.
    pub(super) address: Ipv4Addr,
    /// Options in the order of their first piece, with pieces joined. Their size is bounded by the datagram.
    options: Vec<(u8, Vec<u8>)>,
}

impl Reply {
    /// Decodes a message for the client with `mac` and `xid`; `None` for other messages, and when an option is truncated.
    pub(super) fn read(mac: [u8; 6], xid: u32, message: &[u8]) -> Option<Self> {
        let (fixed, rest) = message.split_first_chunk::<FIXED_BYTES>()?;
        let [op, hardware, length, _, x1, x2, x3, x4, ..] = *fixed;
        let chunk = |at: usize| fixed.get(at..)?.first_chunk::<4>().copied();
        let own = op == REPLY && hardware == ETHERNET && length == 6 && fixed.get(28..34)? == mac;
        if !own || u32::from_be_bytes([x1, x2, x3, x4]) != xid {
            return None;
        }
        let mut reply = Self { address: chunk(16)?.into(), options: Vec::new() };
        reply.take(rest.strip_prefix(&MAGIC)?)?;
        // Option overload: options continue in the fields `file` (1) and `sname` (2).
        let overload = reply.get(OVERLOAD).and_then(|value| value.first().copied()).unwrap_or(0);
        if overload & 1 != 0 {
            reply.take(fixed.get(108..FIXED_BYTES)?)?;
        }
        if overload & 2 != 0 {
            reply.take(fixed.get(44..108)?)?;
        }
        Some(reply)
    }

    fn take(&mut self, mut bytes: &[u8]) -> Option<()> {
        while let Some((&code, rest)) = bytes.split_first() {
            match code {
                PAD => bytes = rest,
                END => break,
                _ => {
                    let (&length, rest) = rest.split_first()?;
                    let (value, rest) = rest.split_at_checked(length.into())?;
                    match self.options.iter_mut().find(|(known, _)| *known == code) {
                        Some((_, joined)) => joined.extend(value),
                        None => self.options.push((code, value.to_vec())),
                    }
                    bytes = rest;
                }
            }
        }
        Some(())
    }

    /// Returns the value of an option.
    pub(super) fn get(&self, code: u8) -> Option<&[u8]> {
        self.options.iter().find(|(known, _)| *known == code).map(|(_, value)| value.as_slice())
    }

    /// Returns the value of an option with a fixed size.
    pub(super) fn fixed<const N: usize>(&self, code: u8) -> Option<[u8; N]> {
        self.get(code)?.try_into().ok()
    }

    /// Returns the addresses of an option; an incomplete one at its end is ignored.
    pub(super) fn addresses(&self, code: u8) -> impl Iterator<Item = Ipv4Addr> {
        self.get(code).unwrap_or_default().as_chunks::<4>().0.iter().copied().map(Ipv4Addr::from)
    }

    /// Returns classless routes: destination, prefix length, router. Ends at the first malformed one (RFC 3442).
    pub(super) fn classless_routes(&self) -> Option<Vec<(Ipv4Addr, u8, Ipv4Addr)>> {
        let mut bytes = self.get(CLASSLESS_ROUTES)?;
        let mut routes = Vec::new();
        while let Some((&prefix, rest)) = bytes.split_first() {
            let significant = usize::from(prefix.div_ceil(8));
            let Some((destination, rest)) = rest.split_at_checked(significant).filter(|_| prefix <= 32) else { break };
            let Some((gateway, rest)) = rest.split_first_chunk::<4>() else { break };
            let mut whole = [0; 4];
            whole.iter_mut().zip(destination).for_each(|(to, from)| *to = *from);
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            routes.push((Ipv4Addr::from_bits(u32::from_be_bytes(whole) & mask), prefix, Ipv4Addr::from(*gateway)));
            bytes = rest;
        }
        Some(routes)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A server's message with these options, for the client with `mac` and `xid`.
    pub(crate) fn reply(mac: [u8; 6], xid: u32, address: [u8; 4], options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut message = write(mac, xid, 0, options);
        message[0] = REPLY;
        message[16..20].copy_from_slice(&address);
        message
    }

    #[test]
    fn pieces_of_an_option_are_joined_and_overloaded_fields_are_read() {
        let mac = [2; 6];
        let mut message =
            reply(mac, 7, [10, 0, 0, 5], &[(NAME_SERVER, &[10, 0, 0, 1, 10]), (OVERLOAD, &[3]), (NAME_SERVER, &[0, 0, 2])]);
        message[108..116].copy_from_slice(&[MTU, 2, 5, 120, PAD, END, 1, 1]);
        message[44..51].copy_from_slice(&[ROUTER, 4, 10, 0, 0, 9, END]);
        let read = Reply::read(mac, 7, &message).unwrap();
        assert_eq!(read.addresses(NAME_SERVER).collect::<Vec<_>>(), [[10, 0, 0, 1].into(), Ipv4Addr::new(10, 0, 0, 2)]);
        assert_eq!((read.fixed(MTU), read.addresses(ROUTER).next()), (Some([5, 120]), Some(Ipv4Addr::new(10, 0, 0, 9))));
    }

    #[test]
    fn messages_for_other_clients_and_truncated_ones_are_ignored() {
        type Change = fn(&mut Vec<u8>);
        let cases: [(&str, Change); 8] = [
            ("a request", |m| m[0] = REQUEST),
            ("hardware", |m| m[1] = 6),
            ("hlen of 255, on which dhcproto panics", |m| m[2] = 255),
            ("another transaction", |m| m[7] ^= 1),
            ("another client", |m| m[33] ^= 1),
            ("magic", |m| m[236] ^= 1),
            ("truncated in the fixed part", |m| m.truncate(200)),
            ("truncated in an option", |m| m.truncate(m.len() - 3)),
        ];
        let mac = [2; 6];
        let whole = reply(mac, 7, [10, 0, 0, 5], &[(ROUTER, &[10, 0, 0, 1])]);
        assert!(Reply::read(mac, 7, &whole).is_some());
        for (name, change) in cases {
            let mut message = whole.clone();
            change(&mut message);
            assert!(Reply::read(mac, 7, &message).is_none(), "{name}");
        }
    }

    /// The examples of RFC 3442: prefix lengths of 0, 8, 16, 24, 25 and 32 bits, and malformed ones.
    #[test]
    fn classless_routes_are_read_as_the_rfc_writes_them() {
        type Case<'a> = (&'a [u8], &'a [(&'a str, u8)]);
        let cases: [Case<'_>; 8] = [
            (&[0, 9, 9, 9, 9], &[("0.0.0.0", 0)]),
            (&[8, 10, 9, 9, 9, 9], &[("10.0.0.0", 8)]),
            (&[16, 10, 17, 9, 9, 9, 9, 24, 10, 27, 129, 9, 9, 9, 9], &[("10.17.0.0", 16), ("10.27.129.0", 24)]),
            (&[25, 10, 229, 0, 128, 9, 9, 9, 9], &[("10.229.0.128", 25)]),
            (&[32, 10, 198, 122, 47, 9, 9, 9, 9], &[("10.198.122.47", 32)]),
            (&[16, 10, 17, 9, 9, 9, 9, 33, 1, 2, 3, 4, 9, 9, 9, 9], &[("10.17.0.0", 16)]),
            (&[24, 10], &[]),
            (&[4, 0xff, 9, 9, 9, 9], &[("240.0.0.0", 4)]),
        ];
        for (bytes, want) in cases {
            let message = reply([2; 6], 7, [10, 0, 0, 5], &[(CLASSLESS_ROUTES, bytes)]);
            let routes = Reply::read([2; 6], 7, &message).unwrap().classless_routes().unwrap();
            let got: Vec<_> = routes.iter().map(|(destination, prefix, _)| (destination.to_string(), *prefix)).collect();
            let want: Vec<_> = want.iter().map(|(text, prefix)| ((*text).to_owned(), *prefix)).collect();
            assert_eq!(got, want, "{bytes:?}");
        }
    }

    /// The offsets of RFC 2131, figure 1.
    #[test]
    fn fixed_part_is_240_bytes_with_the_address_at_28() {
        let message = write([2, 0, 0, 0, 0, 1], 0x0102_0304, 5, &[(MESSAGE_TYPE, &[1])]);
        assert_eq!(message[..12], [1, 1, 6, 0, 1, 2, 3, 4, 0, 5, 0x80, 0]);
        assert_eq!((&message[28..34], &message[236..]), (&[2, 0, 0, 0, 0, 1][..], &[99, 130, 83, 99, 53, 1, 1, 255][..]));
    }
}
