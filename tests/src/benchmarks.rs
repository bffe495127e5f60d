//! What things cost, as ratios within one run: `tests/run NAME`. No test: nothing here can fail for being slow.

use std::io::Write as _;

use crate::scenarios::{Scenario, Stage};
use crate::{Boot, DataDisk, Doing, Failure, Vaults};

/// All benchmarks; a run of all scenarios leaves them out.
pub const BENCHMARKS: &[Scenario] = &[Scenario { name: "cost-of-the-journal", play: cost_of_the_journal }];

/// Direct writes with dm-integrity's journal and without, three disks each, in turns; medians.
fn cost_of_the_journal(stage: &Stage) -> Result<(), Failure> {
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?;
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..3 {
        for (word, took) in ["on", "off"].into_iter().zip(&mut took) {
            let data = DataDisk::blank_of(&stage.folder, 2 << 30)?;
            let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank");
            let ended = boot.word(format!("cvm.data.journal={word}")).tasks("speed").run()?;
            ended.reached_the_real_system()?;
            let lines = ended.lines.iter().filter_map(|line| line.split_once("cvm-tests: speed "));
            took.extend(lines.filter_map(|(_, text)| text.trim().parse::<u32>().ok()));
        }
    }
    let [on, off] = took.map(|mut took| {
        took.sort_unstable();
        took.get(took.len() / 2).copied().unwrap_or_default()
    });
    let mut out = std::io::stdout().lock();
    writeln!(out, "direct writes of 32 MB: {on} ms with the journal, {off} ms without: {:.2}", f64::from(on) / f64::from(off))
        .doing("printing")
}
