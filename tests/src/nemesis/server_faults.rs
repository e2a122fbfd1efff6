//! What can happen to the servers that all nodes use.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    mail::{Mail, Service},
    witness::Witness,
};
use crate::{backend::Backend, eventually_within};

/// What can happen to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerFault {
    /// The log's server is killed, and started again.
    StoreCrash,
    /// So is the server of the topic.
    TransportCrash,
    /// Redis syncs no longer before it answers, or may evict keys, until somebody sets it right.
    StoreWeaker,
    /// The server of an effect is away.
    EffectServerAway,
}

impl ServerFault {
    /// Those that can happen where the log and the topic are.
    pub fn all(log: &Backend, topic: Option<&Backend>) -> Vec<Self> {
        let mut all = vec![Self::StoreCrash, Self::EffectServerAway];
        all.extend(topic.map(|_| Self::TransportCrash));
        all.extend(matches!(log, Backend::Redis(_)).then_some(Self::StoreWeaker));
        all
    }
}

/// All servers.
#[derive(Debug)]
pub struct Servers {
    /// The log's.
    pub log: Backend,
    /// The topic's, where that is another one.
    pub topic: Option<Backend>,
    /// The effect's.
    pub mail: Mail,
}

impl Servers {
    /// Lets `fault` happen, of one of two kinds, and ends it; an effect's server is away for `away`.
    ///
    /// # Panics
    /// When the service does not show what it must.
    pub async fn bite(
        &mut self,
        fault: ServerFault,
        is_other: bool,
        away: Duration,
        witness: &Witness,
    ) {
        match fault {
            ServerFault::StoreCrash => self.log.crash().await,
            ServerFault::TransportCrash => {
                self.topic.as_mut().expect("there is one").crash().await;
            }
            ServerFault::StoreWeaker => self.weaken(is_other, witness).await,
            ServerFault::EffectServerAway => {
                self.mail.set(if is_other { Service::Hangs } else { Service::Refuses });
                sleep(away).await;
                self.mail.set(Service::Works);
            }
        }
    }

    /// Nothing may be acknowledged that could be lost: commands are refused before long, until it is set right.
    async fn weaken(&self, evicts: bool, witness: &Witness) {
        let Backend::Redis(redis) = &self.log else { unreachable!("only Redis is asked for this") };
        let (weaker, right) = match evicts {
            true => ("maxmemory-policy allkeys-lru", "maxmemory-policy noeviction"),
            false => ("appendfsync everysec", "appendfsync always"),
        };
        let set = async |settings: &str| {
            assert_eq!(redis.command(&format!("CONFIG SET {settings}")).await, "+OK");
        };
        let begun = Instant::now();
        set(weaker).await;
        eventually_within(Duration::from_secs(20), async || {
            let is_refused = witness.has_met("durability_lost", begun);
            if is_refused { Ok(()) } else { Err(format!("{weaker}: commands are not refused")) }
        })
        .await;
        sleep(Duration::from_secs(1)).await;
        set(right).await;
    }
}
