//! Trial.
#![allow(warnings, clippy::all, clippy::pedantic, clippy::unwrap_used, clippy::print_stdout, clippy::as_conversions)]
use machine::*;
use std::time::*;
fn main() {
    for (init, panic) in [("/init", "-1"), ("/boot", "0"), ("/boot", "-1")] {
        let m = Machine {
            kernel: Some("/work/main/target/buildtree/boot/vmlinuz-6.12.117+deb13-cloud-amd64".into()),
            initrd: Some("/tmp/trial/initrd2.cpio".into()),
            append: vec!["console=ttyS0".into(), format!("panic={panic}"), format!("rdinit={init}")],
            memory_mib: 512,
            disks: vec![Disk { snapshot: true, ..Disk::raw("data", "/tmp/trial/e,f.img") }],
            network: Network::User { restrict: true, to_host: vec![GuestForward { guest: "10.0.2.100:8443".parse().unwrap(), host: "127.0.0.1:18443".parse().unwrap() }], to_guest: vec![HostForward { host: "127.0.0.1:12222".parse().unwrap(), guest_port: 22 }] },
            ..Machine::default()
        };
        let l = std::net::TcpListener::bind("127.0.0.1:18443").unwrap();
        let mut vm = Vm::boot(&Qemu::of_build_tree(), &m, None).unwrap();
        println!("{init} panic={panic}: {:?}", vm.wait(Duration::from_secs(30)).unwrap());
    }
    let mut vm = Vm::boot(&Qemu::of_build_tree(), &Machine { arguments: vec!["-nonsense".into()], ..Machine::default() }, None).unwrap();
    println!("{:?}", vm.wait(Duration::from_secs(30)).unwrap());
}
