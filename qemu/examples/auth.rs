//! Trial.
#![allow(warnings, clippy::all, clippy::pedantic, clippy::unwrap_used, clippy::print_stdout, clippy::as_conversions)]
fn main() {
    let d = std::fs::read(std::env::args().nth(1).unwrap()).unwrap();
    println!("{}", machine::authenticode::digest(&d).unwrap().0.iter().map(|b| format!("{b:02x}")).collect::<String>());
}
