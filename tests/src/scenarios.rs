//! The scenarios, by name. Each is a few lines: who is there, what happens, how it must end.

mod attestation;
mod cuts;
mod data;
mod disks;
mod faults;
mod foreign;
mod growth;
mod handoff;
mod header;
mod image;
mod lookup;
mod measure;
mod names;
mod net;
mod policy;
mod root;
mod scratch;
mod snp;
mod stress;
mod unlock;

pub(crate) use net::DEAD_LINK_FIRST;
pub(crate) use stress::for_long;

use std::path::PathBuf;

use crate::{Artifacts, Doing, Failure};

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

    /// The simulated initrd with one file more, or another in its place.
    pub(crate) fn initrd_with(&self, path: &str, content: Vec<u8>) -> Result<PathBuf, Failure> {
        let mut initrd = std::fs::read(&self.artifacts.simulated).doing("the simulated initrd")?;
        // The kernel takes several archives, one after the other, each at a multiple of four; the last file of a name stays.
        initrd.resize(initrd.len().next_multiple_of(4), 0);
        let file = initrd::cpio::Entry::file(path, 0o444, content);
        initrd.extend(initrd::cpio::write(vec![file]).doing("an archive")?);
        let made = self.folder.join("another-initrd.zst");
        std::fs::write(&made, initrd).doing("an initrd")?;
        Ok(made)
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
    Scenario { name: "power-cuts-in-the-first-boot", play: cuts::in_the_first_boot },
    Scenario { name: "power-cut-and-a-spoiled-journal-are-never-wrong-data", play: cuts::with_a_spoiled_journal },
    Scenario { name: "power-cuts-while-the-file-system-grows", play: cuts::while_the_file_system_grows },
    Scenario { name: "power-cuts-in-a-rotation", play: cuts::in_a_rotation },
    Scenario { name: "power-cuts-in-a-rotation-after-one-that-was-cut", play: cuts::in_a_rotation_after_one_that_was_cut },
    Scenario { name: "many-processes-lose-nothing-on-ext4", play: stress::on_ext4 },
    Scenario { name: "many-processes-lose-nothing-on-ext4-with-one-cpu", play: stress::on_ext4_with_one_cpu },
    Scenario { name: "many-processes-lose-nothing-on-xfs", play: stress::on_xfs },
    Scenario { name: "many-processes-lose-nothing-on-btrfs", play: stress::on_btrfs },
    Scenario { name: "many-processes-lose-nothing-on-xfs-with-one-cpu", play: stress::on_xfs_with_one_cpu },
    Scenario { name: "many-processes-lose-nothing-on-btrfs-with-one-cpu", play: stress::on_btrfs_with_one_cpu },
    Scenario { name: "reads-no-sector-that-was-never-written", play: stress::reads_no_sector_that_was_never_written },
    Scenario { name: "boots-a-signed-uki-through-firmware", play: image::boots_a_signed_uki },
    Scenario { name: "boots-shim-and-grub-through-firmware", play: image::boots_shim_and_grub },
    Scenario { name: "measures-into-a-tpm-under-real-firmware", play: measure::measures_into_a_tpm },
    Scenario { name: "finds-its-command-line-in-a-ccel", play: measure::finds_its_command_line_in_a_ccel },
    Scenario { name: "nothing-after-the-handoff-gets-the-key", play: measure::nothing_after_the_handoff_gets_the_key },
    Scenario { name: "measures-what-happened-into-rtmr3", play: measure::measures_into_rtmr3 },
    Scenario { name: "stops-where-a-named-register-is-missing", play: measure::stops_where_a_named_register_is_missing },
    Scenario { name: "stops-where-the-kernel-offers-no-registers", play: measure::stops_where_the_kernel_offers_no_registers },
    Scenario { name: "formats-a-large-sparse-disk", play: data::formats_a_large_sparse_disk },
    Scenario { name: "memory-goes-to-scratch-swap-and-comes-back", play: scratch::memory_goes_to_swap_and_comes_back },
    Scenario { name: "scratch-refuses-a-data-disk", play: scratch::refuses_a_data_disk },
    Scenario { name: "scratch-space-is-new-at-each-boot", play: scratch::is_new_at_each_boot },
    Scenario { name: "data-survives-a-second-boot-into-systemd", play: data::survives_a_second_boot_into_systemd },
    Scenario { name: "gives-up-a-disk-that-does-not-answer", play: lookup::gives_up_a_disk_that_does_not_answer },
    Scenario {
        name: "reboots-when-a-disk-does-not-answer-its-driver",
        play: lookup::reboots_when_a_disk_does_not_answer_its_driver,
    },
    Scenario { name: "reboots-beside-a-disk-that-stops-answering", play: lookup::reboots_beside_a_disk_that_stops_answering },
    Scenario { name: "reboots-when-a-quote-has-no-end", play: handoff::reboots_when_a_quote_has_no_end },
    Scenario { name: "ends-where-the-kernel-refuses-threads", play: handoff::ends_where_the_kernel_refuses_threads },
    Scenario { name: "no-disk-is-rotated-to-the-hosts-key", play: foreign::no_disk_is_rotated_to_the_hosts_key },
    Scenario { name: "no-disk-of-the-hosts-is-opened", play: foreign::no_disk_of_the_hosts_is_opened },
    Scenario { name: "no-disk-is-formatted-under-the-hosts-key", play: foreign::no_disk_is_formatted_under_the_hosts_key },
    Scenario { name: "vaults-run-on-listed-platforms-only", play: attestation::vaults_run_on_listed_platforms_only },
    Scenario { name: "stops-when-one-vault-of-three-answers", play: unlock::stops_when_one_vault_of_three_answers },
    Scenario { name: "counts-one-node-behind-two-addresses-once", play: unlock::counts_one_node_behind_two_addresses_once },
    Scenario { name: "stops-without-a-quoting-service", play: attestation::stops_without_a_quoting_service },
    Scenario {
        name: "expired-collateral-is-not-revived-by-the-host",
        play: attestation::collateral_that_ran_out_is_not_revived_by_the_host,
    },
    Scenario { name: "survives-a-host-that-lies-about-quotes", play: attestation::survives_a_host_that_lies_about_quotes },
    Scenario { name: "unlocks-with-a-slow-quoting-service", play: attestation::unlocks_with_a_slow_quoting_service },
    Scenario { name: "names-every-vault-that-lies", play: attestation::names_every_vault_that_lies },
    Scenario { name: "unlocks-with-the-clock-a-year-behind", play: attestation::unlocks_with_the_clock_a_year_behind },
    Scenario { name: "unlocks-with-the-clock-a-year-ahead", play: attestation::unlocks_with_the_clock_a_year_ahead },
    Scenario { name: "one-vault-cannot-turn-time", play: attestation::one_vault_cannot_turn_time },
    Scenario { name: "one-stalled-vault-is-passed-by", play: attestation::one_stalled_vault_is_passed_by },
    Scenario {
        name: "nodes-with-troubles-of-their-own-are-passed-by",
        play: attestation::nodes_with_troubles_of_their_own_are_passed_by,
    },
    Scenario { name: "two-vaults-with-one-share-count-once", play: attestation::two_vaults_with_one_share_count_once },
    Scenario { name: "one-lying-vault-among-four-is-named", play: attestation::one_lying_vault_among_four_is_named },
    Scenario {
        name: "signatures-are-enough-where-policy-says-so",
        play: attestation::signatures_are_enough_where_policy_says_so,
    },
    Scenario { name: "collateral-comes-from-a-cache-once", play: attestation::collateral_comes_from_a_cache_once },
    Scenario { name: "a-cache-can-say-that-a-platform-is-bad", play: attestation::a_cache_can_say_that_a_platform_is_bad },
    Scenario { name: "collateral-comes-stapled", play: attestation::collateral_comes_stapled },
    Scenario { name: "collateral-comes-with-the-initrd", play: attestation::collateral_comes_with_the_initrd },
    Scenario { name: "unlocks-with-one-vault-lying", play: unlock::unlocks_with_one_vault_lying },
    Scenario { name: "unlocks-with-one-vault-down", play: unlock::unlocks_with_one_vault_down },
    Scenario { name: "unlocks-with-one-vault-hanging", play: unlock::unlocks_with_one_vault_hanging },
    Scenario { name: "unlocks-with-three-of-three", play: unlock::unlocks_with_three_of_three },
    Scenario { name: "stops-when-all-vaults-deny", play: unlock::stops_when_all_vaults_deny },
    Scenario { name: "stops-at-vaults-of-another-build", play: unlock::stops_at_vaults_of_another_build },
    Scenario { name: "intels-anchor-refuses-simulated-vaults", play: unlock::intels_anchor_refuses_simulated_vaults },
    Scenario { name: "refuses-a-rewritten-header", play: header::refuses_a_rewritten_header },
    Scenario { name: "opens-a-disk-that-others-made-and-rotates-it", play: data::opens_a_disk_that_others_made },
    Scenario { name: "upgraded-image-is-denied-until-promoted", play: data::upgrade_is_denied_until_promoted },
    Scenario { name: "older-header-does-not-answer-to-the-current-key", play: header::an_older_header_is_not_the_current_keys },
    Scenario { name: "flipped-bits-are-never-wrong-data", play: header::flipped_bits_are_never_wrong_data },
    Scenario { name: "swapped-and-cloned-disks-are-refused", play: header::swapped_and_cloned_disks_are_refused },
    Scenario { name: "larger-and-smaller-disks-end-as-they-must", play: header::other_sizes_end_as_they_must },
    Scenario { name: "restores-a-backup-from-before-a-rotation", play: header::restores_a_backup_from_before_a_rotation },
    Scenario {
        name: "refuses-a-disk-that-another-machine-writes-to",
        play: header::refuses_a_disk_that_another_machine_writes_to,
    },
    Scenario { name: "mends-a-torn-header-copy", play: header::mends_a_torn_header_copy },
    Scenario { name: "keeps-files-on-xfs-under-aegis", play: data::keeps_files_on_xfs_under_aegis },
    Scenario { name: "keeps-files-on-btrfs-under-gcm", play: data::keeps_files_on_btrfs_under_gcm },
    Scenario { name: "keeps-files-after-a-full-wipe", play: data::keeps_files_after_a_full_wipe },
    Scenario { name: "copies-to-a-new-disk-with-a-key-of-its-own", play: disks::copies_to_a_new_disk_with_a_key_of_its_own },
    Scenario { name: "grows-with-its-disk-on-ext4", play: growth::grows_with_its_disk_on_ext4 },
    Scenario { name: "grows-with-its-disk-on-xfs", play: growth::grows_with_its_disk_on_xfs },
    Scenario { name: "grows-with-its-disk-on-btrfs", play: growth::grows_with_its_disk_on_btrfs },
    Scenario { name: "failing-disks-end-as-policy-says", play: faults::failing_disks_end_as_policy_says },
    Scenario { name: "changed-inodes-end-as-policy-says", play: faults::changed_inodes_end_as_policy_says },
    Scenario { name: "initialises-the-tables-of-an-earlier-version", play: data::initialises_the_tables_of_an_earlier_version },
    Scenario { name: "checks-and-repairs-before-the-mount", play: data::checks_and_repairs_before_the_mount },
    Scenario { name: "formats-until-a-time-and-opens-one-uuid", play: data::formats_until_a_time_and_opens_one_uuid },
    Scenario { name: "boots-beside-disks-that-are-damaged", play: lookup::boots_beside_damaged_disks },
    Scenario { name: "finds-disks-with-4096-byte-sectors-and-long-serials", play: lookup::finds_large_sectors_and_long_serials },
    Scenario { name: "finds-its-disks-on-nvme-and-scsi", play: data::finds_its_disks_on_nvme_and_scsi },
    Scenario { name: "firmware-refuses-a-changed-uki", play: image::firmware_refuses_a_changed_uki },
    Scenario { name: "production-image-is-closed", play: image::production_is_closed },
    Scenario { name: "takes-nothing-that-the-host-brings-along", play: image::takes_nothing_from_the_host },
    Scenario { name: "boots-an-image-of-another-project", play: image::boots_an_image_of_another_project },
    Scenario { name: "powers-off-when-the-data-disk-is-hidden", play: data::powers_off_when_the_data_disk_is_hidden },
    Scenario { name: "leaves-a-blank-disk-blank-without-leave-to-format", play: data::leaves_a_blank_disk_blank },
    Scenario { name: "refuses-a-disk-neither-blank-nor-luks", play: data::refuses_a_disk_neither_blank_nor_luks },
    Scenario { name: "refuses-to-format-under-a-key-of-anybodys", play: data::refuses_to_format_under_a_key_of_anybodys },
    Scenario { name: "formats-the-smallest-disk-and-none-smaller", play: data::formats_the_smallest_disk },
    Scenario { name: "stops-in-time-without-a-dhcp-server", play: net::stops_in_time_without_a_dhcp_server },
    Scenario { name: "stops-in-time-when-vaults-are-black-holes", play: net::stops_in_time_when_vaults_are_black_holes },
    Scenario { name: "stops-in-time-when-every-address-is-somebodys", play: net::stops_in_time_when_every_address_is_somebodys },
    Scenario { name: "silent-name-servers-end-with-patience", play: names::silent_name_servers_end_with_patience },
    Scenario { name: "lies-about-names-only-cost-time", play: names::lies_about_names_only_cost_time },
    Scenario { name: "takes-static-addresses-of-either-family", play: net::takes_static_addresses_of_either_family },
    Scenario { name: "link-lost-in-the-middle-comes-back", play: net::link_lost_in_the_middle_comes_back },
    Scenario { name: "takes-a-lease-among-hostile-answers", play: net::takes_a_lease_among_hostile_answers },
    Scenario { name: "networkd-works-after-a-returned-link", play: net::networkd_works_after_a_returned_link },
    Scenario { name: "makes-an-address-under-a-flood-of-routers", play: net::makes_an_address_under_a_flood_of_routers },
    Scenario { name: "finds-vaults-by-names-however-told", play: names::finds_vaults_by_names_in_any_way_they_are_told },
    Scenario { name: "takes-classless-routes-and-no-router", play: net::takes_classless_routes_and_no_router },
    Scenario { name: "goes-over-to-the-other-link", play: net::goes_over_to_the_other_link },
    Scenario {
        name: "names-that-lead-to-others-first-cost-time-only",
        play: names::names_that_lead_to_others_first_cost_time_only,
    },
    Scenario { name: "goes-on-with-the-link-that-answers", play: net::goes_on_with_the_link_that_answers },
    Scenario { name: "leaves-nothing-of-its-own-to-the-real-init", play: handoff::leaves_nothing_of_its_own },
    Scenario { name: "stops-at-an-init-that-is-no-program", play: handoff::stops_at_an_init_that_is_no_program },
    Scenario { name: "unlocks-over-vsock-without-a-link", play: net::unlocks_over_vsock_without_a_link },
    Scenario { name: "unlocks-as-an-sev-snp-guest", play: snp::unlocks_as_an_snp_guest },
    Scenario { name: "boots-without-a-data-disk", play: root::boots_without_a_data_disk },
    Scenario { name: "stops-at-a-wrong-root-hash", play: root::stops_at_a_wrong_root_hash },
    Scenario { name: "stops-at-a-changed-first-block", play: root::stops_at_a_changed_first_block },
    Scenario { name: "panics-at-a-changed-block-read-later", play: root::panics_at_a_changed_block_read_later },
    Scenario { name: "panics-at-a-block-that-the-host-does-not-read", play: root::panics_at_a_block_that_the_host_does_not_read },
    Scenario { name: "refuses-fewer-data-blocks-under-the-same-hash", play: root::refuses_fewer_data_blocks_under_the_same_hash },
    Scenario { name: "refuses-a-command-line-it-does-not-know", play: policy::refuses_words_it_does_not_know },
    Scenario { name: "watchdog-ends-a-hang", play: policy::watchdog_ends_a_hang },
    Scenario { name: "watchdog-that-is-fed-lets-the-boot-through", play: policy::fed_watchdog_lets_the_boot_through },
    Scenario { name: "crash-ends-with-a-word-and-no-panic", play: policy::crash_ends_with_a_word },
    Scenario { name: "parks-with-the-console-readable", play: policy::parks_with_the_console_readable },
    Scenario { name: "refuses-a-repeated-root-hash", play: policy::refuses_a_repeated_root_hash },
    Scenario { name: "debug-words-work-and-show-in-the-receipt", play: policy::debug_words_work_and_show },
];

/// Their images are made with the default kernel alone.
pub const OF_ONE_KERNEL: &[&str] = &[
    "boots-a-signed-uki-through-firmware",
    "boots-shim-and-grub-through-firmware",
    "firmware-refuses-a-changed-uki",
    "boots-an-image-of-another-project",
    "stops-where-the-kernel-offers-no-registers",
    // Debian 13's kernel lets nobody extend an RTMR.
    "nothing-after-the-handoff-gets-the-key",
    "measures-what-happened-into-rtmr3",
];

/// What is worth playing with Debian 13's kernel too in every run: where kernels differ is modules, ciphers, reports and links.
/// `tests/run all@6` plays every scenario.
pub const ON_STABLE: &[&str] = &[
    "survives-a-host-that-lies-about-quotes",
    "unlocks-over-vsock-without-a-link",
    "panics-at-a-changed-block-read-later",
    "panics-at-a-block-that-the-host-does-not-read",
    "leaves-nothing-of-its-own-to-the-real-init",
    "watchdog-ends-a-hang",
];

/// What `tests/run` leaves to `tests/run all`: long, and near to something that every run plays.
pub const LEFT_TO_ALL: &[&str] = &[
    "power-cuts-in-a-rotation-after-one-that-was-cut",
    "power-cuts-while-the-file-system-grows",
    "power-cut-and-a-spoiled-journal-are-never-wrong-data",
    "boots-shim-and-grub-through-firmware",
    "gives-up-a-disk-that-does-not-answer",
    "reboots-when-a-disk-does-not-answer-its-driver",
    "reboots-when-a-quote-has-no-end",
    "watchdog-that-is-fed-lets-the-boot-through",
    "formats-until-a-time-and-opens-one-uuid",
    "grows-with-its-disk-on-xfs",
    "grows-with-its-disk-on-btrfs",
    "scratch-refuses-a-data-disk",
    "initialises-the-tables-of-an-earlier-version",
    "finds-disks-with-4096-byte-sectors-and-long-serials",
    "networkd-works-after-a-returned-link",
    "restores-a-backup-from-before-a-rotation",
    "takes-nothing-that-the-host-brings-along",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn lists_name_scenarios_and_each_name_is_one_scenario() {
        let names: BTreeSet<_> = ALL.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), ALL.len());
        for name in [OF_ONE_KERNEL, ON_STABLE, LEFT_TO_ALL].concat() {
            assert!(names.contains(name), "{name}");
        }
    }
}
