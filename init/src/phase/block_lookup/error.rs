//! Why no device was found. Each phase has its own codes for these.

use std::fmt;

/// The most items in one line: the kernel cuts records of its log at about 1,000 bytes.
const LISTED: usize = 8;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("listing the disks")]
    Kernel(#[source] linux::Error),
    /// No disk has the name. The list contains the serial numbers seen, or the disks that were not searched.
    #[error("{0} did not appear{1}")]
    Missing(String, List),
    /// No readable table contains it, and each disk that was not searched has a damaged table.
    #[error("{0} was not found, and a partition table is damaged: {1}")]
    Damaged(String, List),
    /// No readable table contains it, and each disk that was not searched cannot be read.
    #[error("{0} was not found, and a disk cannot be read: {1}")]
    Unreadable(String, List),
    /// It exists and did not open before the deadline.
    #[error("{0} was found but cannot be opened")]
    NotOpen(String, #[source] linux::Error),
    #[error("{0} is partition {1} of {2}, but the kernel has no partition there")]
    Disagree(String, u16, String),
    #[error(
        "{what} is in a partition table for {table}-byte sectors, but {name} has {disk}-byte sectors: \
         attach the disk with {table}-byte sectors or make the image for {disk}-byte sectors"
    )]
    SectorSize { what: String, table: u32, name: String, disk: u32 },
    #[error("{0} exists more than once: detach the copy")]
    Ambiguous(String),
}

impl Error {
    /// A disk that is missing or unreadable may work after the next start; what a disk contains stays the same.
    pub(crate) const fn is_transient(&self) -> bool {
        match self {
            Self::Kernel(_) | Self::Missing(..) | Self::Unreadable(..) | Self::NotOpen(..) => true,
            Self::Damaged(..) | Self::Disagree(..) | Self::SectorSize { .. } | Self::Ambiguous(_) => false,
        }
    }
}

/// A list after a heading: at most eight items, then the number of the others. Empty without items.
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
