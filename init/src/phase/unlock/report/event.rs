//! The part of the unlock report that is measured.

use serde_json::{Value, json};

use super::{UnlockReport, VaultReport, VaultStatus};

impl UnlockReport {
    /// The key's name and its share set, hex.
    pub(crate) fn key(&self) -> (&str, Option<&str>) {
        (&self.handle, self.share_set_id.as_deref())
    }

    /// For vaults whose share is part of the key: build, platform and TCB; for all others the status only, since nothing else
    /// about them was verified for this key.
    pub(crate) fn event(&self) -> Value {
        let vault = |vault: &VaultReport| {
            let VaultReport { address, status, mrenclave, platform, tcb_status, .. } = vault;
            if *status == VaultStatus::Served {
                return json!({
                    "address": address, "mrenclave": mrenclave, "platform": platform, "tcb": tcb_status, "status": status,
                });
            }
            json!({ "address": address, "status": status })
        };
        json!({
            "share_set_id": self.share_set_id,
            "handle": self.handle,
            "key_proof": self.key_proof,
            "tcb": self.tcb,
            "threshold": self.threshold,
            "vaults": self.vaults.iter().map(vault).collect::<Vec<_>>(),
        })
    }
}
