//! What of an unlock is measured: who gave the key, and what became of the others.

use serde_json::{Value, json};

use super::{Outcome, VaultOutcome, Verdict};

impl Outcome {
    /// The key's name and its dealing, hex.
    pub(crate) fn key(&self) -> (&str, Option<&str>) {
        (&self.handle, self.generation.as_deref())
    }

    /// For the event log: of vaults whose share is part of the key, build, platform and TCB; of all others, the verdict alone, since
    /// nothing else of them was believed for the key.
    pub(crate) fn measured(&self) -> Value {
        let vault = |vault: &VaultOutcome| {
            let VaultOutcome { address, verdict, mrenclave, platform, tcb_status, .. } = vault;
            if *verdict == Verdict::Served {
                return json!({
                    "address": address, "mrenclave": mrenclave, "platform": platform, "tcb": tcb_status, "verdict": verdict,
                });
            }
            json!({ "address": address, "verdict": verdict })
        };
        json!({
            "generation": self.generation,
            "handle": self.handle,
            "key_proof": self.key_proof,
            "tcb": self.tcb,
            "threshold": self.threshold,
            "vaults": self.vaults.iter().map(vault).collect::<Vec<_>>(),
        })
    }
}
