//! Name servers that answer wrongly, refuse, or do not answer.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::frame::{self, Datagram};

/// What a name server answers for a name.
#[derive(Debug, Clone)]
pub(crate) enum DnsAnswer {
    /// These addresses, each to questions of its type.
    Addresses(Vec<IpAddr>),
    /// A CNAME, and these addresses for it.
    Alias(&'static str, Vec<IpAddr>),
    /// A truncated answer over UDP, and these addresses over TCP.
    OverTcp(Vec<IpAddr>),
    /// A response code.
    Code(ResponseCode),
    /// No answer.
    NoAnswer,
    /// These addresses, but no answer to AAAA questions: some servers and middleboxes do that.
    OnlyA(Vec<IpAddr>),
    /// An answer with another id, 40 bytes of noise and 4,000 zero bytes; then these addresses.
    NoiseFirst(Vec<IpAddr>),
}

/// The names that a server knows.
pub(crate) type Zone = Vec<(&'static str, DnsAnswer)>;

/// The answers to a datagram of the guest to port 53, or `None` for another frame.
pub(crate) fn answers(zone: &Zone, bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let datagram = frame::udp(bytes).filter(|datagram| datagram.to.port() == 53)?;
    let query = Message::from_vec(datagram.payload).ok()?;
    let messages = match answer_for(zone, &query)? {
        DnsAnswer::NoAnswer => Vec::new(),
        DnsAnswer::OnlyA(_) if query.queries.first()?.query_type() == RecordType::AAAA => Vec::new(),
        DnsAnswer::OverTcp(_) => {
            let mut cut = reply(&query, &[]);
            cut.metadata.truncation = true;
            vec![cut.to_vec().ok()?]
        }
        DnsAnswer::NoiseFirst(addresses) => {
            let mut other = reply(&query, &addresses);
            other.metadata.id ^= 1;
            vec![other.to_vec().ok()?, vec![0xff; 40], vec![0; 4000], reply(&query, &addresses).to_vec().ok()?]
        }
        answer => vec![message_for(&query, &answer)?.to_vec().ok()?],
    };
    Some(messages.iter().filter_map(|message| back(&datagram, message)).collect())
}

fn back(asked: &Datagram<'_>, message: &[u8]) -> Option<Vec<u8>> {
    let v4 = |address: SocketAddr| if let SocketAddr::V4(v4) = address { Some((*v4.ip(), v4.port())) } else { None };
    frame::udp_to_guest(asked.mac, v4(asked.to)?, v4(asked.from)?, message)
}

fn answer_for(zone: &Zone, query: &Message) -> Option<DnsAnswer> {
    let name = query.queries.first()?.name().to_ascii();
    let found = zone.iter().find(|(known, _)| name.trim_end_matches('.') == *known);
    Some(found.map_or(DnsAnswer::Code(ResponseCode::NXDomain), |(_, answer)| answer.clone()))
}

fn message_for(query: &Message, answer: &DnsAnswer) -> Option<Message> {
    Some(match answer {
        DnsAnswer::Addresses(addresses)
        | DnsAnswer::OnlyA(addresses)
        | DnsAnswer::OverTcp(addresses)
        | DnsAnswer::NoiseFirst(addresses) => reply(query, addresses),
        DnsAnswer::Alias(to, addresses) => {
            let to = Name::from_ascii(to).ok()?;
            let mut message = reply(query, &[]);
            let owner = query.queries.first()?.name().clone();
            message.add_answer(Record::from_rdata(owner, 60, RData::CNAME(CNAME(to.clone()))));
            message.add_answers(records(query, &to, addresses));
            message
        }
        DnsAnswer::Code(code) => {
            let mut message = reply(query, &[]);
            message.metadata.response_code = *code;
            message
        }
        DnsAnswer::NoAnswer => return None,
    })
}

fn reply(query: &Message, addresses: &[IpAddr]) -> Message {
    let mut message = query.clone();
    message.metadata.message_type = MessageType::Response;
    if let Some(question) = query.queries.first() {
        message.add_answers(records(query, question.name(), addresses));
    }
    message
}

fn records(query: &Message, owner: &Name, addresses: &[IpAddr]) -> Vec<Record> {
    let kind = query.queries.first().map(hickory_proto::op::Query::query_type);
    let record = |address: &IpAddr| match (address, kind) {
        (IpAddr::V4(ip), Some(RecordType::A)) => Some(RData::A(A(*ip))),
        (IpAddr::V6(ip), Some(RecordType::AAAA)) => Some(RData::AAAA(AAAA(*ip))),
        _ => None,
    };
    addresses.iter().filter_map(record).map(|data| Record::from_rdata(owner.clone(), 60, data)).collect()
}

/// Serves the zone over TCP on the loopback, for the life of the process.
///
/// # Errors
/// As bind(2).
pub(crate) fn over_tcp(zone: Zone) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        // QEMU keeps one connection for the guest's TCP port 53, so a stream carries several questions.
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut answer = || -> Option<()> {
                let mut length = [0; 2];
                stream.read_exact(&mut length).ok()?;
                let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut query).ok()?;
                let query = Message::from_vec(&query).ok()?;
                let message = message_for(&query, &answer_for(&zone, &query)?)?.to_vec().ok()?;
                let length = u16::try_from(message.len()).ok()?;
                stream.write_all(&[&length.to_be_bytes()[..], &message].concat()).ok()
            };
            while answer().is_some() {}
        }
    });
    Ok(address)
}
