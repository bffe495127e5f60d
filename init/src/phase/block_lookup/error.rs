//! Why no device was found. Each phase has codes of its own for these.

use std::fmt;

/// The most items of a list in one line: the kernel cuts records of its log at about 1,000 bytes.
const LISTED: usize = 8;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("disks")]
    Kernel(#[source] linux::Error),
    /// No disk has it. The list has the serial numbers that were seen, or the disks that were not searched.
    #[error("{0} did not appear{1}")]
    Missing(String, List),
    /// No table that can be read names it, and all disks that were not searched have a damaged table.
    #[error("{0} was not found, and a partition table is damaged: {1}")]
    Damaged(String, List),
    /// No table that can be read names it, and all disks that were not searched cannot be read.
    #[error("{0} was not found, and a disk cannot be read: {1}")]
    Unreadable(String, List),
    /// It is there and did not open before the deadline.
    #[error("{0} was found but cannot be opened")]
    NotOpen(String, #[source] linux::Error),
    #[error("{0} is partition {1} of {2}, but the kernel has no partition there")]
    Disagree(String, u16, String),
    #[error(
        "{what} is in a partition table for {table}-byte sectors, but {name} has {disk}-byte sectors: \
         attach the disk with {table}-byte sectors or make the image for {disk}-byte sectors"
    )]
    SectorSize { what: String, table: u32, name: String, disk: u32 },
    #[error("{0} is there more than once")]
    Ambiguous(String),
}

impl Error {
    /// A disk that is not there, or not readable, may be after the next start; what the disk says stays the same.
    pub(crate) const fn is_transient(&self) -> bool {
        match self {
            Self::Kernel(_) | Self::Missing(..) | Self::Unreadable(..) | Self::NotOpen(..) => true,
            Self::Damaged(..) | Self::Disagree(..) | Self::SectorSize { .. } | Self::Ambiguous(_) => false,
        }
    }
}

/// Items behind a heading: at most eight, then how many more. Nothing at all when there is no item.
#[derive(Debug)]
pub(crate) struct List {
    heading: &'static str,
    items: Vec<String>,
}

impl List {
    pub(super) const fn new(heading: &'static str, items: Vec<String>) -> Self {
        Self { heading, items }
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = self.heading;
        for item in self.items.iter().take(LISTED) {
            write!(f, "{separator}{item}")?;
            separator = ", ";
        }
        match self.items.len().checked_sub(LISTED) {
            Some(more @ 1..) => write!(f, " and {more} more"),
            _ => Ok(()),
        }
    }
}
