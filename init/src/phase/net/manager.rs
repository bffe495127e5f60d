//! The thread that owns the links: it waits for links, requests addresses on all of them in parallel, and uses the first that
//! offers one. When the link in use loses its carrier, it requests addresses on all links again.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cmdline::LinkSelector;
use linux::link::{Ethernet, Links};
use linux::poll;

use super::active_link::ActiveLink;
use super::link_autoconf::LinkAutoconf;
use super::offer::Plan;
use super::status::{LinkInfo, LinkProblem, Status};

/// The longest sleep: events that were missed are found then.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// After the link in use lost its carrier, how long its addresses are not trusted: the cable may lead to another network now.
/// After that they are used again without an answer, since a server need not be reachable for its addresses to stay valid.
const GRACE: Duration = Duration::from_secs(5);
/// The pause after an error of the kernel, the most errors in a row, and the wait for the end of the boot after them.
const FAILURE: Duration = Duration::from_secs(1);
const FAILURES_MAX: u32 = 5;
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);
/// The most links that are managed.
const LINKS_MAX: usize = 16;

/// The link that has addresses.
struct InUse {
    index: u32,
    active_link: ActiveLink,
    /// It lost its carrier, and its addresses were not confirmed since.
    is_in_doubt: bool,
}

/// The network's thread.
pub(super) struct Manager {
    links: Links,
    wanted: Option<LinkSelector>,
    plan: Plan,
    status: Arc<Status>,
    candidates: Vec<LinkAutoconf>,
    in_use: Option<InUse>,
    /// Becomes readable when the thread is to end.
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

    /// Runs until it is told to end, then restores the links; with `keep`, all except the one in use.
    pub(super) fn run(mut self, keep: bool) {
        let mut failures = 0;
        while let Err(error) = self.event_loop(&mut failures) {
            failures += 1;
            log::warn!("net: {error}");
            if failures >= FAILURES_MAX {
                self.status.fail_with(error);
            }
            // Links stay configured until the end: connections over them may still work.
            let pause = if failures >= FAILURES_MAX { FOR_EVER } else { FAILURE };
            match poll::any(&[self.end.as_fd()], Instant::now() + pause) {
                Ok(ended) if !ended.contains(&true) => {}
                _ => break,
            }
        }
        let kept = self.in_use.as_ref().map(|in_use| in_use.index).filter(|_| keep);
        if let Some(in_use) = self.in_use.take().filter(|_| !keep) {
            in_use.active_link.remove_all(&mut self.links);
        }
        for candidate in self.candidates.drain(..) {
            if Some(candidate.index()) == kept {
                candidate.keep();
            } else {
                candidate.restore(&mut self.links);
            }
        }
    }

    fn event_loop(&mut self, failures: &mut u32) -> Result<(), linux::Error> {
        let mut has_changed = true;
        loop {
            let now = Instant::now();
            // Not after each frame of a flood.
            if has_changed {
                self.update_links(now)?;
            }
            for candidate in &mut self.candidates {
                candidate.process(&self.plan, &mut self.links, now);
            }
            self.update_doubt(now);
            self.choose(now);
            self.apply(now);
            self.publish();

            let sockets = self.candidates.iter().flat_map(LinkAutoconf::sockets);
            let all: Vec<BorrowedFd<'_>> = [self.end.as_fd(), self.links.notifications()].into_iter().chain(sockets).collect();
            let ready = poll::any(&all, self.wake(now))?;
            if ready.first() == Some(&true) {
                return Ok(());
            }
            *failures = 0;
            // Also after a long silence, to find events that were missed.
            has_changed = ready.get(1) == Some(&true) || !ready.contains(&true);
            if has_changed {
                self.links.drain_notifications();
            }
        }
    }

    fn wake(&self, now: Instant) -> Instant {
        let wakes = self.candidates.iter().filter_map(|candidate| candidate.wake(now));
        let doubtful = self.in_use.as_ref().filter(|in_use| in_use.is_in_doubt).and_then(|_| self.carrier_of_in_use());
        let wake = wakes.chain(doubtful.map(|since| since + GRACE)).min();
        wake.map_or(now + SLEEP_MAX, |wake| wake.min(now + SLEEP_MAX))
    }

    /// Lists the links and updates their carriers.
    fn update_links(&mut self, now: Instant) -> Result<(), linux::Error> {
        let found = self.links.ethernet()?;
        self.candidates.retain(|candidate| {
            let stays = found.iter().any(|link| link.index == candidate.index());
            if !stays {
                log::warn!("net: {} is gone", candidate.name());
            }
            stays
        });
        for link in found {
            let known = self.candidates.iter_mut().find(|candidate| candidate.index() == link.index);
            if let Some(candidate) = known {
                let is_wanted = self.in_use.as_ref().is_none_or(|in_use| in_use.is_in_doubt || in_use.index == link.index);
                if candidate.update_carrier(link.carrier, now) && is_wanted {
                    candidate.start(&self.plan, now);
                }
            } else if self.matches_policy(&link) && self.candidates.len() < LINKS_MAX {
                // The kernel announces the carrier once the link is up.
                self.candidates.push(LinkAutoconf::new(link, &mut self.links, now));
            }
        }
        Ok(())
    }

    fn matches_policy(&self, link: &Ethernet) -> bool {
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

    /// Requests addresses on all links that have a carrier.
    fn ask_all(&mut self, now: Instant) {
        for candidate in self.candidates.iter_mut().filter(|candidate| candidate.carrier().is_some()) {
            candidate.start(&self.plan, now);
        }
    }

    /// Doubts the link in use when it loses its carrier, and trusts it again after it had one for [`GRACE`].
    fn update_doubt(&mut self, now: Instant) {
        let carrier = self.carrier_of_in_use();
        let Some(in_use) = &mut self.in_use else { return };
        if !self.candidates.iter().any(|candidate| candidate.index() == in_use.index) {
            self.in_use = None; // the kernel removed its addresses with it
            return self.ask_all(now);
        }
        match carrier {
            None if !in_use.is_in_doubt => {
                in_use.is_in_doubt = true;
                self.ask_all(now);
            }
            Some(since) if in_use.is_in_doubt && now >= since + GRACE => {
                let index = in_use.index;
                self.select(index, now);
            }
            _ => {}
        }
    }

    /// Makes a link the one in use: the former link loses its addresses, and the others stop requesting.
    fn select(&mut self, index: u32, now: Instant) {
        for other in self.candidates.iter_mut().filter(|candidate| candidate.index() != index) {
            other.stop();
        }
        let Some(candidate) = self.candidates.iter_mut().find(|candidate| candidate.index() == index) else { return };
        match &mut self.in_use {
            Some(in_use) if in_use.index == index => {
                in_use.is_in_doubt = false;
                if let Err(error) = in_use.active_link.reapply(&mut self.links) {
                    let problem = candidate.kernel_problem(error);
                    self.give_up(problem, now);
                }
            }
            before => {
                let active_link = ActiveLink::new(candidate.found.clone());
                if let Some(before) = before.replace(InUse { index, active_link, is_in_doubt: false }) {
                    before.active_link.remove_all(&mut self.links);
                }
            }
        }
    }

    /// Selects the first link that offers an address, when no link is in use or the one in use is doubted.
    fn choose(&mut self, now: Instant) {
        let is_settled = self.in_use.as_ref().is_some_and(|in_use| !in_use.is_in_doubt);
        if is_settled {
            return;
        }
        let doubted = self.in_use.as_ref().map(|in_use| in_use.index);
        let offering = || self.candidates.iter().filter(|candidate| candidate.offers(&self.plan, now)).map(LinkAutoconf::index);
        let index = offering().find(|index| Some(*index) == doubted).or_else(|| offering().next());
        if let Some(index) = index {
            self.select(index, now);
        }
    }

    /// Applies changes of the offer to the link in use.
    fn apply(&mut self, now: Instant) {
        let Some(in_use) = self.in_use.as_mut().filter(|in_use| !in_use.is_in_doubt) else { return };
        let Some(candidate) = self.candidates.iter().find(|candidate| candidate.index() == in_use.index) else { return };
        if let Err(problem) = in_use.active_link.apply(&candidate.offer, &self.plan, &mut self.links) {
            self.give_up(problem, now);
        }
    }

    /// Releases the link in use and requests addresses on the others.
    fn give_up(&mut self, problem: LinkProblem, now: Instant) {
        let Some(in_use) = self.in_use.take() else { return };
        in_use.active_link.remove_all(&mut self.links);
        self.ask_all(now);
        if let Some(candidate) = self.candidates.iter_mut().find(|candidate| candidate.index() == in_use.index) {
            candidate.fail(problem, now);
        }
    }

    /// Publishes the link in use, or the problem.
    fn publish(&self) {
        let in_use = self.in_use.as_ref();
        let candidate = in_use.and_then(|in_use| self.candidates.iter().find(|candidate| candidate.index() == in_use.index));
        let up = in_use.zip(candidate).filter(|(in_use, candidate)| {
            !in_use.is_in_doubt && (in_use.active_link.is_usable() || candidate.offers_link_local(&self.plan))
        });
        match (up, candidate) {
            (Some((in_use, candidate)), _) => {
                let resolvers = candidate.resolvers(&self.plan);
                self.status.set(
                    Some(LinkInfo { index: in_use.index, name: candidate.name().to_owned(), resolvers }),
                    LinkProblem::default(),
                );
            }
            (None, Some(candidate)) if in_use.is_some_and(|in_use| !in_use.is_in_doubt) => {
                self.status.set(None, LinkProblem::Unproved { link: candidate.name().to_owned() });
            }
            _ => {
                let asking = self.candidates.iter().find(|candidate| candidate.carrier().is_some());
                let waiting = asking.or(self.candidates.first());
                self.status.set(None, waiting.map_or(LinkProblem::NoLink, |candidate| candidate.problem(&self.plan)));
            }
        }
    }
}
