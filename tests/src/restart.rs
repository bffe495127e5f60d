//! Simulates 10,000 guests that restart at once against four vaults, in virtual time, with the guest's own collector and retry
//! policy.
//!
//! The model: A vault makes `S` quotes per second, one per connection, in order of arrival. It accepts connections while fewer
//! than [`QUEUE`] wait, and refuses others; a refusal costs 1/[`REFUSAL`] of a quote. With more than one second of refusals to
//! do, it does not answer. A guest connects to all vaults at once, which takes some milliseconds. It closes a connection after 10
//! s; the vault then makes that quote in vain. It needs one second for each quote of its own, one after another, and two shares
//! of four. A vault that is down drops connections silently.

mod plot;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use quorum::{Action, Backoff, Collector, Commitment, Dek, KeyProof, Share, ShareSetId, Threshold, split};

use crate::{Context, Failure};

/// Number of guests.
const GUESTS: usize = 10_000;
const VAULTS: usize = 4;
/// Connections that wait at a vault: the usual length of a listen queue.
const QUEUE: f64 = 128.0;
/// So many refusals cost a vault as much as one quote: an accept by the kernel and a TLS alert.
const REFUSAL: f64 = 50.0;
/// The longest backlog of refusals, in seconds, with which a vault still answers.
const BACKLOG: f64 = 1.0;
/// The longest latency of a connection, in seconds.
const LATENCY: f64 = 0.02;
/// The values in the guest's dial.rs.
const STEP: f64 = 10.0;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
const OWN_QUOTE: f64 = 1.0;
/// The time in which all guests connect for the first time, in seconds.
const SPREAD: f64 = 1.0;
/// The simulated time, in seconds.
const LONGEST: f64 = 900.0;

/// The pause before a guest connects again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Retry {
    /// The exponential backoff of cvm-init.
    Backoff,
    /// A fixed number of seconds.
    Fixed(f64),
}

impl Retry {
    fn name(self) -> String {
        match self {
            Self::Backoff => "full jitter, 0.5 to 15 s".to_owned(),
            Self::Fixed(seconds) => format!("every {seconds} s"),
        }
    }
}

/// The result of one simulation.
#[derive(Debug, Clone)]
pub(crate) struct Recovery {
    /// When each guest got its key, in seconds, ascending.
    pub(crate) times: Vec<f64>,
    /// The share of quotes that vaults made for closed connections, from 0 to 1.
    pub(crate) wasted: f64,
}

impl Recovery {
    /// When so many percent of the guests had their key, in seconds; `None` if that did not happen in the simulated time.
    fn percentile(&self, percent: usize) -> Option<f64> {
        self.times.get((GUESTS * percent / 100).saturating_sub(1)).copied()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Dial(usize, usize),
    Arrived(usize, usize),
    Proved(usize, usize),
    Served(usize, usize),
    Lost(usize, usize),
}

/// Events in the order of their time; events of the same time in the order in which they were added.
struct EventQueue {
    heap: BinaryHeap<Reverse<(u64, u64, Event)>>,
    made: u64,
}

impl EventQueue {
    fn at(&mut self, seconds: f64, event: Event) {
        let nanoseconds = Duration::from_secs_f64(seconds).as_nanos().try_into().unwrap_or(u64::MAX);
        self.made += 1;
        self.heap.push(Reverse((nanoseconds, self.made, event)));
    }

    fn next(&mut self) -> Option<(f64, Event)> {
        let Reverse((nanoseconds, _, event)) = self.heap.pop()?;
        Some((Duration::from_nanos(nanoseconds).as_secs_f64(), event))
    }
}

struct Guest {
    collector: Collector,
    backoffs: Vec<Backoff>,
    quote_free: f64,
    done: Option<f64>,
}

struct Simulation<'a> {
    shares: &'a [Share],
    guests: Vec<Guest>,
    /// When each vault will have finished its work.
    busy: [f64; VAULTS],
    rate: f64,
    down: Option<usize>,
    retry: Retry,
    random: Random,
    queue: EventQueue,
    made: u64,
    wasted: u64,
}

/// Pseudorandom numbers, the same in every run (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        u32::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32).unwrap_or(0)
    }
}

impl Simulation<'_> {
    fn run(mut self) -> Recovery {
        let mut left = self.guests.len();
        while let Some((now, event)) = self.queue.next() {
            if now > LONGEST || left == 0 {
                break;
            }
            left -= usize::from(self.step(now, event));
        }
        let mut times: Vec<f64> = self.guests.iter().filter_map(|guest| guest.done).collect();
        times.sort_by(f64::total_cmp);
        let [wasted, made] = [self.wasted, self.made].map(|count| f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        Recovery { times, wasted: wasted / made.max(1.0) }
    }

    /// Handles one event; returns `true` when it gives a guest its key.
    fn step(&mut self, now: f64, event: Event) -> bool {
        let (Event::Dial(guest, vault)
        | Event::Arrived(guest, vault)
        | Event::Proved(guest, vault)
        | Event::Served(guest, vault)
        | Event::Lost(guest, vault)) = event;
        let Some(client) = self.guests.get_mut(guest) else { return false };
        if client.done.is_some() {
            self.wasted += u64::from(matches!(event, Event::Proved(..)));
            return false;
        }
        match event {
            Event::Dial(..) => {
                let way = LATENCY * f64::from(self.random.next()) / f64::from(u32::MAX);
                self.queue.at(now + way, Event::Arrived(guest, vault));
            }
            Event::Arrived(..) => self.arrived(now, guest, vault),
            Event::Proved(..) => {
                client.collector.ready(vault);
                self.ask(now, guest);
            }
            Event::Served(..) => {
                let share = self.shares.get(vault).map(|share| Share::new(share.share_set_id(), share.x(), share.expose_data()));
                let Some(share) = share else { return false };
                if let Action::Done(_) = client.collector.received(vault, share, |_| false) {
                    client.done = Some(now);
                    return true;
                }
                self.ask(now, guest);
            }
            Event::Lost(..) => {
                client.collector.lost(vault);
                let random = self.random.next();
                let pause = match self.retry {
                    Retry::Backoff => client.backoffs.get_mut(vault).map_or(0.0, |backoff| backoff.pause(random).as_secs_f64()),
                    Retry::Fixed(seconds) => seconds,
                };
                self.queue.at(now + pause, Event::Dial(guest, vault));
            }
        }
        false
    }

    fn arrived(&mut self, now: f64, guest: usize, vault: usize) {
        let Some(busy) = self.busy.get_mut(vault).filter(|_| self.down != Some(vault)) else {
            return self.queue.at(now + STEP, Event::Lost(guest, vault));
        };
        *busy = busy.max(now);
        if *busy - now > QUEUE / self.rate + BACKLOG {
            return self.queue.at(now + STEP, Event::Lost(guest, vault));
        }
        if (*busy - now) * self.rate >= QUEUE {
            *busy += 1.0 / (self.rate * REFUSAL);
            return self.queue.at(now, Event::Lost(guest, vault));
        }
        *busy += 1.0 / self.rate;
        self.made += 1;
        if *busy - now > STEP {
            self.wasted += 1;
            self.queue.at(now + STEP, Event::Lost(guest, vault));
        } else {
            self.queue.at(*busy, Event::Proved(guest, vault));
        }
    }

    fn ask(&mut self, now: f64, guest: usize) {
        let Some(client) = self.guests.get_mut(guest) else { return };
        while let Action::Ask(vault) = client.collector.ask_next() {
            client.quote_free = client.quote_free.max(now) + OWN_QUOTE;
            self.queue.at(client.quote_free, Event::Served(guest, vault));
        }
    }
}

/// Simulates `guests` against vaults that make `rate` quotes per second, of which `down` does not answer.
///
/// # Errors
/// The key cannot be split.
pub(crate) fn simulate(guests: usize, rate: f64, down: Option<usize>, retry: Retry) -> Result<Recovery, Failure> {
    let threshold = Threshold::new(2, VAULTS).ok_or_else(|| Failure("2 of 4 must be a valid threshold".to_owned()))?;
    let dek = Dek::fill_with(|bytes| {
        bytes.fill(7);
        Ok::<_, std::convert::Infallible>(())
    });
    let dek = dek.context("making the key")?;
    let commitment: Commitment = dek.commitment();
    let shares = split(&dek, threshold, ShareSetId([1; 16])).ok_or_else(|| Failure("splitting the key failed".to_owned()))?;
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut queue = EventQueue { heap: BinaryHeap::new(), made: 0 };
    let guest = || Guest {
        collector: Collector::new(threshold, KeyProof::Commitment(commitment)),
        backoffs: vec![Backoff::new(FIRST_PAUSE, LONGEST_PAUSE); VAULTS],
        quote_free: 0.0,
        done: None,
    };
    for number in 0..guests {
        let start = SPREAD * f64::from(random.next()) / f64::from(u32::MAX);
        for vault in 0..VAULTS {
            queue.at(start, Event::Dial(number, vault));
        }
    }
    let guests = (0..guests).map(|_| guest()).collect();
    let fleet = Simulation { shares: &shares, guests, busy: [0.0; VAULTS], rate, down, retry, random, queue, made: 0, wasted: 0 };
    Ok(fleet.run())
}

const RATES: [f64; 3] = [50.0, 100.0, 500.0];
const RETRIES: [Retry; 3] = [Retry::Backoff, Retry::Fixed(5.0), Retry::Fixed(1.0)];

/// Writes the table to the README of the `quorum` crate, and the plot beside it.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn report(top: &Path) -> Result<String, Failure> {
    let mut table = String::from("| S | vaults | retries | half | 99 % | all | wasted |\n|---|---|---|---|---|---|---|\n");
    let mut curves = Vec::new();
    for rate in RATES {
        for down in [None, Some(0)] {
            for retry in RETRIES {
                let recovery = simulate(GUESTS, rate, down, retry)?;
                let time =
                    |percent| recovery.percentile(percent).map_or("over 15 min".to_owned(), |seconds| format!("{seconds:.0} s"));
                let vaults = if down.is_none() { "4" } else { "3, one down" };
                let row = (time(50), time(99), time(100), recovery.wasted * 100.0);
                writeln!(table, "| {rate} | {vaults} | {} | {} | {} | {} | {:.0} % |", retry.name(), row.0, row.1, row.2, row.3)
                    .context("writing the table")?;
                if (rate - 50.0).abs() < f64::EPSILON {
                    curves.push((
                        format!("{}{}", retry.name(), if down.is_none() { "" } else { ", one vault down" }),
                        recovery.times,
                    ));
                }
            }
        }
    }
    let crate_folder = top.join("init/quorum");
    std::fs::write(crate_folder.join("restart.svg"), plot::svg(&curves, GUESTS)).context("writing the plot")?;
    let readme = crate_folder.join("README.md");
    let text = std::fs::read_to_string(&readme).context("updating the README")?;
    std::fs::write(&readme, with_table(&text, &table)?).context("updating the README")?;
    Ok(table)
}

/// The README with this table between its two markers.
fn with_table(text: &str, table: &str) -> Result<String, Failure> {
    let (start, end) = ("<!-- restart -->\n", "<!-- /restart -->");
    let (before, rest) = text.split_once(start).ok_or_else(|| Failure("the README has no marker <!-- restart -->".to_owned()))?;
    let (_, after) = rest.split_once(end).ok_or_else(|| Failure("the README has no marker <!-- /restart -->".to_owned()))?;
    Ok(format!("{before}{start}{table}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every guest connects to four vaults and needs two: four quotes at most, two at least.
    #[test]
    fn guests_get_keys_near_the_vaults_best_rate() {
        let recovery = simulate(1000, 50.0, None, Retry::Backoff).unwrap();
        let (best, worst) = (1000.0 * 2.0 / (4.0 * 50.0), 1000.0 * 4.0 / (4.0 * 50.0));
        let last = *recovery.times.last().unwrap();
        assert_eq!(recovery.times.len(), 1000);
        assert!((best..worst * 1.5).contains(&last), "{last} s, {best} at best");
    }

    #[test]
    fn simulation_ends_with_one_vault_down_and_is_reproducible() {
        assert_eq!(simulate(300, 50.0, Some(3), Retry::Backoff).unwrap().times.len(), 300);
        let same = |retry| simulate(300, 20.0, None, retry).unwrap().times;
        assert_eq!(same(Retry::Backoff), same(Retry::Backoff), "the same in every run");
        assert_ne!(same(Retry::Backoff), same(Retry::Fixed(1.0)));
    }

    #[test]
    fn table_is_written_between_its_markers() {
        let text = "a\n<!-- restart -->\nold\n<!-- /restart -->\nb\n";
        assert_eq!(with_table(text, "new\n").unwrap(), "a\n<!-- restart -->\nnew\n<!-- /restart -->\nb\n");
        assert!(with_table("no marks", "new").is_err());
    }
}
