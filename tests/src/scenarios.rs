//! The table of scenarios. Each is a few lines: which vaults, disks and links there are, what happens, how the boot must end.

mod attestation;
mod data;
mod disks;
mod dns;
mod faults;
mod firmware;
mod foreign;
mod forge;
mod growth;
mod handoff;
mod header;
mod image;
mod lookup;
mod measure;
mod net;
mod policy;
mod power_cut;
mod root;
mod scratch;
mod snp;
mod stress;
mod unlock;

pub(crate) use net::DEAD_LINK_FIRST;
pub(crate) use stress::loses_nothing_for_hours;

use std::path::PathBuf;

use initrd::cpio::Entry;

use crate::{Artifacts, Context, Failure};

/// What a scenario works with.
pub struct TestContext {
    /// The built files.
    pub artifacts: Artifacts,
    /// A folder of the scenario's own.
    pub folder: PathBuf,
}

impl TestContext {
    /// The file for the console of the next boot: `console-1.log`, `console-2.log` and so on.
    pub(crate) fn next_console(&self) -> PathBuf {
        let names = (1..).map(|number: u32| self.folder.join(format!("console-{number}.log")));
        names.into_iter().find(|path| !path.exists()).unwrap_or_else(|| self.folder.join("console.log"))
    }

    /// The simulated initrd with one file added or replaced.
    pub(crate) fn initrd_with(&self, path: &str, content: Vec<u8>) -> Result<PathBuf, Failure> {
        self.initrd_with_files(vec![(path.to_owned(), content)])
    }

    /// The simulated initrd with these files, by path, added or replaced.
    pub(crate) fn initrd_with_files(&self, files: Vec<(String, Vec<u8>)>) -> Result<PathBuf, Failure> {
        self.initrd_with_entries(files.into_iter().map(|(path, content)| Entry::file(path, 0o444, content)).collect())
    }

    /// The simulated initrd with these entries added or replaced.
    pub(crate) fn initrd_with_entries(&self, entries: Vec<Entry>) -> Result<PathBuf, Failure> {
        let mut initrd = std::fs::read(&self.artifacts.simulated).context("reading the simulated initrd")?;
        // The kernel unpacks several archives in a row, each at a multiple of four bytes; the last file of a name counts.
        initrd.resize(initrd.len().next_multiple_of(4), 0);
        initrd.extend(initrd::cpio::write(entries).context("packing the added files")?);
        let made = self.folder.join("another-initrd.zst");
        std::fs::write(&made, initrd).context("writing the initrd")?;
        Ok(made)
    }
}

/// A scenario.
pub(crate) struct Scenario {
    /// `MODULE::FUNCTION`.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(&TestContext) -> Result<(), Failure>,
    /// When it runs with the default kernel, that of Debian's backports.
    pub default_kernel: Run,
    /// When it runs with the kernel of Debian 13.
    pub stable_kernel: Run,
}

/// In which runs a scenario is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    /// In every run.
    Usual,
    /// In a run with `--ignored` or `--include-ignored`.
    Ignored,
    /// In none: its image exists for the other kernel only.
    Never,
}

/// A table of scenarios: the name of each is that of its function, so the two cannot differ.
///
/// Without a mark a scenario runs with the default kernel in every run, with Debian 13's among the ignored ones. Marks:
/// `ignored`: it is long, or similar to one that every run has; `both_kernels`: it runs with Debian 13's kernel in every run too, for kernels
/// differ in modules, ciphers, reports and links; `default_kernel_only`: its image is built for the default kernel alone, or it needs RTMRs that
/// a program can extend, which Debian 13's kernel lacks.
macro_rules! scenarios {
    (@kernels) => { (Run::Usual, Run::Ignored) };
    (@kernels ignored) => { (Run::Ignored, Run::Ignored) };
    (@kernels both_kernels) => { (Run::Usual, Run::Usual) };
    (@kernels default_kernel_only) => { (Run::Usual, Run::Never) };
    (@kernels ignored, default_kernel_only) => { (Run::Ignored, Run::Never) };
    ($($module:ident :: $function:ident $([$($mark:ident),+])?,)+) => {
        &[$(Scenario {
            name: concat!(stringify!($module), "::", stringify!($function)),
            run: $module::$function,
            default_kernel: scenarios!(@kernels $($($mark),+)?).0,
            stable_kernel: scenarios!(@kernels $($($mark),+)?).1,
        }),+]
    };
}
pub(crate) use scenarios;

/// All scenarios, the longest first, so that two at a time end together.
pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    power_cut::in_the_first_boot,
    power_cut::with_a_changed_integrity_journal [ignored],
    power_cut::while_the_file_system_grows [ignored],
    power_cut::in_a_rotation,
    power_cut::in_a_rotation_after_an_interrupted_one [ignored],
    stress::loses_nothing_on_ext4,
    stress::loses_nothing_on_ext4_with_one_cpu,
    stress::loses_nothing_on_xfs,
    stress::loses_nothing_on_btrfs,
    stress::loses_nothing_on_xfs_with_one_cpu,
    stress::loses_nothing_on_btrfs_with_one_cpu,
    stress::reads_no_sector_that_was_never_written,
    image::boots_a_signed_uki_through_firmware [default_kernel_only],
    image::boots_shim_and_grub_through_firmware [ignored, default_kernel_only],
    firmware::unlocks_by_measured_registers,
    firmware::measures_a_direct_boot_as_predicted [both_kernels],
    firmware::measures_a_uki_as_predicted [default_kernel_only],
    firmware::measures_shim_and_grub_as_predicted [ignored, default_kernel_only],
    firmware::counts_a_boot_option_that_fails [default_kernel_only],
    firmware::arguments_of_the_host_change_rtmr2 [default_kernel_only],
    firmware::a_kernel_outside_db_gets_nothing,
    forge::a_kernel_that_measures_the_genuine_one_gets_nothing [default_kernel_only],
    forge::a_kernel_of_the_legacy_loader_needs_a_condition [default_kernel_only],
    forge::a_uki_without_memory_needs_a_condition [default_kernel_only],
    forge::an_initrd_that_extends_the_genuine_digests_gets_nothing [default_kernel_only],
    measure::measures_into_a_tpm,
    measure::refuses_a_ccel_of_the_host,
    measure::nothing_after_the_handoff_gets_the_key [default_kernel_only],
    measure::measures_into_rtmr3 [default_kernel_only],
    measure::stops_where_a_named_register_is_missing,
    measure::stops_where_the_kernel_offers_no_registers [default_kernel_only],
    data::formats_a_large_sparse_disk,
    scratch::memory_is_swapped_out_and_back,
    scratch::refuses_a_data_disk [ignored],
    scratch::disk_is_empty_at_each_boot,
    data::data_survives_a_second_boot_into_systemd,
    lookup::gives_up_a_disk_that_does_not_answer [ignored],
    lookup::reboots_when_a_disk_does_not_answer_its_driver [ignored],
    lookup::reboots_beside_a_disk_that_stops_answering,
    handoff::reboots_when_a_quote_never_arrives [ignored],
    handoff::powers_off_when_the_kernel_refuses_threads,
    foreign::no_disk_is_rotated_to_the_hosts_key,
    foreign::no_disk_of_the_hosts_is_opened,
    foreign::no_disk_is_formatted_under_the_hosts_key,
    attestation::accepts_vaults_on_listed_platforms_only,
    attestation::accepts_vaults_of_the_node_ca_only,
    unlock::stops_when_one_vault_of_three_answers,
    unlock::counts_one_node_behind_two_addresses_once,
    attestation::stops_without_a_quoting_service,
    attestation::refuses_expired_collateral_when_the_host_clock_is_behind,
    attestation::retries_after_wrong_quotes [both_kernels],
    attestation::unlocks_with_a_slow_quoting_service,
    attestation::reports_each_misbehaving_vault,
    attestation::unlocks_with_the_clock_a_year_behind,
    attestation::unlocks_with_the_clock_a_year_ahead,
    attestation::one_vault_cannot_change_the_time,
    attestation::unlocks_beside_a_stalled_vault,
    attestation::unlocks_beside_vaults_that_fail,
    attestation::two_vaults_with_one_share_count_once,
    attestation::reports_one_wrong_share_among_four,
    attestation::unlocks_by_signature_only,
    attestation::collateral_comes_from_a_cache_once,
    attestation::refuses_platforms_that_the_cache_reports_bad,
    attestation::collateral_comes_stapled,
    attestation::collateral_comes_with_the_initrd,
    unlock::unlocks_with_one_wrong_share,
    unlock::unlocks_with_one_vault_down,
    unlock::unlocks_with_one_vault_hanging,
    unlock::unlocks_with_three_of_three,
    unlock::stops_when_all_vaults_deny,
    unlock::stops_at_vaults_of_another_build,
    unlock::production_anchor_refuses_simulated_vaults,
    header::refuses_a_rewritten_header,
    data::opens_and_rotates_a_disk_made_by_cryptsetup,
    data::upgraded_image_is_denied_until_promoted,
    header::refuses_an_older_header_under_the_current_key,
    header::flipped_bits_never_give_wrong_data,
    header::swapped_and_cloned_disks_are_refused,
    header::handles_larger_and_smaller_disks,
    header::restores_a_backup_from_before_a_rotation [ignored],
    header::refuses_a_disk_that_another_machine_writes_to,
    header::repairs_a_torn_header_copy,
    data::keeps_files_on_xfs_under_aegis,
    data::keeps_files_on_btrfs_under_gcm,
    data::keeps_files_after_a_full_wipe,
    disks::copies_to_a_new_disk_with_a_key_of_its_own,
    growth::grows_with_its_disk_on_ext4,
    growth::grows_with_its_disk_on_xfs [ignored],
    growth::grows_with_its_disk_on_btrfs [ignored],
    faults::handles_a_failing_disk_by_policy,
    faults::handles_a_changed_inode_by_policy,
    data::initialises_inode_tables_of_an_earlier_version [ignored],
    data::checks_and_repairs_before_the_mount,
    data::formats_until_a_time_and_opens_one_uuid [ignored],
    lookup::boots_beside_damaged_disks,
    lookup::finds_large_sectors_and_long_serials [ignored],
    data::finds_its_disks_on_nvme_and_scsi,
    image::firmware_refuses_a_changed_uki [default_kernel_only],
    image::production_image_is_hardened,
    image::ignores_credentials_and_partitions_of_the_host [ignored],
    image::boots_an_image_of_another_project [default_kernel_only],
    data::powers_off_when_the_data_disk_is_hidden,
    data::does_not_format_without_permission,
    data::refuses_a_disk_neither_blank_nor_luks,
    data::does_not_format_without_a_key_commitment,
    data::formats_the_smallest_disk_and_none_smaller,
    net::stops_in_time_without_a_dhcp_server,
    net::stops_in_time_when_vaults_are_black_holes,
    net::stops_in_time_when_every_address_is_taken,
    dns::silent_name_servers_end_with_the_timeout,
    dns::wrong_answers_only_delay,
    net::uses_static_addresses_of_both_families,
    net::continues_after_a_lost_link_returns,
    net::takes_the_valid_lease_among_hostile_answers,
    net::networkd_works_after_a_returned_link [ignored],
    net::configures_an_address_under_a_flood_of_routers,
    dns::finds_vaults_by_name,
    net::uses_classless_routes_instead_of_the_router,
    net::switches_to_the_other_link,
    dns::wrong_addresses_first_only_delay,
    net::uses_the_link_that_answers,
    handoff::leaves_no_resources_to_the_real_init [both_kernels],
    handoff::stops_at_an_init_that_cannot_start,
    net::unlocks_over_vsock_without_a_link [both_kernels],
    snp::unlocks_as_an_snp_guest,
    root::boots_without_a_data_disk,
    root::stops_at_a_wrong_root_hash,
    root::stops_at_a_changed_first_block,
    root::panics_at_a_changed_block_read_later [both_kernels],
    root::panics_at_a_block_that_the_host_does_not_read [both_kernels],
    root::refuses_fewer_data_blocks_under_the_same_hash,
    policy::refuses_unknown_arguments,
    policy::watchdog_resets_after_a_hang [both_kernels],
    policy::watchdog_keepalive_lets_the_boot_finish [ignored],
    policy::crash_is_reported_without_a_panic,
    policy::halts_with_a_readable_console,
    policy::refuses_a_repeated_root_hash,
    policy::debug_arguments_work_and_are_reported,
];
