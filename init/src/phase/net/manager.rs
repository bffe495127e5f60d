//! The thread that has the links: it waits for them, asks on all of them at once, and keeps the first that gets an address. When
//! that one loses its carrier, all are asked again.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel::link::{Ethernet, Links};
use kernel::readiness;
use ondisk::cmdline::LinkSelector;

use super::candidate::{Candidate, Plan};
use super::status::{Status, Trouble};

/// The longest that the thread sleeps: whatever was missed, it looks again.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// How long the thread rests after the kernel refused it something, how often in a row, and how long it waits for its end then.
const FAILURE: Duration = Duration::from_secs(1);
const FAILURES_MAX: u32 = 5;
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);
/// The most links that are asked on.
const LINKS_MAX: usize = 16;

/// The network's thread.
pub(super) struct Manager {
    links: Links,
    wanted: Option<LinkSelector>,
    plan: Plan,
    status: Arc<Status>,
    candidates: Vec<Candidate>,
    /// The link in use, by its index.
    chosen: Option<u32>,
    /// Readable when the thread is to end.
    end: UnixStream,
}

impl Manager {
    pub(super) fn new(
        wanted: Option<LinkSelector>,
        plan: Plan,
        status: Arc<Status>,
        end: UnixStream,
    ) -> Result<Self, kernel::Error> {
        Ok(Self { links: Links::open()?, wanted, plan, status, candidates: Vec::new(), chosen: None, end })
    }

    /// Works until it is told to end; then returns links as they were found, unless `keep`: then only those that are not in use.
    pub(super) fn run(mut self, keep: bool) {
        let mut failures = 0;
        while let Err(error) = self.serve(&mut failures) {
            failures += 1;
            log::warn!("net: {error}");
            if failures >= FAILURES_MAX {
                self.status.broke(error);
            }
            // The links are left as they are until the end: what runs over them may go on.
            let pause = if failures >= FAILURES_MAX { FOR_EVER } else { FAILURE };
            match readiness::any(&[self.end.as_fd()], Instant::now() + pause) {
                Ok(ended) if !ended.contains(&true) => {}
                _ => break,
            }
        }
        let kept = self.chosen.filter(|_| keep);
        for candidate in self.candidates.drain(..) {
            if Some(candidate.index()) == kept {
                candidate.keep();
            } else {
                candidate.restore(&mut self.links);
            }
        }
    }

    fn serve(&mut self, failures: &mut u32) -> Result<(), kernel::Error> {
        let mut is_news = true;
        loop {
            let now = Instant::now();
            // Not for each frame of a flood.
            if is_news {
                self.look(now)?;
            }
            for at in 0..self.candidates.len() {
                if let Some(candidate) = self.candidates.get_mut(at) {
                    candidate.work(&self.plan, &mut self.links, now);
                }
                self.settle(at);
            }
            self.choose(now);
            let wake = self.candidates.iter().filter_map(Candidate::wake).min();
            let wake = wake.map_or(now + SLEEP_MAX, |wake| wake.min(now + SLEEP_MAX));
            let sockets = self.candidates.iter().flat_map(Candidate::sockets);
            let all: Vec<BorrowedFd<'_>> = [self.end.as_fd(), self.links.announcements()].into_iter().chain(sockets).collect();
            let ready = readiness::any(&all, wake)?;
            if ready.first() == Some(&true) {
                return Ok(());
            }
            *failures = 0;
            // Also when nothing came for long: whatever was missed.
            is_news = ready.get(1) == Some(&true) || !ready.contains(&true);
            if is_news {
                self.links.heard();
            }
        }
    }

    /// Looks what links there are, and whether they have a carrier.
    fn look(&mut self, now: Instant) -> Result<(), kernel::Error> {
        let there = self.links.ethernet()?;
        self.candidates.retain(|candidate| {
            let stays = there.iter().any(|link| link.index == candidate.index());
            if !stays {
                log::warn!("net: {} is gone", candidate.name());
            }
            stays
        });
        for link in there {
            let is_wanted = self.chosen.is_none_or(|chosen| chosen == link.index);
            let known = self.candidates.iter().position(|candidate| candidate.index() == link.index);
            if let Some(candidate) = known.and_then(|at| self.candidates.get_mut(at)) {
                candidate.seen(link.carrier, is_wanted, &self.plan, &mut self.links, now);
            } else if self.is_ours(&link) && self.candidates.len() < LINKS_MAX {
                // The carrier is announced once the link is up.
                self.candidates.push(Candidate::take(link, &mut self.links, now));
            }
            if let Some(at) = known {
                self.settle(at);
            }
        }
        Ok(())
    }

    /// Takes the link at this place into use if it can be used and no other is: at once, since a second one with an address would take
    /// the first one's routes. What another link still has to say is not waited for.
    fn settle(&mut self, at: usize) {
        let up = self.candidates.get(at).and_then(|candidate| candidate.up(&self.plan));
        let Some(up) = up.filter(|_| self.chosen.is_none()) else { return };
        self.chosen = Some(up.index);
        for other in self.candidates.iter_mut().filter(|candidate| candidate.index() != up.index) {
            other.retreat(&mut self.links);
        }
    }

    fn in_use(&self) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| Some(candidate.index()) == self.chosen)
    }

    fn is_ours(&self, link: &Ethernet) -> bool {
        match &self.wanted {
            Some(LinkSelector::Name(name)) => link.name == *name,
            Some(LinkSelector::Mac(mac)) => link.mac == *mac,
            None => true,
        }
    }

    /// Keeps the link that is in use for as long as it has a carrier; else has all begin again. Says how things are.
    fn choose(&mut self, now: Instant) {
        if self.chosen.is_some() && !self.in_use().is_some_and(Candidate::has_carrier) {
            self.chosen = None;
            for candidate in self.candidates.iter_mut().filter(|candidate| candidate.has_carrier()) {
                candidate.start(&self.plan, &mut self.links, now);
            }
        }
        let up = self.in_use().and_then(|candidate| candidate.up(&self.plan));
        let Some(up) = up else {
            let waiting = self.candidates.iter().find(|candidate| candidate.has_carrier()).or(self.candidates.first());
            self.status.set(None, waiting.map_or(Trouble::NoLink, |candidate| candidate.trouble(&self.plan)));
            return;
        };
        self.status.set(Some(up), Trouble::default());
    }
}
