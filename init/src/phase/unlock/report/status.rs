//! The status of a vault, and the status that an error of its thread means.

use ratls::LeafError;
use serde::{Serialize, Serializer};
use vault::Refused;

use super::vault_client;
use crate::phase::net::ConnectError;

/// The status of one vault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum VaultStatus {
    /// Its share is part of the key.
    Served,
    /// Its share fits and was not needed.
    Spare,
    /// It proved itself and was not asked.
    Ready,
    /// It did not answer in time.
    #[default]
    Slow,
    /// It could not be reached, closed the connection or reported that it cannot serve.
    Down,
    /// The vault or the key's policy denies the share.
    Denied,
    /// The key has expired at this vault.
    Expired,
    /// Its evidence does not verify: it is not genuine, or policy does not list its build or platform.
    Untrusted,
    /// Its evidence is not valid at the time that the vaults agree on, or there is no collateral to verify it with.
    Stale,
    /// It proved itself and violated the protocol.
    ProtocolError,
    /// Its share is not on the polynomial of the key: the share is wrong or belongs to another share set.
    BadShare,
    /// It is the same node as another vault, or has the same share.
    Duplicate,
    /// This machine has no quote for it.
    NoQuote,
    /// It was asked, and this machine's quote for it is not made yet.
    Quoting,
    /// It does not accept the format of this machine's evidence.
    Rejected,
}

/// Console, boot report and event log use the same text.
impl Serialize for VaultStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl VaultStatus {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Spare => "spare",
            Self::Ready => "ready",
            Self::Slow => "slow",
            Self::Down => "down",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Untrusted => "untrusted",
            Self::Stale => "stale",
            Self::ProtocolError => "protocol_error",
            Self::BadShare => "bad_share",
            Self::Duplicate => "duplicate",
            Self::NoQuote | Self::Quoting => "no_quote",
            Self::Rejected => "rejected",
        }
    }

    /// The status that an error of the vault's thread means.
    pub(super) fn of(error: &vault_client::Error) -> Self {
        use ratls::Error as V;
        match error {
            vault_client::Error::Vault(vault::Error::Refused(Refused::Expired)) => Self::Expired,
            vault_client::Error::Vault(vault::Error::Refused(_)) => Self::Denied,
            vault_client::Error::Vault(vault::Error::Session(error)) => match error {
                V::OwnQuote(_) => Self::NoQuote,
                V::EvidenceMalformed | V::EvidenceRefused => Self::Rejected,
                V::Node(error) if error.is_about_time() => Self::Stale,
                V::Collateral(None) => Self::Stale,
                V::Node(_) | V::Collateral(Some(_)) | V::Leaf(LeafError::NodeCa) => Self::Untrusted,
                V::Protocol(..) | V::Leaf(_) => Self::ProtocolError,
                V::Deadline(_) => Self::Slow,
                V::Identity | V::Stream(..) | V::Tls(_) | V::Status(..) => Self::Down,
            },
            vault_client::Error::Share(_) => Self::ProtocolError,
            vault_client::Error::SameNode => Self::Duplicate,
            vault_client::Error::Stale => Self::Stale,
            vault_client::Error::Idle => Self::Ready,
            vault_client::Error::Connect(ConnectError::Connect(std::io::ErrorKind::TimedOut)) => Self::Slow,
            vault_client::Error::Connect(_) | vault_client::Error::Random(_) | vault_client::Error::Stopped => Self::Down,
        }
    }
}
