//! The node's quote, honest or with one wrong part, and the collateral that it staples if configured.

use dcap::{Collateral, DAY, EnclaveReport, Key, Pki, Platform, SgxQuote, SignedCollateral, TdQuote};

use crate::attest::binding;
use crate::node::Shared;
use crate::{Error, Misbehaviour, tls};

/// The inputs of one quote.
pub(crate) struct Minting<'a> {
    pub(crate) node: &'a Shared,
    pub(crate) misbehaviour: Misbehaviour,
    /// The key that the challenge names.
    pub(crate) spki: &'a [u8],
    pub(crate) context: &'a [u8; 32],
    pub(crate) hctx: &'a [u8; 32],
}

impl Minting<'_> {
    /// The quote, and the collateral to staple: `None` unless configured or part of the misbehaviour.
    pub(crate) fn quote(&self) -> Result<(Vec<u8>, Option<SignedCollateral>), Error> {
        let (node, now) = (self.node, self.node.true_time());
        let report_data = self.report_data()?;
        let staple = node.config.extensions.staple_collateral;
        if self.misbehaviour == Misbehaviour::Reflection {
            let quote = match node.guest_quotes().pop() {
                Some(quote) => quote,
                None => TdQuote::new(report_data).sign(&node.config.platform)?,
            };
            let collateral = staple.then(|| Collateral::tdx(&node.config.platform, now).sign(&node.config.pki)).transpose()?;
            return Ok((quote, collateral));
        }
        let foreign = (self.misbehaviour == Misbehaviour::ForeignRoot).then(|| foreign(now)).transpose()?;
        let platform = foreign.as_ref().map_or(&node.config.platform, |(_, platform)| platform);
        let quote = self.enclave(report_data).sign(platform)?;
        let collateral = match &foreign {
            Some((pki, platform)) => staple.then(|| Collateral::sgx(platform, now).sign(pki)).transpose()?,
            None => self.stapled(now)?,
        };
        Ok((quote, collateral))
    }

    fn enclave(&self, report_data: [u8; 64]) -> SgxQuote {
        let mrenclave = self.node.config.mrenclave;
        let mut quote = SgxQuote::new(mrenclave, report_data);
        match self.misbehaviour {
            Misbehaviour::WrongMrenclave => quote.report.mrenclave = mrenclave.map(|byte| !byte),
            Misbehaviour::DebugEnclave => quote.report.flags |= EnclaveReport::DEBUG,
            _ => {}
        }
        quote
    }

    fn stapled(&self, now: u64) -> Result<Option<SignedCollateral>, Error> {
        let (pki, platform) = (&self.node.config.pki, &self.node.config.platform);
        let mut collateral = Collateral::sgx(platform, now);
        match self.misbehaviour {
            Misbehaviour::NoCollateral => return Ok(None),
            Misbehaviour::ExpiredCollateral => collateral = Collateral::sgx(platform, now.saturating_sub(60 * DAY)),
            Misbehaviour::RevokedPck => collateral.pck_crl.revoked.push(platform.pck.serial()),
            Misbehaviour::OutOfDate => {
                collateral.tcb_info.tcb_levels.iter_mut().for_each(|level| level.tcb_status.replace_range(.., "OutOfDate"));
            }
            Misbehaviour::ForeignCollateral => return Ok(Some(collateral.sign(&foreign(now)?.0)?)),
            _ if !self.node.config.extensions.staple_collateral => return Ok(None),
            _ => {}
        }
        Ok(Some(collateral.sign(pki)?))
    }

    /// The report data: the correct binding, or one with a wrong part.
    fn report_data(&self) -> Result<[u8; 64], Error> {
        let (spki, context, hctx) = (self.spki, self.context, self.hctx);
        let honest = binding(spki, context, hctx);
        Ok(match self.misbehaviour {
            Misbehaviour::StaleQuote => match self.node.first_report_data(honest) {
                first if first != honest => first,
                _ => binding(spki, &tls::random()?, &tls::random()?),
            },
            Misbehaviour::OtherConnection => binding(spki, context, &tls::random()?),
            Misbehaviour::WrongSpki => binding(&Key::generate()?.spki(), context, hctx),
            Misbehaviour::HalfReportData => {
                let mut half = honest;
                half.iter_mut().skip(32).for_each(|byte| *byte = !*byte);
                half
            }
            _ => {
                self.node.first_report_data(honest);
                honest
            }
        })
    }
}

/// Another root with the same names, and a platform under it.
fn foreign(now: u64) -> Result<(Pki, Platform), Error> {
    let pki = Pki::mint(now)?;
    let platform = pki.platform("foreign")?;
    Ok((pki, platform))
}
