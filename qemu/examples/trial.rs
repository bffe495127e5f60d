//! Trial.
#![allow(warnings, clippy::all, clippy::pedantic, clippy::unwrap_used, clippy::print_stdout, clippy::as_conversions)]
use machine::*;
use std::time::*;
fn main() {
    let t0 = Instant::now();
    let m = Machine {
        kernel: Some("/work/main/target/buildtree/boot/vmlinuz-6.12.117+deb13-cloud-amd64".into()),
        initrd: Some("/tmp/trial/initrd.cpio".into()),
        append: ["console=ttyS0", "panic=-1"].map(String::from).to_vec(),
        memory_mib: 512,
        ..Machine::default()
    };
    let td = m.td_info(measurement::STAND_IN_FIRMWARE).unwrap();
    println!("expect rtmr1 {}", td.rtmrs[1].0.iter().map(|b| format!("{b:02x}")).collect::<String>());
    let mut n = 0;
    let src = move |r: &[u8; 1024]| {
        n += 1;
        let mut q = r[128..192].to_vec();
        q.extend(&r[512..]);
        q.resize(5006, 0);
        match n { 4 => QuoteAnswer::Error(0x12001), 5 => QuoteAnswer::Delayed(Duration::from_millis(3500), q), 7 => QuoteAnswer::Silent, _ => QuoteAnswer::Quote(q) }
    };
    let mode = std::env::args().nth(1).unwrap_or_default();
    let habits = Habits { timeout: Duration::from_secs(2), empty_on_error: mode == "empty", poll: Duration::from_millis(if mode == "poll" { 1000 } else { 0 }) };
    let quotes = QuotingService::start((mode != "deaf").then_some(&td), Some(habits), src).unwrap();
    let qemu = Qemu::of_build_tree();
    println!("accel {:?} after {:?}", qemu.resolved_accel(), t0.elapsed());
    let t0 = Instant::now();
    let mut vm = Vm::boot(&qemu, &m, Some(&quotes)).unwrap();
    let l = vm.console().wait_for("init at", Duration::from_secs(60)).unwrap();
    println!("init line after {:?}", l.at);
    let last = vm.console().wait_for(if mode == "deaf" {"generation"} else {"generation 9"}, Duration::from_secs(if mode == "deaf" {20} else {60}));
    vm.console().send("x\n").unwrap();
    let exit = vm.wait(Duration::from_secs(60)).unwrap();
    for l in vm.console().lines().iter().filter(|x| x.number >= l.number) { println!("{:7.3} {}", l.at.as_secs_f64(), l.text); }
    println!("exit {exit:?} {:?} {} reports {last:?}", t0.elapsed(), quotes.td_reports().len());
    let t0 = Instant::now(); drop(vm); drop(quotes); println!("dropped in {:?}", t0.elapsed());
}
