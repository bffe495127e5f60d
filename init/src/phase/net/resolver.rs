//! Resolves names through the name servers of the link or the policy. A and AAAA are asked in parallel, from one server after the
//! other, in two rounds. The answer is not authenticated: a vault proves itself later.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ipconfig::dns::{ANSWER_MAX, Answer, Kind, Question};
use linux::poll::Stop;
use linux::stream::Stream;

use super::random;

const PORT: u16 = 53;
/// How long one server may take before the next one is asked.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait for the other record type when one has come: a server that drops AAAA questions must not slow down every name
/// (RFC 8305, section 3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// The longest datagram accepted, in bytes: more than any server sends without EDNS.
const DATAGRAM_MAX: usize = 4096;
/// The most aliases followed.
const ALIASES_MAX: usize = 8;

/// The index of the link for link-local servers, and the signal that ends every wait.
type LinkScope<'a> = (u32, &'a Stop);

/// Why a name has no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Neither the link nor the policy names a server.
    #[error("no name server: the link offered none and policy names none")]
    NoServer,
    /// A server says so, or names only addresses that no host can have.
    #[error("the name has no address")]
    NoAddress,
    /// The response code of the last server.
    #[error("the name server failed with code {0}")]
    Failed(u16),
    #[error("no name server answered")]
    NoAnswer,
    #[error("not a valid host name")]
    Name,
    #[error("no random numbers for a DNS question")]
    Random,
    #[error("the name is an alias of an alias and so on, {ALIASES_MAX} times")]
    Aliases,
}

/// Resolves `host` until `deadline`. Begins with the server at index `first`, and stores there the index of the one that
/// answered.
pub(super) fn resolve(
    host: &str,
    servers: &[IpAddr],
    on: LinkScope<'_>,
    first: &AtomicUsize,
    deadline: Instant,
) -> Result<Vec<IpAddr>, Error> {
    if servers.is_empty() {
        return Err(Error::NoServer);
    }
    let mut question = Question::new(host).ok_or(Error::Name)?;
    for _ in 0..ALIASES_MAX {
        match query_servers(&question, servers, on, first, deadline)? {
            Found::Addresses(addresses) => return Ok(addresses),
            Found::Alias(next) => question = next,
        }
    }
    Err(Error::Aliases)
}

enum Found {
    Addresses(Vec<IpAddr>),
    Alias(Question),
}

/// Asks each server in turn for both record types.
fn query_servers(
    question: &Question,
    servers: &[IpAddr],
    on: LinkScope<'_>,
    first: &AtomicUsize,
    deadline: Instant,
) -> Result<Found, Error> {
    let mut last = Error::NoAnswer;
    // Two rounds: a lost datagram is sent again, but dead servers do not use up the time for one attempt at a vault.
    let begin = first.load(Ordering::Relaxed) % servers.len().max(1);
    for (place, server) in servers.iter().enumerate().cycle().skip(begin).take(2 * servers.len()) {
        let until = deadline.min(Instant::now() + SERVER_TIMEOUT);
        if Instant::now() >= deadline {
            break;
        }
        match ask(question, server_at(*server, on.0), until, on.1) {
            Ok(found) => {
                first.store(place, Ordering::Relaxed);
                return Ok(found);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn server_at(server: IpAddr, scope: u32) -> SocketAddr {
    match server {
        IpAddr::V4(ip) => (ip, PORT).into(),
        IpAddr::V6(ip) => std::net::SocketAddrV6::new(ip, PORT, 0, if ip.is_unicast_link_local() { scope } else { 0 }).into(),
    }
}

/// Asks one server for both record types and waits until both answers are here or the time is up.
fn ask(question: &Question, server: SocketAddr, until: Instant, stop: &Stop) -> Result<Found, Error> {
    let kinds = [Kind::Aaaa, Kind::A];
    let [first, second, ..] = random().map_err(|_| Error::Random)?.to_ne_bytes().as_chunks::<2>().0.to_owned()[..] else {
        return Err(Error::Random);
    };
    let ids = [first, second].map(u16::from_ne_bytes);
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    // A connected socket receives from the server only, at a port that the kernel chose at random.
    let socket =
        UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(server).map(|()| socket)).map_err(|_| Error::NoAnswer)?;
    for (kind, id) in kinds.into_iter().zip(ids) {
        let message = question.message(id, kind).ok_or(Error::Name)?;
        socket.send(&message).map_err(|_| Error::NoAnswer)?;
    }
    let mut answers: [Option<Answer>; 2] = [None, None];
    let mut buffer = vec![0; DATAGRAM_MAX];
    let mut until = until;
    while answers.contains(&None) {
        if answers.iter().flatten().any(|answer| matches!(answer, Answer::Addresses(some) if !some.is_empty())) {
            until = until.min(Instant::now() + RESOLUTION_DELAY);
        }
        if Instant::now() >= until || !stop.or_readable(&socket, until) {
            break;
        }
        let Ok(length) = socket.recv(&mut buffer) else { break };
        let bytes = buffer.get(..length).unwrap_or_default();
        for ((kind, id), answer) in kinds.into_iter().zip(ids).zip(&mut answers) {
            let Some(read) = question.answer(id, kind, bytes) else { continue };
            *answer = Some(if read == Answer::Truncated { over_tcp(question, id, kind, (server, stop), until) } else { read });
        }
    }
    combine(answers)
}

/// Combines two answers: any address counts, then any alias, then the reason why there is none.
fn combine(answers: [Option<Answer>; 2]) -> Result<Found, Error> {
    let (mut addresses, mut alias, mut why) = (Vec::new(), None, None);
    for answer in answers {
        match answer {
            Some(Answer::Addresses(some)) => addresses.extend(some),
            Some(Answer::Cname(to)) => alias = Some(to),
            Some(Answer::NoSuchName) => why = Some(Error::NoAddress),
            Some(Answer::Failed(code)) => why = Some(Error::Failed(code)),
            Some(Answer::Truncated) | None => why = Some(why.unwrap_or(Error::NoAnswer)),
        }
    }
    if !addresses.is_empty() {
        return Ok(Found::Addresses(addresses));
    }
    alias.map(Found::Alias).ok_or(why.unwrap_or(Error::NoAddress))
}

/// Asks again over TCP for an answer that was truncated; on failure the server counts as one that did not answer.
fn over_tcp(question: &Question, id: u16, kind: Kind, (server, stop): (SocketAddr, &Stop), until: Instant) -> Answer {
    let ask = || -> Option<Answer> {
        let (mut stream, _) = Stream::tcp(&[server], SERVER_TIMEOUT, until, stop).ok()?;
        let message = question.message(id, kind)?;
        let length = u16::try_from(message.len()).ok()?.to_be_bytes();
        stream.set_timeout(until.saturating_duration_since(Instant::now()));
        stream.write_all(&[&length[..], &message].concat()).ok()?;
        let mut length = [0; 2];
        read_all(&mut stream, &mut length, until)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length)).min(ANSWER_MAX)];
        read_all(&mut stream, &mut answer, until)?;
        question.answer(id, kind, &answer)
    };
    ask().unwrap_or(Answer::Truncated)
}

/// Fills `buffer` until `until`, which single bytes do not extend.
fn read_all(stream: &mut Stream, buffer: &mut [u8], until: Instant) -> Option<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        stream.set_timeout(left);
        match stream.read(buffer.get_mut(filled..)?) {
            Ok(0) | Err(_) => return None,
            Ok(read) => filled += read,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_address_counts_then_an_alias_then_the_reason() {
        let address: IpAddr = [10, 0, 0, 1].into();
        let alias = || Answer::Cname(Question::new("b.example").unwrap());
        let none = || Answer::Addresses(Vec::new());
        let cases = [
            ([Some(none()), Some(Answer::Addresses(vec![address]))], Ok(Some(address))),
            ([None, Some(Answer::Addresses(vec![address]))], Ok(Some(address))),
            ([Some(alias()), Some(none())], Ok(None)),
            ([Some(none()), Some(none())], Err(Error::NoAddress)),
            ([Some(Answer::NoSuchName), Some(Answer::NoSuchName)], Err(Error::NoAddress)),
            ([Some(Answer::Failed(2)), None], Err(Error::Failed(2))),
            ([None, Some(Answer::Truncated)], Err(Error::NoAnswer)),
        ];
        for (answers, want) in cases {
            let got = combine(answers.clone()).map(|found| match found {
                Found::Addresses(addresses) => addresses.first().copied(),
                Found::Alias(_) => None,
            });
            assert_eq!(got, want, "{answers:?}");
        }
    }

    #[test]
    fn name_without_servers_or_with_dead_ones_ends_in_time() {
        let soon = Instant::now() + Duration::from_millis(50);
        let (first, stop) = (AtomicUsize::new(7), Stop::new().unwrap());
        assert_eq!(resolve("vault.example", &[], (0, &stop), &first, soon), Err(Error::NoServer));
        let start = Instant::now();
        assert_eq!(resolve("vault.example", &[[127, 0, 0, 1].into()], (0, &stop), &first, soon), Err(Error::NoAnswer));
        assert!(start.elapsed() < SERVER_TIMEOUT);
    }
}
