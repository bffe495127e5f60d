//! Collateral in files: of a folder on the operator's machine, or of the initrd.

use crate::{Collateral, PcsParts};

/// File names under which tools store the answers of a PCS, the most common first. Revocation lists are DER, PEM or hex.
const TCB_INFO: &[&str] = &["tcb_info.json", "tcbInfo.json", "tcbinfo.json"];
const QE_IDENTITY: &[&str] =
    &["qe_identity.json", "qeIdentity.json", "qe-identity.json", "td_qe_identity.json", "identity.json", "enclaveIdentity.json"];
const TCB_INFO_CHAIN: &[&str] =
    &["tcb_info_issuer_chain.pem", "tcb_signing_chain.pem", "tcbSigningChain.pem", "signing_chain.pem"];
const QE_IDENTITY_CHAIN: &[&str] = &["qe_identity_issuer_chain.pem", "qeIdentityIssuerChain.pem"];
const PCK_CRL: &[&str] = &["pck_crl.der", "pck_crl.crl", "pck_crl.pem", "pck_crl.hex", "pckcrl.der", "pck_crl"];
const PCK_CRL_CHAIN: &[&str] = &["pck_crl_issuer_chain.pem"];
const ROOT_CA_CRL: &[&str] =
    &["root_ca_crl.der", "root_ca_crl.crl", "root_ca_crl.pem", "root_ca_crl.hex", "rootcacrl.der", "root_crl.der"];

impl Collateral {
    /// Parses every set of collateral in `files` (name, content): the answers of a PCS, recognised by their names, then each JSON file in
    /// dcap-qvl's format, in the order of `files`. Other files are ignored.
    #[must_use]
    pub fn from_files(files: &[(String, Vec<u8>)]) -> Vec<Self> {
        let of_pcs = parts(files).and_then(|parts| Self::from_pcs(&parts).ok());
        let is_json = |name: &str| std::path::Path::new(name).extension().is_some_and(|extension| extension == "json");
        let of_json = files.iter().filter(|(name, _)| is_json(name)).filter_map(|(_, bytes)| Self::from_json(bytes).ok());
        of_pcs.into_iter().chain(of_json).collect()
    }
}

fn parts(files: &[(String, Vec<u8>)]) -> Option<PcsParts> {
    let find = |names: &[&str]| {
        let mut found = names.iter().filter_map(|name| files.iter().find(|(file, _)| file == name));
        found.next().map(|(_, bytes)| bytes.clone())
    };
    let text = |names: &[&str]| find(names).and_then(|bytes| String::from_utf8(bytes).ok());
    let tcb_info_issuer_chain = text(TCB_INFO_CHAIN)?;
    Some(PcsParts {
        tcb_info: find(TCB_INFO)?,
        // Intel signs TCB info and QE identity with the same certificate.
        qe_identity_issuer_chain: text(QE_IDENTITY_CHAIN).unwrap_or_else(|| tcb_info_issuer_chain.clone()),
        tcb_info_issuer_chain,
        qe_identity: find(QE_IDENTITY)?,
        pck_crl: find(PCK_CRL)?,
        pck_crl_issuer_chain: text(PCK_CRL_CHAIN).unwrap_or_default(),
        root_ca_crl: find(ROOT_CA_CRL)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_without_all_parts_has_no_collateral() {
        let json = include_bytes!("../../../tests/vectors/dcap-qvl/sgx_quote_collateral.json").to_vec();
        let file = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
        assert_eq!(Collateral::from_files(&[]).len(), 0);
        assert_eq!(Collateral::from_files(&[file("README", b"x"), file("a.json", b"{}"), file("b.json", &json)]).len(), 1);
        assert_eq!(Collateral::from_files(&[file("b.txt", &json)]).len(), 0);
        assert_eq!(Collateral::from_files(&[file("tcb_info.json", b"{}"), file("pck_crl.der", b"0")]).len(), 0);
    }
}
