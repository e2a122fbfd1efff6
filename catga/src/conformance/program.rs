//! The program that the rules run on a backend: accounts, their sum as a read model, and an event handler.
//!
//! It is written out by hand what the macros write, since a function that is annotated here would be a part of every
//! program that links this crate.

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use super::{
    Stores,
    rule::{Broken, Verdict},
};
use crate::{
    log::Version,
    model::{
        Aggregate, DecodeError, Error, Event, EventType, Interrupt, ReadBack, Recorded, Root,
        Snapshots, decode_payload, encode_payload,
    },
    program::{
        Context, FromContext, FromContextMut, Handled, Kind, Registration, Setup, State, catalogue,
    },
    react::{DeliverySettings, register_event_handler},
    read::{Projection, ReadModel, register_projection},
    runtime::Catga,
    store::{Backend, BoxFuture},
    write::CommandOutcome,
};

/// After how many events an account has a snapshot. Streams of up to 64 events have none.
pub(super) const SNAPSHOT_EVERY: u64 = 50;

/// How often the event handler tries an event before it parks it.
pub(super) const ATTEMPTS: u32 = 2;

/// How long anything that a rule waits for may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// An amount was entered into an account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entered {
    pub(super) amount: u64,
}

impl Entered {
    pub(super) const TYPE: EventType = EventType { name: "catga-conformance.Entered", version: 1 };
}

impl Event for Entered {
    const TYPES: &'static [EventType] = &[Self::TYPE];

    fn event_type(&self) -> EventType {
        Self::TYPE
    }

    fn encode(&self, payload: &mut Vec<u8>) -> Result<EventType, DecodeError> {
        encode_payload::<Self>(Self::TYPE, &ReadBack::new(false), self, payload)
    }

    fn decode(name: &str, _: u16, payload: &[u8]) -> Result<Option<Self>, DecodeError> {
        let is_own = name == Self::TYPE.name;
        is_own.then(|| decode_payload(Self::TYPE, payload)).transpose()
    }
}

/// What was entered into one account, all in all.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Account {
    sum: u64,
}

impl Aggregate for Account {
    type Event = Entered;
    const NAME: &'static str = "conformance";
    const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::every(SNAPSHOT_EVERY));

    fn apply(&mut self, entered: Entered) {
        self.sum += entered.amount;
    }
}

/// Enters an amount, and answers the sum.
#[derive(Debug, Clone, Serialize, catga_macros::Command)]
#[command(name = "catga-conformance.enter")]
pub(super) struct Enter {
    #[key]
    account: String,
    amount: u64,
}

impl Enter {
    pub(super) fn new(account: &str, amount: u64) -> Self {
        Self { account: account.to_owned(), amount }
    }
}

impl Handled for Enter {
    type Output = u64;

    async fn handle<'c>(self, cx: &'c Context<'c>) -> Result<u64, Interrupt> {
        let mut account = <Root<Account> as FromContextMut<Self>>::extract_mut(cx, &self).await?;
        account.record(Entered { amount: self.amount });
        let sum = account.sum;
        <Root<Account> as FromContextMut<Self>>::commit(account, cx, Ok(sum)).await
    }
}

/// The sum and the version of one account.
#[derive(Debug, catga_macros::Query)]
#[query(name = "catga-conformance.balance")]
struct Balance {
    #[key]
    account: String,
}

impl Handled for Balance {
    type Output = (u64, u64);

    async fn handle<'c>(self, cx: &'c Context<'c>) -> Result<(u64, u64), Interrupt> {
        let account = <Root<Account> as FromContext<Self>>::extract(cx, &self).await?;
        Ok((account.sum, account.version().get()))
    }
}

/// The sum over all accounts.
#[derive(Debug, Default)]
struct Sums {
    total: u64,
}

impl Projection for Sums {
    type Event = Entered;
    const NAME: &'static str = "catga-conformance-sums";

    fn apply(&mut self, entered: &Recorded<Entered>) {
        self.total += entered.amount;
    }
}

/// The sum over all accounts.
#[derive(Debug, catga_macros::Query)]
#[query(name = "catga-conformance.total")]
struct Total;

impl Handled for Total {
    type Output = u64;

    async fn handle<'c>(self, cx: &'c Context<'c>) -> Result<u64, Interrupt> {
        let sums = <ReadModel<Sums> as FromContext<Self>>::extract(cx, &self).await?;
        Ok(sums.read().total)
    }
}

/// What the event handler was given: the versions of each account, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    by_account: BTreeMap<String, Vec<Version>>,
    /// The handler fails at this amount.
    poison: Option<u64>,
}

impl Ledger {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn of(&self, account: &str) -> Vec<Version> {
        self.pages().by_account.get(account).cloned().unwrap_or_default()
    }

    /// From now on the handler fails at events of this amount, or at none.
    pub(super) fn poison(&self, amount: Option<u64>) {
        self.pages().poison = amount;
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the amount is poison")]
struct Poisoned;

/// The event handler.
fn keep<'c>(
    cx: &'c Context<'c>,
    entered: Recorded<Entered>,
) -> BoxFuture<'c, Result<(), Interrupt>> {
    Box::pin(async move {
        let ledger = <State<Ledger> as FromContext<Entered>>::extract(cx, &entered.event).await?;
        let mut pages = ledger.pages();
        if pages.poison == Some(entered.amount) {
            return Err(Error::refused(Poisoned).into());
        }
        let account = entered.stream.key().to_owned();
        pages.by_account.entry(account).or_default().push(entered.version);
        Ok(())
    })
}

/// The name of the event handler.
pub(super) const HANDLER: &str = "catga-conformance";

const fn item(
    kind: Kind,
    name: &'static str,
    item: &'static str,
    setup: fn(&mut Setup<'_>),
) -> Registration {
    Registration { kind, name, item, doc: "", file: file!(), line: line!(), setup }
}

static ITEMS: [Registration; 6] = [
    item(Kind::Event, Entered::TYPE.name, "catga::conformance::Entered", |setup| {
        setup.event::<Entered>();
    }),
    item(Kind::Projection, Sums::NAME, "catga::conformance::Sums", |setup| {
        register_projection::<Sums>(setup);
    }),
    item(Kind::CommandHandler, "catga-conformance.enter", "catga::conformance::Enter", |setup| {
        <Root<Account> as FromContextMut<Enter>>::declare(setup);
    }),
    item(Kind::QueryHandler, "catga-conformance.balance", "catga::conformance::Balance", |setup| {
        <Root<Account> as FromContext<Balance>>::declare(setup);
    }),
    item(Kind::QueryHandler, "catga-conformance.total", "catga::conformance::Total", |setup| {
        <ReadModel<Sums> as FromContext<Total>>::declare(setup);
    }),
    item(Kind::EventHandler, HANDLER, "catga::conformance::keep", |setup| {
        <State<Ledger> as FromContext<Entered>>::declare(setup);
        register_event_handler::<Recorded<Entered>>(setup, HANDLER, false, keep);
    }),
];

/// The program's own items and catga's, none of those that the tests' crate has.
fn items() -> Vec<&'static Registration> {
    let is_ours = |item: &&Registration| item.item.starts_with("catga::");
    catalogue().into_iter().filter(is_ours).chain(&ITEMS).collect()
}

/// The program, running.
pub(super) struct Program {
    catga: Catga,
    pub(super) ledger: Ledger,
}

impl Deref for Program {
    type Target = Catga;

    fn deref(&self) -> &Catga {
        &self.catga
    }
}

impl Program {
    /// Starts it on `stores`.
    pub(super) async fn start(stores: Stores) -> Result<Self, Broken> {
        Self::start_with(stores, Ledger::default()).await
    }

    /// Starts it on `stores`, and has its event handler write into `ledger`.
    pub(super) async fn start_with(stores: Stores, ledger: Ledger) -> Result<Self, Broken> {
        let delivery = DeliverySettings {
            attempts: ATTEMPTS,
            first_delay: Duration::from_millis(1),
            longest_delay: Duration::from_millis(2),
            ..DeliverySettings::default()
        };
        let mut builder = Catga::builder().backend(Backend::new(stores.store, stores.kv));
        if let Some(transport) = stores.transport {
            builder = builder.transport(transport);
        }
        let builder = builder.state(ledger.clone()).delivery(delivery).timeout(PATIENCE);
        Ok(Self { catga: builder.items(items()).start().await?, ledger })
    }

    /// Sends a command under an id.
    pub(super) async fn send_as(
        &self,
        id: &str,
        command: &Enter,
    ) -> Result<CommandOutcome<u64>, Error> {
        self.send(command.clone()).id(id).outcome().await
    }

    /// The sum and the version of an account.
    pub(super) async fn balance(&self, account: &str) -> Result<(u64, u64), Error> {
        self.query(Balance { account: account.to_owned() }).await
    }

    /// The sum over all accounts.
    pub(super) async fn total(&self) -> Result<u64, Error> {
        self.query(Total).await
    }

    /// Ends it, and lets go of the stores.
    pub(super) async fn stop(self) {
        self.shutdown().await;
    }
}

/// Asks `probe` until it finds what is waited for; it answers what it found in its place.
pub(super) async fn until(
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<Result<(), String>, Broken>,
) -> Verdict {
    let mut last = String::new();
    let happens = async {
        loop {
            match probe().await? {
                Ok(()) => return Ok(()),
                Err(found) => last = found,
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, happens)
        .await
        .unwrap_or_else(|_| Err(Broken::new(format!("{what}: it did not happen, but {last}"))))
}
