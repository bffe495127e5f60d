//! The columns of the table: phases, their ranges of numbers, retired numbers, and the macro that makes a table of rows.

use std::fmt;
use std::ops::RangeInclusive;

/// The phase of the boot that ends with a code, as the failure line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Mounts the kernel's file systems and loads modules.
    Early,
    /// Reads the command line and the trust files.
    Policy,
    /// Verifies and mounts the root.
    Root,
    /// Brings up one link.
    Net,
    /// Fetches shares from vaults.
    Unlock,
    /// Opens or formats scratch disks.
    Scratch,
    /// Opens or formats data disks.
    Data,
    /// Waits until no thread of PID 1 is left.
    Quiesce,
    /// Extends registers.
    Measure,
    /// Starts the real init.
    Handoff,
    /// No phase: PID 1 itself has a defect.
    Internal,
}

impl Phase {
    /// The phase as the failure line names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Early => "early",
            Self::Policy => "policy",
            Self::Root => "root",
            Self::Net => "net",
            Self::Unlock => "unlock",
            Self::Scratch => "scratch",
            Self::Data => "data",
            Self::Quiesce => "quiesce",
            Self::Measure => "measure",
            Self::Handoff => "handoff",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Numbers that belong together.
#[derive(Debug)]
pub struct Range {
    /// The numbers, used or not.
    pub numbers: RangeInclusive<u8>,
    /// What failed, in general.
    pub title: &'static str,
    /// The phases that usually end with one of the numbers. A later phase that loads a module or opens a disk can end with it as well.
    pub phases: &'static [Phase],
}

/// Every range, in order.
pub const RANGES: &[Range] = &[
    Range { numbers: 10..=19, title: "kernel file systems and modules", phases: &[Phase::Early] },
    Range { numbers: 20..=29, title: "command line and trust files", phases: &[Phase::Policy] },
    Range { numbers: 30..=39, title: "root disk", phases: &[Phase::Root, Phase::Quiesce] },
    Range { numbers: 40..=49, title: "network", phases: &[Phase::Net] },
    Range { numbers: 50..=59, title: "vaults and key", phases: &[Phase::Unlock] },
    Range { numbers: 60..=69, title: "scratch disks", phases: &[Phase::Scratch] },
    Range { numbers: 70..=89, title: "data disks", phases: &[Phase::Data] },
    Range {
        numbers: 90..=99,
        title: "measurement, start of the real init, defects",
        phases: &[Phase::Measure, Phase::Handoff, Phase::Quiesce, Phase::Internal],
    },
];

/// Numbers that earlier versions used, with what they meant. They are never used again.
pub const RETIRED: &[(u8, &str)] = &[(27, "The command line had a key that this version read but did not act on.")];

/// Makes `ErrorCode` of rows: number, name, phase, action, condition of the action, meaning, advice.
macro_rules! codes {
    ($($number:literal $name:ident $phase:ident $action:ident $(if $when:literal)? ; $meaning:literal $advice:literal)*) => {
        /// Why a boot failed, as the failure line prints it: `E53`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode { $(
            #[doc = $meaning]
            $name = $number,
        )* }

        impl ErrorCode {
            /// Every code, in the order of the numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The number, which stays the same in all versions.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Self::$name => $number,)* }
            }

            /// The action that always follows; `None` where it depends on the error.
            #[must_use]
            pub const fn action(self) -> Option<FailureAction> {
                match self { $(Self::$name => codes!(@action $action),)* }
            }

            /// The phase that ends with it.
            #[must_use]
            pub const fn phase(self) -> Phase {
                match self { $(Self::$name => Phase::$phase,)* }
            }

            /// The name in the source.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Where the action depends on the error: when it is which.
            #[must_use]
            pub const fn condition(self) -> Option<&'static str> {
                match self { $(Self::$name => codes!(@when $($when)?),)* }
            }

            /// What PID 1 saw.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }

            /// What the operator should do.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* }
            }
        }
    };
    (@action PowerOff) => { Some(FailureAction::PowerOff) };
    (@action Reboot) => { Some(FailureAction::Reboot) };
    (@action Depends) => { None };
    (@when) => { None };
    (@when $when:literal) => { Some($when) };
}
pub(crate) use codes;
