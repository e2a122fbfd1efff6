//! Whether a server keeps what is appended as well as it has to. It can come back from a restart with other settings, or be
//! given them while it runs: so it is asked on every new connection before anything is written there, and every few seconds.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    log::StoreError,
    store::{DurabilityReport, DurabilitySet, NOT_DURABLE},
};

/// How often a server is asked how it is set.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(2);

/// Refuses appends while the server would keep less than it must.
pub(super) struct DurabilityGuard {
    /// What the server is to the program, in the log and as the label of the metric.
    store: &'static str,
    required: DurabilitySet,
    /// Whether there is a refusal: what each append looks at.
    refuses: AtomicBool,
    told: Mutex<Told>,
}

/// What was found out last.
#[derive(Default)]
struct Told {
    /// Whether anything was. What is wrong at first is for who opens the store to say.
    is_told: bool,
    /// Why appends are refused.
    refusal: Option<String>,
}

impl DurabilityGuard {
    pub(super) fn new(store: &'static str, required: DurabilitySet) -> Self {
        Self { store, required, refuses: AtomicBool::new(false), told: Mutex::default() }
    }

    /// Takes in how the server is set now; `Err` when it is not one that can be used, or does not say.
    pub(super) fn tell(&self, found: Result<&DurabilityReport, String>) {
        let refusal = found.map_or_else(Some, |report| report.shortfall(self.required));
        let (store, is_refused) = (self.store, refusal.is_some());
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match (&told.refusal, &refusal) {
            (None, Some(reason)) if told.is_told => {
                tracing::error!(
                    store,
                    reason,
                    "nothing is written there until the server is set right"
                );
            }
            (Some(_), None) => {
                tracing::info!(store, "the server is set right: it is written to again");
            }
            _ => {}
        }
        metrics::gauge!(NOT_DURABLE, "store" => store).set(f64::from(u8::from(is_refused)));
        self.refuses.store(is_refused, Ordering::Release);
        *told = Told { is_told: true, refusal };
    }

    /// # Errors
    /// When nothing may be written now. The server is not asked.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if !self.refuses.load(Ordering::Acquire) {
            return Ok(());
        }
        self.refusal().map_or(Ok(()), |reason| Err(StoreError::not_durable(reason)))
    }

    /// Why nothing may be written now.
    pub(super) fn refusal(&self) -> Option<String> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).refusal.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Durability;

    #[test]
    fn appends_are_refused_for_as_long_as_the_server_would_keep_less() {
        let guard = DurabilityGuard::new("test", Durability::ProcessCrash.into());
        assert!(guard.check().is_ok());
        for (level, is_refused) in [
            (Durability::ProcessCrash, false),
            (Durability::Seconds, true),
            (Durability::Memory, true),
            (Durability::PowerLoss, false),
        ] {
            guard.tell(Ok(&level.into()));
            let refused = guard.check().err();
            assert_eq!(refused.is_some(), is_refused, "{level}");
            if let Some(refused) = refused {
                assert!(refused.is_not_durable() && refused.to_string().contains("process-crash"));
            }
        }
        guard.tell(Err("it evicts".to_owned()));
        assert_eq!(guard.check().unwrap_err().to_string(), "it evicts");
    }
}
