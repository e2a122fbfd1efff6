//! The roster: one value that all nodes read and write, and what this node concludes from it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    cluster::{ClusterSettings, Member, NodeWork, View},
    log::{Clock, StoreError},
    store::KvStore,
};

/// Where the roster is kept.
const KEY: &str = "roster";

/// The roster's format, its first byte.
const FORMAT: u8 = 1;

/// How often a write that others overtook is tried again at once.
const WRITES: usize = 8;

/// Why a node can't be part of the cluster.
#[derive(Debug)]
pub(crate) enum JoinError {
    Store(StoreError),
    /// Another node with this name is alive.
    NameTaken {
        address: String,
    },
}

impl From<StoreError> for JoinError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The roster as it was read, and its revision.
struct Roster {
    members: Vec<Member>,
    revision: u64,
}

/// Everybody who is in the roster.
pub(super) async fn read(kv: &dyn KvStore) -> Result<Vec<Member>, StoreError> {
    Ok(Roster::read(kv).await?.members)
}

impl Roster {
    async fn read(kv: &dyn KvStore) -> Result<Self, StoreError> {
        let Some(entry) = kv.get(KEY).await? else {
            return Ok(Self { members: Vec::new(), revision: 0 });
        };
        let damaged = || StoreError::corrupt("the roster of the cluster is damaged");
        let Some((&FORMAT, value)) = entry.value.split_first() else { return Err(damaged()) };
        let (mut members, rest): (Vec<Member>, _) =
            postcard::take_from_bytes(value).map_err(|_| damaged())?;
        let lists = |rest| match <[u8]>::is_empty(rest) {
            true => Ok((Vec::new(), rest)),
            false => postcard::take_from_bytes::<Vec<Vec<String>>>(rest).map_err(|_| damaged()),
        };
        let (stopped, rest) = lists(rest)?;
        for (member, stopped) in members.iter_mut().zip(stopped) {
            member.stopped = stopped;
        }
        for (member, paused) in members.iter_mut().zip(lists(rest)?.0) {
            member.paused = paused;
        }
        Ok(Self { members, revision: entry.revision })
    }

    /// Writes the roster, unless somebody did since it was read.
    async fn write(&self, kv: &dyn KvStore) -> Result<bool, StoreError> {
        let stopped: Vec<_> = self.members.iter().map(|member| &member.stopped).collect();
        let paused: Vec<_> = self.members.iter().map(|member| &member.paused).collect();
        let value = postcard::to_extend(&self.members, vec![FORMAT])
            .and_then(|value| postcard::to_extend(&stopped, value))
            .and_then(|value| postcard::to_extend(&paused, value));
        let value = Bytes::from(value.expect("a roster fits in a Vec"));
        Ok(kv.put(KEY, value, self.revision, None).await?.is_some())
    }
}

/// What was seen of the other nodes.
#[derive(Default)]
struct Watched {
    /// The last beat of each, and since when it is the last one.
    beats: HashMap<Uuid, (u64, Instant)>,
    looked: Option<Instant>,
}

impl Watched {
    /// Takes in what is in the roster now.
    fn look(&mut self, members: &[Member], longest_gap: Duration) {
        let now = Instant::now();
        // While the store or this process stood still, the others could not show that they are alive.
        if self.looked.is_none_or(|looked| now - looked > longest_gap) {
            self.beats.clear();
        }
        self.looked = Some(now);
        self.beats.retain(|run, _| members.iter().any(|member| member.run == *run));
        for member in members {
            let seen = self.beats.entry(member.run).or_insert((member.beat, now));
            if seen.0 != member.beat {
                *seen = (member.beat, now);
            }
        }
    }

    /// Whether `member` showed no life for `time`.
    fn is_silent(&self, member: &Member, time: Duration) -> bool {
        self.beats.get(&member.run).is_some_and(|(_, since)| since.elapsed() >= time)
    }
}

/// This node's part in the cluster.
pub(crate) struct Membership {
    kv: Arc<dyn KvStore>,
    settings: ClusterSettings,
    clock: Clock,
    me: Member,
    watched: Watched,
    view: watch::Sender<View>,
    /// Until when the last beat is good.
    good_until: Instant,
    next_beat: Instant,
}

impl Membership {
    /// Enters the node into the roster. When a node of this name is there already, it takes a lease time to see
    /// whether it is alive.
    pub(crate) async fn join(
        kv: Arc<dyn KvStore>,
        settings: ClusterSettings,
        clock: Clock,
        node: &str,
        handlers: Vec<String>,
    ) -> Result<Self, JoinError> {
        let now = clock.now();
        let me = Member {
            node: node.to_owned(),
            address: settings.address.clone(),
            version: settings.version.clone(),
            started_at: now,
            last_seen: now,
            leases: Vec::new(),
            run: Uuid::new_v4(),
            beat: 0,
            handlers,
            stopped: Vec::new(),
            paused: Vec::new(),
        };
        let view = watch::Sender::new(View::default());
        let now = Instant::now();
        let watched = Watched::default();
        let mut this =
            Self { kv, settings, clock, me, watched, view, good_until: now, next_beat: now };
        let mut first = None;
        loop {
            let begun = Instant::now();
            let mut roster = this.look().await?;
            let namesake = roster.members.iter().find(|member| member.node == this.me.node);
            let is_free = match namesake {
                None => true,
                Some(other) => {
                    if *first.get_or_insert((other.run, other.beat)) != (other.run, other.beat) {
                        return Err(JoinError::NameTaken { address: other.address.clone() });
                    }
                    this.watched.is_silent(other, this.silence())
                }
            };
            if !is_free {
                sleep(this.look_every()).await;
            } else if this.beat(&mut roster, begun).await? {
                return Ok(this);
            }
        }
    }

    pub(crate) fn view(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    pub(crate) fn lease(&self) -> Duration {
        self.settings.lease
    }

    /// After so long without a beat, a node gives itself up.
    fn patience(&self) -> Duration {
        self.settings.lease * 3 / 5
    }

    /// After so long without a beat, the others give a node up.
    fn silence(&self) -> Duration {
        self.settings.lease * 4 / 5
    }

    fn look_every(&self) -> Duration {
        self.settings.lease / 20
    }

    /// Beats and looks at the others until `stop`, and leaves the roster then. `work` says what the node works on.
    pub(crate) async fn run(&mut self, stop: &CancellationToken, work: impl Fn() -> NodeWork) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep_until(self.good_until), if self.view.borrow().me.is_some() => {
                    tracing::warn!("the cluster did not hear from this node; others take over its work");
                    self.view.send_modify(|view| view.me = None);
                }
                () = sleep(self.look_every()) => {
                    let good_until = self.good_until;
                    let step = tokio::select! {
                        step = self.step(&work) => step,
                        // A store that hangs must not keep the node from giving itself up.
                        () = sleep_until(good_until), if Instant::now() < good_until => continue,
                    };
                    if let Err(error) = step {
                        tracing::warn!(%error, "the roster of the cluster can't be read or written");
                    }
                }
            }
        }
        let left = timeout(self.patience(), self.leave()).await;
        if !matches!(left, Ok(Ok(()))) {
            tracing::warn!("this node could not leave the cluster; the others notice in a moment");
        }
    }

    async fn look(&mut self) -> Result<Roster, StoreError> {
        let roster = Roster::read(&*self.kv).await?;
        self.watched.look(&roster.members, self.settings.lease / 4);
        Ok(roster)
    }

    /// Looks, and beats when it is time to, or when somebody is to be given up.
    async fn step(&mut self, work: &impl Fn() -> NodeWork) -> Result<(), StoreError> {
        for _ in 0..WRITES {
            let begun = Instant::now();
            let mut roster = self.look().await?;
            let is_in = roster.members.iter().any(|member| member.run == self.me.run);
            let silence = self.silence();
            let silent = |member: &Member| self.watched.is_silent(member, silence);
            if !is_in {
                // The others gave it up, so what it worked on is theirs: it comes back as somebody new.
                self.view.send_modify(|view| view.me = None);
                self.me.run = Uuid::new_v4();
                let namesake = roster.members.iter().find(|member| member.node == self.me.node);
                if let Some(other) = namesake.filter(|other| !silent(other)) {
                    tracing::error!(
                        address = other.address,
                        "another node has this one's name now"
                    );
                    return Ok(());
                }
            }
            let is_somebody_silent = roster.members.iter().any(silent);
            if is_in && begun < self.next_beat && !is_somebody_silent {
                self.show(roster.members);
                return Ok(());
            }
            let NodeWork { held, stopped, paused } = work();
            (self.me.leases, self.me.stopped, self.me.paused) = (held, stopped, paused);
            if self.beat(&mut roster, begun).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes this node's beat into the roster and everybody who is silent out of it, unless somebody else wrote
    /// first. Answers whether it did.
    async fn beat(&mut self, roster: &mut Roster, begun: Instant) -> Result<bool, StoreError> {
        let silence = self.silence();
        roster.members.retain(|member| {
            let is_gone = member.run != self.me.run && self.watched.is_silent(member, silence);
            if is_gone {
                tracing::warn!(node = member.node, "a node of the cluster is gone");
            }
            !is_gone && member.run != self.me.run
        });
        self.me.beat += 1;
        self.me.last_seen = self.clock.now();
        roster.members.push(self.me.clone());
        roster.members.sort_by(|a, b| a.node.cmp(&b.node));
        if !roster.write(&*self.kv).await? {
            return Ok(false);
        }
        self.good_until = begun + self.patience();
        self.next_beat = begun + self.settings.lease / 5;
        self.show(std::mem::take(&mut roster.members));
        Ok(true)
    }

    /// Tells those who do the work what the roster says, if that changes anything for them.
    fn show(&self, members: Vec<Member>) {
        let me = (Instant::now() < self.good_until).then_some(self.me.run);
        self.view.send_if_modified(|view| {
            let is_same = |(a, b): (&Member, &Member)| (a.run, &a.stopped) == (b.run, &b.stopped);
            let is_news = view.me != me
                || view.members.len() != members.len()
                || !view.members.iter().zip(&members).all(is_same);
            *view = View { me, members };
            is_news
        });
    }

    async fn leave(&self) -> Result<(), StoreError> {
        loop {
            let mut roster = Roster::read(&*self.kv).await?;
            roster.members.retain(|member| member.run != self.me.run);
            if roster.write(&*self.kv).await? {
                return Ok(());
            }
        }
    }
}
