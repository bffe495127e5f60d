//! DNS queries, and the answers of a name server. Answers are not trusted: a vault at the address must still attest itself.
//!
//! Source: RFC 1035; RFC 5452 (matching answers to queries); RFC 7766 (TCP).

use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

/// The longest answer, in bytes: the maximum of the length field over TCP.
pub const ANSWER_MAX: usize = 65_535;
/// The most addresses that are used of one answer.
const ADDRESSES_MAX: usize = 8;
/// The most CNAME records that are followed within one answer; a chain may be a loop.
const ALIASES_MAX: usize = 8;

/// The record type of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

impl Kind {
    const fn record(self) -> RecordType {
        match self {
            Self::A => RecordType::A,
            Self::Aaaa => RecordType::AAAA,
        }
    }
}

/// The content of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Addresses that a host can have, at most eight; empty when the name has no record of this type.
    Addresses(Vec<IpAddr>),
    /// A CNAME without the addresses of its target: the query for the target.
    Cname(Question),
    /// The answer is truncated: repeat the query over TCP.
    Truncated,
    /// The name does not exist (`NXDOMAIN`).
    NoSuchName,
    /// The server failed or refused (`SERVFAIL`, `REFUSED`, ...): its response code.
    Failed(u16),
}

/// A query for the addresses of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question(Name);

impl Question {
    /// Creates a query for a host name of the policy, which is absolute with and without a final dot.
    #[must_use]
    pub fn new(host: &str) -> Option<Self> {
        let mut name = Name::from_ascii(host).ok()?;
        name.set_fqdn(true);
        Some(Self(name))
    }

    /// Encodes the query with a random `id`.
    #[must_use]
    pub fn message(&self, id: u16, kind: Kind) -> Option<Vec<u8>> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(self.0.clone(), kind.record()));
        message.to_vec().ok()
    }

    /// Decodes the answer to [`Question::message`]; `None` when `bytes` is not an answer to this query.
    #[must_use]
    pub fn answer(&self, id: u16, kind: Kind, bytes: &[u8]) -> Option<Answer> {
        let message = Message::from_vec(bytes).ok()?;
        let header = &message.metadata;
        let asked = matches!(message.queries.as_slice(), [query]
            if query.query_type() == kind.record() && query.query_class() == DNSClass::IN && *query.name() == self.0);
        if header.id != id || header.message_type != MessageType::Response || header.op_code != OpCode::Query || !asked {
            return None;
        }
        match header.response_code {
            _ if header.truncation => return Some(Answer::Truncated),
            ResponseCode::NoError => {}
            ResponseCode::NXDomain => return Some(Answer::NoSuchName),
            other => return Some(Answer::Failed(other.into())),
        }
        let mut name = &self.0;
        for _ in 0..ALIASES_MAX {
            let own = || message.answers.iter().filter(|record| record.dns_class == DNSClass::IN && record.name == *name);
            let addresses: Vec<IpAddr> = own().filter_map(|record| address(&record.data, kind)).take(ADDRESSES_MAX).collect();
            if !addresses.is_empty() {
                return Some(Answer::Addresses(addresses));
            }
            let alias = own().find_map(|record| if let RData::CNAME(to) = &record.data { Some(&to.0) } else { None });
            match alias {
                Some(to) => name = to,
                None if *name == self.0 => return Some(Answer::Addresses(Vec::new())),
                None => return Some(Answer::Cname(Self(name.clone()))),
            }
        }
        Some(Answer::Addresses(Vec::new()))
    }
}

/// Returns the address of a record, if it has the type `kind` and a host on the network can have the address.
fn address(data: &RData, kind: Kind) -> Option<IpAddr> {
    match (data, kind) {
        (RData::A(a), Kind::A) => {
            let ip = a.0;
            let special = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.is_broadcast();
            (!special).then_some(ip.into())
        }
        (RData::AAAA(aaaa), Kind::Aaaa) => {
            let ip = aaaa.0;
            let special = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.is_unicast_link_local();
            (!special && ip.to_ipv4_mapped().is_none()).then_some(ip.into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, AAAA, CNAME};
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Question::new(text).unwrap().0
    }

    fn a(owner: &str, ip: [u8; 4]) -> Record {
        Record::from_rdata(name(owner), 60, RData::A(A(ip.into())))
    }

    fn cname(owner: &str, to: &str) -> Record {
        Record::from_rdata(name(owner), 60, RData::CNAME(CNAME(name(to))))
    }

    /// Decodes an answer to the query 7 for A records of vault.example, after `change`.
    fn read(change: impl FnOnce(&mut Message)) -> Option<Answer> {
        let mut message = Message::new(7, MessageType::Response, OpCode::Query);
        message.add_query(Query::query(name("vault.example"), RecordType::A));
        change(&mut message);
        Question::new("vault.example").unwrap().answer(7, Kind::A, &message.to_vec().unwrap())
    }

    fn addresses(list: &[[u8; 4]]) -> Answer {
        Answer::Addresses(list.iter().copied().map(IpAddr::from).collect())
    }

    /// As `dig +noedns +noad @server vault.example A` sends it, with the ID 7.
    #[test]
    fn question_is_what_dig_sends() {
        let want = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x05vault\x07example\0\0\x01\0\x01";
        assert_eq!(Question::new("vault.example").unwrap().message(7, Kind::A).unwrap(), want);
    }

    #[test]
    fn addresses_are_those_of_the_name_and_of_its_cname() {
        type Change = fn(&mut Message);
        let cases: [(&str, Change, Answer); 6] = [
            ("direct", |m| drop(m.add_answer(a("vault.example", [10, 0, 0, 1])).clone()), addresses(&[[10, 0, 0, 1]])),
            ("of another name", |m| drop(m.add_answer(a("evil.example", [10, 0, 0, 1])).clone()), addresses(&[])),
            ("nothing", |_| (), addresses(&[])),
            (
                "alias",
                |m| drop(m.add_answers([cname("vault.example", "b.example"), a("b.example", [10, 0, 0, 2])]).clone()),
                addresses(&[[10, 0, 0, 2]]),
            ),
            (
                "alias without its address",
                |m| drop(m.add_answer(cname("vault.example", "b.example")).clone()),
                Answer::Cname(Question::new("b.example").unwrap()),
            ),
            ("alias of itself", |m| drop(m.add_answer(cname("vault.example", "vault.example")).clone()), addresses(&[])),
        ];
        for (what, change, want) in cases {
            assert_eq!(read(change), Some(want), "{what}");
        }
    }

    #[test]
    fn addresses_that_no_vault_can_have_are_left_out() {
        let special = [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255]].map(|ip| a("vault.example", ip));
        assert_eq!(read(|m| drop(m.add_answers(special).clone())), Some(addresses(&[])));
        for ip in ["::", "::1", "ff02::1", "fe80::1", "::ffff:10.0.0.1"] {
            assert_eq!(address(&RData::AAAA(AAAA(ip.parse().unwrap())), Kind::Aaaa), None, "{ip}");
        }
    }

    #[test]
    fn flood_of_addresses_is_cut() {
        let many = (0..200).map(|n| a("vault.example", [10, 0, 0, n]));
        let Some(Answer::Addresses(taken)) = read(|m| drop(m.add_answers(many).clone())) else { panic!("no addresses") };
        assert_eq!(taken.len(), ADDRESSES_MAX);
    }

    #[test]
    fn failed_server_differs_from_a_missing_name() {
        let coded = |code| read(|m| m.metadata.response_code = code);
        assert_eq!(coded(ResponseCode::NXDomain), Some(Answer::NoSuchName));
        assert_eq!(coded(ResponseCode::ServFail), Some(Answer::Failed(2)));
        assert_eq!(coded(ResponseCode::Refused), Some(Answer::Failed(5)));
        assert_eq!(read(|m| m.metadata.truncation = true), Some(Answer::Truncated));
    }

    #[test]
    fn answers_to_another_query_are_ignored() {
        type Change = fn(&mut Message);
        let cases: [(&str, Change); 5] = [
            ("ID", |m| m.metadata.id = 8),
            ("a query", |m| m.metadata.message_type = MessageType::Query),
            ("no question", |m| m.queries.clear()),
            ("another name", |m| m.queries = vec![Query::query(name("evil.example"), RecordType::A)]),
            ("another kind", |m| m.queries = vec![Query::query(name("vault.example"), RecordType::AAAA)]),
        ];
        for (what, change) in cases {
            assert_eq!(read(change), None, "{what}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(tail in proptest::collection::vec(any::<u8>(), 0..300), answers: u8) {
            let question = Question::new("vault.example").unwrap();
            let mut bytes = question.message(7, Kind::A).unwrap();
            (bytes[2], bytes[7]) = (0x81, answers);
            bytes.extend(tail);
            drop(question.answer(7, Kind::A, &bytes));
        }
    }
}
