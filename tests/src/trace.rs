//! Finds reads of unwritten sectors in the kernel's trace of block requests.
//!
//! Source: `block:block_bio_queue` in include/trace/events/block.h; the head of a trace is described in
//! Documentation/trace/ftrace.rst.

use crate::Failure;

/// The unit of writing, in sectors of 512 bytes: one encrypted sector.
const UNIT: u64 = 8;

/// One block request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// Its flags, for example `R`, `RA`, `WS`, `FF`.
    pub(crate) kind: String,
    /// The first sector of 512 bytes.
    pub(crate) sector: u64,
    /// The number of sectors.
    pub(crate) sectors: u64,
    /// The program that made it.
    pub(crate) program: String,
}

/// All requests to one device, in order.
#[derive(Debug)]
pub(crate) struct Trace(Vec<Request>);

impl Trace {
    /// Parses a trace, which ends with a line `end`.
    ///
    /// # Errors
    /// The trace is incomplete, lost events, or has a line that is no request.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        let text = String::from_utf8_lossy(bytes);
        let (text, _) = text.split_once("\nend\n").ok_or_else(|| Failure("the trace has no line `end`".to_owned()))?;
        let counts = text.lines().find_map(|line| line.split_once("entries-in-buffer/entries-written: ").map(|(_, rest)| rest));
        let counts = counts.and_then(|rest| rest.split_whitespace().next()?.split_once('/'));
        match counts {
            Some((kept, written)) if kept == written => {}
            other => return Err(Failure(format!("the trace lost events: {other:?}"))),
        }
        let requests = text.lines().filter_map(|line| line.split_once("block_bio_queue: ").map(|(_, rest)| (line, rest)));
        let parsed = requests.map(|(line, rest)| request(rest).ok_or_else(|| Failure(format!("not a block request: {line}"))));
        parsed.collect::<Result<_, _>>().map(Self)
    }

    /// The reads of at least one sector that was not written before.
    pub(crate) fn reads_of_unwritten(&self) -> Vec<&Request> {
        let mut written = std::collections::HashSet::new();
        let units = |request: &Request| request.sector / UNIT..(request.sector + request.sectors).div_ceil(UNIT);
        let mut found = Vec::new();
        for request in self.0.iter().filter(|request| request.sectors > 0) {
            if request.is_read() {
                if !units(request).all(|unit| written.contains(&unit)) {
                    found.push(request);
                }
            } else if request.is_write() {
                written.extend(units(request));
            }
        }
        found
    }

    pub(crate) fn reads(&self) -> usize {
        self.0.iter().filter(|request| request.is_read()).count()
    }

    pub(crate) fn writes(&self) -> usize {
        self.0.iter().filter(|request| request.is_write()).count()
    }
}

impl Request {
    fn is_read(&self) -> bool {
        self.kind.contains('R')
    }

    fn is_write(&self) -> bool {
        self.kind.contains('W')
    }
}

/// `254,2 WS 1048 + 8 [stress]`.
fn request(text: &str) -> Option<Request> {
    let (numbers, program) = text.split_once(" [")?;
    let mut parts = numbers.split_whitespace().skip(1);
    let kind = parts.next()?.to_owned();
    let sector = parts.next()?.parse().ok()?;
    let plus = parts.next()? == "+";
    let sectors = parts.next()?.parse().ok()?;
    plus.then(|| Request { kind, sector, sectors, program: program.trim_end_matches(']').to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(requests: &[&str]) -> Result<Trace, Failure> {
        let count = requests.len();
        let lines = requests.iter().map(|request| format!("   x-1  [000] .....  1.0: block_bio_queue: 254,2 {request} [x]\n"));
        let head = format!("# tracer: nop\n# entries-in-buffer/entries-written: {count}/{count}   #P:2\n");
        Trace::parse(format!("{head}{}end\n\0\0", lines.collect::<String>()).as_bytes())
    }

    #[test]
    fn read_needs_every_sector_to_be_written_before() {
        let cases: [(&[&str], usize); 6] = [
            (&["W 0 + 16", "R 8 + 8"], 0),
            (&["R 8 + 8", "W 0 + 16"], 1),
            (&["W 0 + 8", "RA 0 + 16"], 1),
            (&["WS 0 + 8", "WFS 8 + 8", "RM 0 + 16"], 0),
            (&["FF 0 + 0", "W 0 + 8", "R 0 + 8"], 0),
            (&["W 16 + 8", "R 0 + 8", "R 16 + 8", "R 24 + 8"], 2),
        ];
        for (requests, want) in cases {
            assert_eq!(trace(requests).unwrap().reads_of_unwritten().len(), want, "{requests:?}");
        }
    }

    #[test]
    fn incomplete_trace_is_refused() {
        assert!(trace(&["W 0 + 8"]).is_ok());
        assert!(trace(&["W zero + 8"]).is_err());
        assert!(Trace::parse(b"# entries-in-buffer/entries-written: 1/1\n").is_err());
        assert!(Trace::parse(b"# entries-in-buffer/entries-written: 1/2   #P:2\nend\n").is_err());
    }
}
