//! Benchmarks: costs as ratios within one run. They have no limits, so a slow machine fails none.

use std::io::Write as _;

use vault_node::Misbehaviour;

use crate::scenarios::{DEAD_LINK_FIRST, Run, Scenario, TestContext, loses_nothing_for_hours, scenarios};
use crate::{Boot, Context, DataDisk, Failure, Vaults, benchmarks, restart};

/// All benchmarks: `tests/run --bench` runs them, `tests/run --bench NAME` some.
pub(crate) const BENCHMARKS: &[Scenario] = scenarios![
    benchmarks::many_processes_for_hours,
    benchmarks::first_format,
    benchmarks::dead_vault_and_dead_link,
    benchmarks::restart_of_all_guests,
];

/// The stress scenario for some hours (`tests/soak`).
fn many_processes_for_hours(context: &TestContext) -> Result<(), Failure> {
    loses_nothing_for_hours(context)
}

/// Measures the first format of sparse disks, including the mount: the data phase of that boot, and of a boot that only opens the
/// disk.
fn first_format(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::up(&context.artifacts, 2, 3)?;
    for gib in [20_u64, 200, 2048] {
        let data = DataDisk::blank_of(&context.folder, gib << 30)?;
        let boot = || {
            let boot = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank");
            boot.for_at_most(std::time::Duration::from_secs(600)).cmdline("cvm.debug=timeline").run()
        };
        let (formatted, opened) = (boot()?, boot()?);
        formatted.reached_the_real_system().and(opened.reached_the_real_system())?;
        let written =
            formatted.line("bytes of zeros")?.rsplit_once("data: ").map_or_else(String::new, |(_, rest)| rest.to_owned());
        let (format, open) = (formatted.phase("data")?, opened.phase("data")?);
        writeln!(std::io::stdout().lock(), "{gib} GiB: formatted in {format} ms ({written}), opened in {open} ms")
            .context("writing to stdout")?;
    }
    Ok(())
}

/// Measures the time to the open disk, without faults and with a dead vault and a dead link first: medians of seven boots each.
fn dead_vault_and_dead_link(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let boot = || Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank");
    boot().run()?.reached_the_real_system()?; // formats; from here on the disk is opened
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..7 {
        for (dead, took) in [false, true].into_iter().zip(&mut took) {
            vaults.node(0)?.set_misbehaviour(if dead { Misbehaviour::HangAfterAccept } else { Misbehaviour::None });
            let result = if dead { boot().no_network().qemu_arguments(DEAD_LINK_FIRST).run()? } else { boot().run()? };
            result.reached_the_real_system()?;
            // From the kernel's start to the handoff, by the guest's clock.
            let line = result.line("takes over after ")?;
            let whole = line.rsplit_once("after ").and_then(|(_, rest)| rest.strip_suffix(" s")?.parse::<f64>().ok());
            let part = u32::try_from(result.phase("net")? + result.phase("unlock")?).context("adding the phases")?;
            took.push((whole.unwrap_or_default(), f64::from(part)));
        }
    }
    let median = |mut took: Vec<f64>| {
        took.sort_by(f64::total_cmp);
        took.get(took.len() / 2).copied().unwrap_or_default()
    };
    let [well, dead] = took.map(|took| {
        let (whole, part): (Vec<f64>, Vec<f64>) = took.into_iter().unzip();
        (median(whole), median(part))
    });
    let mut out = std::io::stdout().lock();
    for (what, unit, well, dead) in [("to the handoff", "s", well.0, dead.0), ("link and key", "ms", well.1, dead.1)] {
        writeln!(out, "{what}: {well} {unit} with all well, {dead} {unit} with a dead vault and a dead link: {:.2}", dead / well)
            .context("writing to stdout")?;
    }
    Ok(())
}

/// Writes the table in the README of the `quorum` crate.
fn restart_of_all_guests(context: &TestContext) -> Result<(), Failure> {
    let table = restart::report(&context.artifacts.top)?;
    writeln!(std::io::stdout().lock(), "{table}").context("writing to stdout")
}
