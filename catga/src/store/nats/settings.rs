//! Whether the server still keeps what is published. Another one may be there after each reconnect, and the client makes those
//! by itself: so where something is required, nothing is published while a connection was made that the server has not been
//! asked on, and an answer from over such a time is not trusted.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use async_nats::{Client, Statistics, jetstream::stream::Config};
use tokio::{
    select,
    time::{Duration, sleep, timeout},
};

use super::{
    NatsOptions,
    publication::locked,
    server::{self, Keepers, Monitors},
    topic::{Topic, difference},
};
use crate::{
    log::StoreError,
    store::{
        Durability, DurabilityReport, DurabilitySet,
        guard::{ASK_EVERY, DurabilityGuard},
    },
};

/// How soon a server is asked again that could not be asked yet.
const SOON: Duration = Duration::from_millis(2);

/// How long a publication waits for a new connection to be asked on.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How often connections were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Connects(u64);

/// How the server is set.
pub(super) struct Settings {
    guard: DurabilityGuard,
    /// Whether something is required, so that each connection is asked first. Else a question now and then is enough.
    is_strict: bool,
    topic: Topic,
    /// How the stream has to be.
    wanted: Config,
    /// Who keeps the stream, as far as was found out.
    keepers: Mutex<Keepers>,
    /// Where to ask how they sync.
    monitors: Monitors,
    /// What counts how often each connection was made. The client does before it uses one.
    connections: Vec<Arc<Statistics>>,
    /// How often they had been made when the server was asked last.
    asked_at: AtomicU64,
}

impl Settings {
    /// Asks the server, too.
    ///
    /// # Errors
    /// When it can't be asked, or would keep less than it must.
    pub(super) async fn open(
        clients: &[Client],
        topic: Topic,
        wanted: Config,
        options: &NatsOptions,
        require_durability: DurabilitySet,
    ) -> Result<Arc<Self>, StoreError> {
        let settings = Self {
            guard: DurabilityGuard::new("nats", require_durability),
            is_strict: require_durability != Durability::Memory.into(),
            keepers: Mutex::new(topic.keepers()),
            topic,
            wanted,
            monitors: Monitors::new(options.monitor.as_deref()),
            connections: clients.iter().map(Client::statistics).collect(),
            asked_at: AtomicU64::new(0),
        };
        settings.ask().await?;
        settings.guard.check()?;
        Ok(Arc::new(settings))
    }

    fn connects(&self) -> u64 {
        self.connections.iter().map(|of_one| of_one.connects.load(Ordering::Relaxed)).sum()
    }

    /// The connections that there are, if all have been asked on, or need not be.
    fn asked(&self) -> Option<Connects> {
        let connects = self.connects();
        let is_asked = !self.is_strict || connects == self.asked_at.load(Ordering::Acquire);
        is_asked.then_some(Connects(connects))
    }

    /// Returns when something may be published: at once, unless a connection is new. Whoever publishes looks at the
    /// [same](Self::is_same) connections when it is answered.
    ///
    /// # Errors
    /// When the server would keep less of it than it must, or does not say so in time. Nothing is asked here.
    pub(super) async fn ready(&self) -> Result<Connects, StoreError> {
        let connects = match self.asked() {
            Some(connects) => connects,
            None => timeout(LONGEST_WAIT, self.wait_until_asked()).await.map_err(|_| {
                StoreError::unavailable("NATS is connected anew, and has to be asked first")
            })?,
        };
        self.guard.check()?;
        Ok(connects)
    }

    async fn wait_until_asked(&self) -> Connects {
        loop {
            sleep(SOON).await;
            if let Some(connects) = self.asked() {
                return connects;
            }
        }
    }

    /// Whether the connections are those of before.
    pub(super) fn is_same(&self, before: Connects) -> bool {
        !self.is_strict || Connects(self.connects()) == before
    }

    /// Whether commits are better off in atomic batches.
    pub(super) async fn prefers_batches(&self) -> bool {
        let keepers = locked(&self.keepers).clone();
        server::prefers_batches(self.topic.client(), &keepers, &self.monitors).await
    }

    /// What an acknowledged append survives now.
    pub(super) async fn durability(&self) -> Result<DurabilityReport, StoreError> {
        let refusal = self.guard.refusal();
        let keepers = locked(&self.keepers).clone();
        match self.report(&keepers).await {
            Ok(report) => Ok(DurabilityReport { refusal, ..report }),
            Err(_) if refusal.is_some() => {
                Ok(DurabilityReport { refusal, ..Durability::ProcessCrash.into() })
            }
            Err(error) => Err(error),
        }
    }

    async fn report(&self, keepers: &Keepers) -> Result<DurabilityReport, StoreError> {
        server::durability(self.topic.client(), keepers, &self.monitors).await
    }

    /// Keeps an eye on how the server is set, for as long as the store is open.
    pub(super) async fn watch(&self) {
        let mut is_answered = true;
        loop {
            let is_asked = is_answered && self.connects() == self.asked_at.load(Ordering::Acquire);
            select! {
                _ = self.topic.lost() => {}
                () = sleep(if is_asked { ASK_EVERY } else { SOON }) => {}
            }
            // Where nobody answers there is nothing to learn, and a new connection is asked first.
            is_answered = self.ask().await.is_ok();
        }
    }

    async fn ask(&self) -> Result<(), StoreError> {
        let connects = self.connects();
        let (config, keepers) = self.topic.ask_keepers().await?;
        locked(&self.keepers).clone_from(&keepers);
        let report = match self.report(&keepers).await {
            Ok(report) => report,
            // A server syncs as it did when it was started: only of another one it has to be found out.
            Err(error) if self.asked_at.load(Ordering::Acquire) == connects => return Err(error),
            Err(error) => DurabilityReport {
                advice: Some(format!("how it syncs can't be found out: {error}")),
                ..Durability::ProcessCrash.into()
            },
        };
        let changed = difference(&self.wanted, &config)
            .map(|what| format!("the stream {} has another configuration: {what}", config.name));
        if self.connects() == connects {
            self.guard.tell(changed.map_or(Ok(&report), Err));
            self.asked_at.store(connects, Ordering::Release);
        }
        Ok(())
    }
}
