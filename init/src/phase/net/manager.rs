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
        if let Err(error) = self.serve() {
            log::warn!("net: {error}");
            self.status.broke(error);
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

    fn serve(&mut self) -> Result<(), kernel::Error> {
        loop {
            let now = Instant::now();
            self.look(now)?;
            for candidate in &mut self.candidates {
                candidate.work(&self.plan, &mut self.links, now);
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
            if ready.get(1) == Some(&true) {
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
            let known = self.candidates.iter_mut().find(|candidate| candidate.index() == link.index);
            if let Some(candidate) = known {
                candidate.seen(link.carrier, is_wanted, &self.plan, &mut self.links, now);
            } else if self.is_ours(&link) && self.candidates.len() < LINKS_MAX {
                // The carrier is announced once the link is up.
                let name = link.name.clone();
                match Candidate::take(link, &mut self.links) {
                    Ok(candidate) => self.candidates.push(candidate),
                    Err(error) => {
                        log::warn!("net: {name}: {error}");
                        self.status.set(None, Trouble::Kernel { link: name, error });
                    }
                }
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

    /// Keeps the link that is in use for as long as it has a carrier; else takes the first that can be used.
    fn choose(&mut self, now: Instant) {
        let chosen = |candidate: &&Candidate| self.chosen.is_some_and(|chosen| chosen == candidate.index());
        if self.chosen.is_some() && !self.candidates.iter().find(chosen).is_some_and(Candidate::has_carrier) {
            self.chosen = None;
            for candidate in self.candidates.iter_mut().filter(|candidate| candidate.has_carrier()) {
                candidate.start(&self.plan, &mut self.links, now);
            }
        }
        let may = |candidate: &&Candidate| self.chosen.is_none_or(|chosen| chosen == candidate.index());
        let up = self.candidates.iter().filter(may).find_map(|candidate| candidate.up(&self.plan));
        let Some(up) = up else {
            let waiting = self.candidates.iter().find(|candidate| candidate.has_carrier()).or(self.candidates.first());
            self.status.set(None, waiting.map_or(Trouble::NoLink, |candidate| candidate.trouble(&self.plan)));
            return;
        };
        if self.chosen.is_none() {
            self.chosen = Some(up.index);
            // One answer is enough. What another link still has to say is not waited for.
            for other in self.candidates.iter_mut().filter(|candidate| candidate.index() != up.index) {
                other.rest();
            }
        }
        self.status.set(Some(up), Trouble::default());
    }
}
