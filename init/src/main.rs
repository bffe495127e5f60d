fn main(){ let mut d = libcryptsetup_rs::CryptInit::init("/x".as_ref()).unwrap(); let _ = d.context_handle(); let dm = devicemapper::DM::new(); println!("{}", dm.is_ok()); }
