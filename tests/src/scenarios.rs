//! The scenarios, by name. Each is a few lines: who is there, what happens, how it must end.

mod data;
mod policy;
mod root;
mod unlock;

use std::path::PathBuf;

use crate::{Artifacts, Failure};

/// What a scenario plays on.
pub struct Stage {
    /// The built files.
    pub artifacts: Artifacts,
    /// A folder of its own.
    pub folder: PathBuf,
}

impl Stage {
    /// Where the console of the next boot is kept: `console-1.log` and on.
    pub(crate) fn next_console(&self) -> PathBuf {
        let names = (1..).map(|number: u32| self.folder.join(format!("console-{number}.log")));
        names.into_iter().find(|path| !path.exists()).unwrap_or_else(|| self.folder.join("console.log"))
    }
}

/// A scenario: its name says what the machine does.
pub struct Scenario {
    /// As `tests/run NAME` takes it.
    pub name: &'static str,
    /// Plays it.
    pub play: fn(&Stage) -> Result<(), Failure>,
}

/// All scenarios, the longest first, so that two at a time end together.
pub const ALL: &[Scenario] = &[
    Scenario { name: "data-survives-a-second-boot-into-systemd", play: data::survives_a_second_boot_into_systemd },
    Scenario { name: "stops-when-one-vault-of-three-answers", play: unlock::stops_when_one_vault_of_three_answers },
    Scenario { name: "counts-one-node-behind-two-addresses-once", play: unlock::counts_one_node_behind_two_addresses_once },
    Scenario { name: "unlocks-with-one-vault-lying", play: unlock::unlocks_with_one_vault_lying },
    Scenario { name: "unlocks-with-one-vault-down", play: unlock::unlocks_with_one_vault_down },
    Scenario { name: "unlocks-with-one-vault-hanging", play: unlock::unlocks_with_one_vault_hanging },
    Scenario { name: "unlocks-with-three-of-three", play: unlock::unlocks_with_three_of_three },
    Scenario { name: "stops-when-all-vaults-deny", play: unlock::stops_when_all_vaults_deny },
    Scenario { name: "stops-at-vaults-of-another-build", play: unlock::stops_at_vaults_of_another_build },
    Scenario { name: "intels-anchor-refuses-simulated-vaults", play: unlock::intels_anchor_refuses_simulated_vaults },
    Scenario { name: "refuses-a-cipher-null-keyslot", play: data::refuses_a_cipher_null_keyslot },
    Scenario { name: "leaves-a-blank-disk-blank-without-leave-to-format", play: data::leaves_a_blank_disk_blank },
    Scenario { name: "refuses-a-disk-neither-blank-nor-luks", play: data::refuses_a_disk_neither_blank_nor_luks },
    Scenario { name: "refuses-to-format-on-two-shares-alone", play: data::refuses_to_format_on_two_shares_alone },
    Scenario { name: "boots-without-a-data-disk", play: root::boots_without_a_data_disk },
    Scenario { name: "stops-at-a-wrong-root-hash", play: root::stops_at_a_wrong_root_hash },
    Scenario { name: "stops-at-a-changed-first-block", play: root::stops_at_a_changed_first_block },
    Scenario { name: "panics-at-a-changed-block-read-later", play: root::panics_at_a_changed_block_read_later },
    Scenario { name: "refuses-a-command-line-it-does-not-know", play: policy::refuses_words_it_does_not_know },
    Scenario { name: "refuses-a-repeated-root-hash", play: policy::refuses_a_repeated_root_hash },
    Scenario { name: "debug-words-work-and-show-in-the-receipt", play: policy::debug_words_work_and_show },
];
