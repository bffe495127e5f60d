//! What things cost, as ratios within one run: `tests/run NAME`. No test: nothing here can fail for being slow.

use std::io::Write as _;

use vault_node::Misbehaviour;

use crate::scenarios::{DEAD_LINK_FIRST, Scenario, Stage, for_long};
use crate::{Boot, DataDisk, Doing, Failure, Vaults, drain};

/// All benchmarks; a run of all scenarios leaves them out.
pub const BENCHMARKS: &[Scenario] = &[
    Scenario { name: "many-processes-lose-nothing-for-long", play: for_long },
    Scenario { name: "cost-of-the-first-format", play: cost_of_the_first_format },
    Scenario { name: "cost-of-a-dead-vault-and-a-dead-link", play: cost_of_a_dead_vault_and_link },
    Scenario { name: "drain-after-a-restart", play: drain_after_a_restart },
];

/// The first format of sparse disks, mounting included: seconds of the data phase, and of a boot that only opens the same disk.
fn cost_of_the_first_format(stage: &Stage) -> Result<(), Failure> {
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?;
    for gib in [20_u64, 200, 2048] {
        let data = DataDisk::blank_of(&stage.folder, gib << 30)?;
        let boot = || {
            let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank");
            boot.for_at_most(std::time::Duration::from_secs(600)).word("cvm.debug=timeline").run()
        };
        let (formatted, opened) = (boot()?, boot()?);
        formatted.reached_the_real_system().and(opened.reached_the_real_system())?;
        let written =
            formatted.line("bytes of zeros")?.rsplit_once("data: ").map_or_else(String::new, |(_, rest)| rest.to_owned());
        let (format, open) = (formatted.phase("data")?, opened.phase("data")?);
        writeln!(std::io::stdout().lock(), "{gib} GiB: formatted in {format} ms ({written}), opened in {open} ms")
            .doing("printing")?;
    }
    Ok(())
}

/// The boot to the open disk with all well, and with a dead vault and a dead link first: seven of each, in turns; medians.
fn cost_of_a_dead_vault_and_link(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let boot = || Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank");
    boot().run()?.reached_the_real_system()?; // formats; from here on the disk is opened
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..7 {
        for (dead, took) in [false, true].into_iter().zip(&mut took) {
            vaults.node(0)?.set_misbehaviour(if dead { Misbehaviour::HangAfterAccept } else { Misbehaviour::None });
            let ended = if dead { boot().no_network().arguments(DEAD_LINK_FIRST).run()? } else { boot().run()? };
            ended.reached_the_real_system()?;
            // From the kernel's first instruction to the handoff, as the guest counts it.
            let line = ended.line("takes over after ")?;
            let whole = line.rsplit_once("after ").and_then(|(_, rest)| rest.strip_suffix(" s")?.parse::<f64>().ok());
            let part = u32::try_from(ended.phase("net")? + ended.phase("unlock")?).doing("the phases")?;
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
            .doing("printing")?;
    }
    Ok(())
}

/// The table of the collector's README, made anew.
fn drain_after_a_restart(stage: &Stage) -> Result<(), Failure> {
    let table = drain::report(&stage.artifacts.top)?;
    writeln!(std::io::stdout().lock(), "{table}").doing("printing")
}
