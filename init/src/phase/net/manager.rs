//! The thread that has the links: it waits for them, asks on all of them at once, and uses the first that offers an address. When
//! that one loses its carrier, all are asked again.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cmdline::LinkSelector;
use linux::link::{Ethernet, Links};
use linux::readiness;

use super::applied::Applied;
use super::candidate::{Candidate, Plan};
use super::status::{Status, Trouble, Up};

/// The longest that the thread sleeps: whatever was missed, it looks again.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// How long what a link had before it lost its carrier is not counted on: the cable may lead elsewhere now. After that, silence speaks
/// for it, since servers need not be there to use what they gave.
const GRACE: Duration = Duration::from_secs(5);
/// How long the thread rests after the kernel refused it something, how often in a row, and how long it waits for its end then.
const FAILURE: Duration = Duration::from_secs(1);
const FAILURES_MAX: u32 = 5;
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);
/// The most links that are asked on.
const LINKS_MAX: usize = 16;

/// The link that has addresses.
struct InUse {
    index: u32,
    applied: Applied,
    /// It lost its carrier, and nobody has said since that what it has still holds.
    is_in_doubt: bool,
}

/// The network's thread.
pub(super) struct Manager {
    links: Links,
    wanted: Option<LinkSelector>,
    plan: Plan,
    status: Arc<Status>,
    candidates: Vec<Candidate>,
    in_use: Option<InUse>,
    /// Readable when the thread is to end.
    end: UnixStream,
}

impl Manager {
    pub(super) fn new(
        wanted: Option<LinkSelector>,
        plan: Plan,
        status: Arc<Status>,
        end: UnixStream,
    ) -> Result<Self, linux::Error> {
        Ok(Self { links: Links::open()?, wanted, plan, status, candidates: Vec::new(), in_use: None, end })
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
        let kept = self.in_use.as_ref().map(|in_use| in_use.index).filter(|_| keep);
        if let Some(in_use) = self.in_use.take().filter(|_| !keep) {
            in_use.applied.retreat(&mut self.links);
        }
        for candidate in self.candidates.drain(..) {
            if Some(candidate.index()) == kept {
                candidate.keep();
            } else {
                candidate.restore(&mut self.links);
            }
        }
    }

    fn serve(&mut self, failures: &mut u32) -> Result<(), linux::Error> {
        let mut is_news = true;
        loop {
            let now = Instant::now();
            // Not for each frame of a flood.
            if is_news {
                self.look(now)?;
            }
            for candidate in &mut self.candidates {
                candidate.work(&self.plan, &mut self.links, now);
            }
            self.doubt(now);
            self.choose(now);
            self.apply(now);
            self.publish();

            let sockets = self.candidates.iter().flat_map(Candidate::sockets);
            let all: Vec<BorrowedFd<'_>> = [self.end.as_fd(), self.links.announcements()].into_iter().chain(sockets).collect();
            let ready = readiness::any(&all, self.wake(now))?;
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

    fn wake(&self, now: Instant) -> Instant {
        let wakes = self.candidates.iter().filter_map(|candidate| candidate.wake(now));
        let doubtful = self.in_use.as_ref().filter(|in_use| in_use.is_in_doubt).and_then(|_| self.carrier_of_in_use());
        let wake = wakes.chain(doubtful.map(|since| since + GRACE)).min();
        wake.map_or(now + SLEEP_MAX, |wake| wake.min(now + SLEEP_MAX))
    }

    /// Looks what links there are, and whether they have a carrier.
    fn look(&mut self, now: Instant) -> Result<(), linux::Error> {
        let there = self.links.ethernet()?;
        self.candidates.retain(|candidate| {
            let stays = there.iter().any(|link| link.index == candidate.index());
            if !stays {
                log::warn!("net: {} is gone", candidate.name());
            }
            stays
        });
        for link in there {
            let known = self.candidates.iter_mut().find(|candidate| candidate.index() == link.index);
            if let Some(candidate) = known {
                let is_wanted = self.in_use.as_ref().is_none_or(|in_use| in_use.is_in_doubt || in_use.index == link.index);
                if candidate.seen(link.carrier, now) && is_wanted {
                    candidate.start(&self.plan, now);
                }
            } else if self.is_ours(&link) && self.candidates.len() < LINKS_MAX {
                // The carrier is announced once the link is up.
                self.candidates.push(Candidate::take(link, &mut self.links, now));
            }
        }
        Ok(())
    }

    fn is_ours(&self, link: &Ethernet) -> bool {
        match &self.wanted {
            Some(LinkSelector::Name(name)) => link.name == *name,
            Some(LinkSelector::Mac(mac)) => link.mac == *mac,
            None => true,
        }
    }

    fn carrier_of_in_use(&self) -> Option<Instant> {
        let in_use = self.in_use.as_ref()?;
        self.candidates.iter().find(|candidate| candidate.index() == in_use.index)?.carrier()
    }

    /// Has all links asked again that have a carrier.
    fn ask_all(&mut self, now: Instant) {
        for candidate in self.candidates.iter_mut().filter(|candidate| candidate.carrier().is_some()) {
            candidate.start(&self.plan, now);
        }
    }

    /// Doubts the link in use when it loses its carrier, and believes it again when it had one for long enough.
    fn doubt(&mut self, now: Instant) {
        let carrier = self.carrier_of_in_use();
        let Some(in_use) = &mut self.in_use else { return };
        if !self.candidates.iter().any(|candidate| candidate.index() == in_use.index) {
            self.in_use = None; // its addresses went with it
            return self.ask_all(now);
        }
        match carrier {
            None if !in_use.is_in_doubt => {
                in_use.is_in_doubt = true;
                self.ask_all(now);
            }
            Some(since) if in_use.is_in_doubt && now >= since + GRACE => {
                let index = in_use.index;
                self.trust(index, now);
            }
            _ => {}
        }
    }

    /// Takes a link into use: the one before, if it is another, gives up what it has, and the others stop to ask.
    fn trust(&mut self, index: u32, now: Instant) {
        for other in self.candidates.iter_mut().filter(|candidate| candidate.index() != index) {
            other.stop();
        }
        let Some(candidate) = self.candidates.iter_mut().find(|candidate| candidate.index() == index) else { return };
        match &mut self.in_use {
            Some(in_use) if in_use.index == index => {
                in_use.is_in_doubt = false;
                if let Err(error) = in_use.applied.again(&mut self.links) {
                    let trouble = candidate.kernel_trouble(error);
                    self.give_up(trouble, now);
                }
            }
            before => {
                let applied = Applied::to(candidate.found.clone());
                if let Some(before) = before.replace(InUse { index, applied, is_in_doubt: false }) {
                    before.applied.retreat(&mut self.links);
                }
            }
        }
    }

    /// Takes the first link into use that offers something, when there is none or the one that is is doubted.
    fn choose(&mut self, now: Instant) {
        let is_settled = self.in_use.as_ref().is_some_and(|in_use| !in_use.is_in_doubt);
        if is_settled {
            return;
        }
        let doubted = self.in_use.as_ref().map(|in_use| in_use.index);
        let offering = || self.candidates.iter().filter(|candidate| candidate.offers(&self.plan, now)).map(Candidate::index);
        let index = offering().find(|index| Some(*index) == doubted).or_else(|| offering().next());
        if let Some(index) = index {
            self.trust(index, now);
        }
    }

    /// Applies what is new of what the link in use offers.
    fn apply(&mut self, now: Instant) {
        let Some(in_use) = self.in_use.as_mut().filter(|in_use| !in_use.is_in_doubt) else { return };
        let Some(candidate) = self.candidates.iter().find(|candidate| candidate.index() == in_use.index) else { return };
        if let Err(trouble) = in_use.applied.apply(&candidate.offer, &self.plan, &mut self.links) {
            self.give_up(trouble, now);
        }
    }

    /// Gives up the link in use for now, and asks on the others.
    fn give_up(&mut self, trouble: Trouble, now: Instant) {
        let Some(in_use) = self.in_use.take() else { return };
        in_use.applied.retreat(&mut self.links);
        self.ask_all(now);
        if let Some(candidate) = self.candidates.iter_mut().find(|candidate| candidate.index() == in_use.index) {
            candidate.fail(trouble, now);
        }
    }

    /// Says how things are.
    fn publish(&self) {
        let in_use = self.in_use.as_ref();
        let candidate = in_use.and_then(|in_use| self.candidates.iter().find(|candidate| candidate.index() == in_use.index));
        let up = in_use.zip(candidate).filter(|(in_use, candidate)| {
            !in_use.is_in_doubt && (in_use.applied.is_usable() || candidate.offers_link_local(&self.plan))
        });
        match (up, candidate) {
            (Some((in_use, candidate)), _) => {
                let resolvers = candidate.resolvers(&self.plan);
                self.status
                    .set(Some(Up { index: in_use.index, name: candidate.name().to_owned(), resolvers }), Trouble::default());
            }
            (None, Some(candidate)) if in_use.is_some_and(|in_use| !in_use.is_in_doubt) => {
                self.status.set(None, Trouble::Unproved { link: candidate.name().to_owned() });
            }
            _ => {
                let asking = self.candidates.iter().find(|candidate| candidate.carrier().is_some());
                let waiting = asking.or(self.candidates.first());
                self.status.set(None, waiting.map_or(Trouble::NoLink, |candidate| candidate.trouble(&self.plan)));
            }
        }
    }
}
