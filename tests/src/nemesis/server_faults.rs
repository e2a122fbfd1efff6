//! What can happen to the servers that all nodes use.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    mail::{Mail, Service},
    witness::Witness,
};
use crate::{backend::Backend, eventually_within, nats_cluster::NatsCluster};

/// What can happen to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerFault {
    /// The log's server is killed, and started again; all of them, where there are several.
    StoreCrash,
    /// Of several servers one is killed, the leader or another, and started again.
    MemberCrash,
    /// It stands still.
    MemberPause,
    /// It is cut off from the others; its nodes still reach it.
    MemberCutOff,
    /// The leader hands over, as before an upgrade.
    LeaderStepsDown,
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
        if matches!(log, Backend::NatsCluster(_)) {
            all.extend([Self::MemberCrash, Self::MemberPause, Self::MemberCutOff]);
            all.push(Self::LeaderStepsDown);
        }
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
            ServerFault::MemberCrash
            | ServerFault::MemberPause
            | ServerFault::MemberCutOff
            | ServerFault::LeaderStepsDown => {
                let Backend::NatsCluster(cluster) = &mut self.log else {
                    unreachable!("only several servers are asked for this")
                };
                bite_member(cluster, fault, is_other, away.min(MEMBER_AWAY)).await;
            }
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

/// How long one of several servers is away at most: a node that begins meanwhile waits for its own.
const MEMBER_AWAY: Duration = Duration::from_secs(12);

/// Lets `fault` happen to the server that leads the log, or to another, for `away` where that says something.
async fn bite_member(
    cluster: &mut NatsCluster,
    fault: ServerFault,
    is_other: bool,
    away: Duration,
) {
    let leader = cluster.leader("catga", 0).await;
    let member = if is_other { (leader + 1) % cluster.servers.len() } else { leader };
    match fault {
        ServerFault::MemberCrash => {
            cluster.servers[member].kill().await;
            sleep(away).await;
            cluster.servers[member].restart().await;
        }
        ServerFault::MemberPause => {
            cluster.servers[member].pause().await;
            sleep(away).await;
            cluster.servers[member].resume().await;
        }
        ServerFault::MemberCutOff => {
            cluster.isolate(member);
            sleep(away).await;
            cluster.heal();
        }
        _ => cluster.step_down("catga").await,
    }
}
