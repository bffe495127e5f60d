//! How long a fleet takes to come back: 10,000 guests restart at once against four vaults. A simulation in virtual time over the
//! guest's own collector and retry policy; nothing is measured but them.
//!
//! The model, all of it: a vault makes `S` quotes a second, one a connection, first come first served; it takes connections while
//! fewer than [`QUEUE`] wait and refuses the others, which costs it a [`REFUSAL`]th of a quote; a second behind with refusals, it
//! answers no more. A guest dials all vaults at once, which takes some milliseconds; it gives a connection up after 10 s (the vault
//! makes its quote for nobody then), needs a second for each quote of its own, one after the other, and two shares of four. A vault
//! that is away swallows connections.

mod plot;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use quorum::{Action, Backoff, Collector, Commitment, Dek, KeyProof, Share, ShareSetId, Threshold, split};

use crate::{Doing, Failure};

/// Guests that restart.
const GUESTS: usize = 10_000;
const VAULTS: usize = 4;
/// Connections that a vault keeps waiting: a listen queue's usual length.
const QUEUE: f64 = 128.0;
/// So many refusals cost a vault as much as one quote: the kernel's accept and a TLS alert.
const REFUSAL: f64 = 50.0;
/// How many seconds of refusals a vault may be behind.
const BEHIND: f64 = 1.0;
/// The longest that a connection is on its way, in seconds.
const ON_ITS_WAY: f64 = 0.02;
/// As the guest's dial.rs has them.
const STEP: f64 = 10.0;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
const OWN_QUOTE: f64 = 1.0;
/// How far apart the guests' first dials are, in seconds: they boot alike.
const SPREAD: f64 = 1.0;
/// The longest that is simulated, in seconds.
const LONGEST: f64 = 900.0;

/// How a guest waits between two tries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Retry {
    /// As cvm-init does.
    Backoff,
    /// Always this many seconds.
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

/// What became of the fleet.
#[derive(Debug, Clone)]
pub(crate) struct Drained {
    /// When each guest had its key, in seconds, in order.
    pub(crate) times: Vec<f64>,
    /// Quotes that vaults made for nobody, as a part of all.
    pub(crate) wasted: f64,
}

impl Drained {
    /// When so many of a hundred guests had their key, in seconds; none when not all did in time.
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

/// Events by time; those of one time in the order in which they were made.
struct Agenda {
    heap: BinaryHeap<Reverse<(u64, u64, Event)>>,
    made: u64,
}

impl Agenda {
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

struct Fleet<'a> {
    shares: &'a [Share],
    guests: Vec<Guest>,
    /// Until when each vault has work.
    busy: [f64; VAULTS],
    rate: f64,
    away: Option<usize>,
    retry: Retry,
    random: Random,
    agenda: Agenda,
    made: u64,
    wasted: u64,
}

/// Numbers that look random and are the same in every run (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        u32::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32).unwrap_or(0)
    }
}

impl Fleet<'_> {
    fn run(mut self) -> Drained {
        let mut left = self.guests.len();
        while let Some((now, event)) = self.agenda.next() {
            if now > LONGEST || left == 0 {
                break;
            }
            left -= usize::from(self.step(now, event));
        }
        let mut times: Vec<f64> = self.guests.iter().filter_map(|guest| guest.done).collect();
        times.sort_by(f64::total_cmp);
        let [wasted, made] = [self.wasted, self.made].map(|count| f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        Drained { times, wasted: wasted / made.max(1.0) }
    }

    /// Takes one event; `true` when a guest has its key by it.
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
                let way = ON_ITS_WAY * f64::from(self.random.next()) / f64::from(u32::MAX);
                self.agenda.at(now + way, Event::Arrived(guest, vault));
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
                self.agenda.at(now + pause, Event::Dial(guest, vault));
            }
        }
        false
    }

    fn arrived(&mut self, now: f64, guest: usize, vault: usize) {
        let Some(busy) = self.busy.get_mut(vault).filter(|_| self.away != Some(vault)) else {
            return self.agenda.at(now + STEP, Event::Lost(guest, vault));
        };
        *busy = busy.max(now);
        if *busy - now > QUEUE / self.rate + BEHIND {
            return self.agenda.at(now + STEP, Event::Lost(guest, vault));
        }
        if (*busy - now) * self.rate >= QUEUE {
            *busy += 1.0 / (self.rate * REFUSAL);
            return self.agenda.at(now, Event::Lost(guest, vault));
        }
        *busy += 1.0 / self.rate;
        self.made += 1;
        if *busy - now > STEP {
            self.wasted += 1;
            self.agenda.at(now + STEP, Event::Lost(guest, vault));
        } else {
            self.agenda.at(*busy, Event::Proved(guest, vault));
        }
    }

    fn ask(&mut self, now: f64, guest: usize) {
        let Some(client) = self.guests.get_mut(guest) else { return };
        while let Action::Ask(vault) = client.collector.ask_next() {
            client.quote_free = client.quote_free.max(now) + OWN_QUOTE;
            self.agenda.at(client.quote_free, Event::Served(guest, vault));
        }
    }
}

/// Plays the fleet against vaults of `rate` quotes a second.
///
/// # Errors
/// When no key can be dealt.
pub(crate) fn drain(guests: usize, rate: f64, away: Option<usize>, retry: Retry) -> Result<Drained, Failure> {
    let threshold = Threshold::new(2, VAULTS).ok_or_else(|| Failure("threshold".to_owned()))?;
    let dek = Dek::fill_with(|bytes| {
        bytes.fill(7);
        Ok::<_, std::convert::Infallible>(())
    });
    let dek = dek.doing("the key")?;
    let commitment: Commitment = dek.commitment();
    let shares = split(&dek, threshold, ShareSetId([1; 16])).ok_or_else(|| Failure("dealing".to_owned()))?;
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut agenda = Agenda { heap: BinaryHeap::new(), made: 0 };
    let guest = || Guest {
        collector: Collector::new(threshold, KeyProof::Commitment(commitment)),
        backoffs: vec![Backoff::new(FIRST_PAUSE, LONGEST_PAUSE); VAULTS],
        quote_free: 0.0,
        done: None,
    };
    for number in 0..guests {
        let start = SPREAD * f64::from(random.next()) / f64::from(u32::MAX);
        for vault in 0..VAULTS {
            agenda.at(start, Event::Dial(number, vault));
        }
    }
    let guests = (0..guests).map(|_| guest()).collect();
    let fleet = Fleet { shares: &shares, guests, busy: [0.0; VAULTS], rate, away, retry, random, agenda, made: 0, wasted: 0 };
    Ok(fleet.run())
}

const RATES: [f64; 3] = [50.0, 100.0, 500.0];
const RETRIES: [Retry; 3] = [Retry::Backoff, Retry::Fixed(5.0), Retry::Fixed(1.0)];

/// Writes the table into the crate's README and the plot beside it.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn report(top: &Path) -> Result<String, Failure> {
    let mut table = String::from("| S | vaults | retries | half | 99 % | all | wasted |\n|---|---|---|---|---|---|---|\n");
    let mut curves = Vec::new();
    for rate in RATES {
        for away in [None, Some(0)] {
            for retry in RETRIES {
                let drained = drain(GUESTS, rate, away, retry)?;
                let time =
                    |percent| drained.percentile(percent).map_or("over 15 min".to_owned(), |seconds| format!("{seconds:.0} s"));
                let vaults = if away.is_none() { "4" } else { "3, one away" };
                let row = (time(50), time(99), time(100), drained.wasted * 100.0);
                writeln!(table, "| {rate} | {vaults} | {} | {} | {} | {} | {:.0} % |", retry.name(), row.0, row.1, row.2, row.3)
                    .doing("the table")?;
                if (rate - 50.0).abs() < f64::EPSILON {
                    curves.push((
                        format!("{}{}", retry.name(), if away.is_none() { "" } else { ", one vault away" }),
                        drained.times,
                    ));
                }
            }
        }
    }
    let crate_folder = top.join("init/quorum");
    std::fs::write(crate_folder.join("drain.svg"), plot::svg(&curves, GUESTS)).doing("the plot")?;
    let readme = crate_folder.join("README.md");
    let text = std::fs::read_to_string(&readme).doing("the README")?;
    std::fs::write(&readme, with_table(&text, &table)?).doing("the README")?;
    Ok(table)
}

/// The README with this table between its two marks.
fn with_table(text: &str, table: &str) -> Result<String, Failure> {
    let (start, end) = ("<!-- drain -->\n", "<!-- /drain -->");
    let (before, rest) = text.split_once(start).ok_or_else(|| Failure("no place for the table".to_owned()))?;
    let (_, after) = rest.split_once(end).ok_or_else(|| Failure("no end of the table".to_owned()))?;
    Ok(format!("{before}{start}{table}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every guest dials four vaults and needs two: work of four quotes each at worst, two at best.
    #[test]
    fn fleet_drains_near_the_best_that_vaults_can() {
        let drained = drain(1000, 50.0, None, Retry::Backoff).unwrap();
        let (best, worst) = (1000.0 * 2.0 / (4.0 * 50.0), 1000.0 * 4.0 / (4.0 * 50.0));
        let last = *drained.times.last().unwrap();
        assert_eq!(drained.times.len(), 1000);
        assert!((best..worst * 1.5).contains(&last), "{last} s, {best} at best");
    }

    #[test]
    fn fleet_drains_with_one_vault_away_and_the_same_in_every_run() {
        assert_eq!(drain(300, 50.0, Some(3), Retry::Backoff).unwrap().times.len(), 300);
        let same = |retry| drain(300, 20.0, None, retry).unwrap().times;
        assert_eq!(same(Retry::Backoff), same(Retry::Backoff), "the same in every run");
        assert_ne!(same(Retry::Backoff), same(Retry::Fixed(1.0)));
    }

    #[test]
    fn table_goes_between_its_marks() {
        let text = "a\n<!-- drain -->\nold\n<!-- /drain -->\nb\n";
        assert_eq!(with_table(text, "new\n").unwrap(), "a\n<!-- drain -->\nnew\n<!-- /drain -->\nb\n");
        assert!(with_table("no marks", "new").is_err());
    }
}
