//! Config reloads as the admin endpoint wants them.

use std::time::Instant;

use crate::admin::ConfigReloads;
use crate::admin::answers;
use crate::config_reload::{ConfigReload, ReloadOutcome};

impl ConfigReloads for ConfigReload {
    fn reload(&self) -> answers::Reload {
        answer(Self::reload(self, Instant::now()))
    }

    fn last(&self) -> Option<answers::LastReload> {
        let last = Self::last(self)?;
        Some(answers::LastReload {
            ago_seconds: last.at.elapsed().as_secs(),
            outcome: answer(last.outcome),
        })
    }

    fn effective(&self) -> serde_json::Value {
        let entry = |entry: crate::config::Effective| serde_json::json!({ "key": entry.key, "value": entry.value, "origin": entry.origin });
        Self::effective(self).into_iter().map(entry).collect()
    }
}

fn answer(outcome: ReloadOutcome) -> answers::Reload {
    match outcome {
        ReloadOutcome::Applied { revision, changes } => {
            answers::Reload::Applied { revision, changes }
        }
        ReloadOutcome::Unchanged { revision } => answers::Reload::Unchanged { revision },
        ReloadOutcome::Refused { reason } => answers::Reload::Refused { error: reason },
    }
}
