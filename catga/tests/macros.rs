//! What the macros generate, as a program sees it.

use std::sync::Mutex;

use catga::{
    Error, Event as _,
    handler::{
        Context, DecodeError, EventType, FromContext, FromContextMut, Interrupt, Kind,
        Registration, Setup, Targeted, catalogue,
    },
    prelude::*,
};
use serde::{Deserialize, Serialize};

/// The order was paid.
///
///  - in full
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "OrderPaid", version = 3, upcast(1 = OrderPaidV1, 2 = OrderPaidV2))]
struct OrderPaid {
    amount: u32,
    method: String,
}

#[derive(Serialize, Deserialize)]
struct OrderPaidV1;

#[derive(Serialize, Deserialize)]
struct OrderPaidV2 {
    amount: u32,
}

impl From<OrderPaidV1> for OrderPaid {
    fn from(_: OrderPaidV1) -> Self {
        Self { amount: 0, method: "version 1".to_owned() }
    }
}

impl From<OrderPaidV2> for OrderPaid {
    fn from(old: OrderPaidV2) -> Self {
        Self { amount: old.amount, method: "version 2".to_owned() }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "OrderClosed", version = 1)]
struct OrderClosed;

#[derive(Debug, Clone, PartialEq, Event)]
enum OrderEvent {
    Paid(OrderPaid),
    Closed(OrderClosed),
}

#[derive(Debug, Clone, Default)]
struct Order {
    paid: u32,
}

impl Aggregate for Order {
    type Event = OrderEvent;
    const NAME: &'static str = "order";

    fn apply(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::Paid(paid) => self.paid += paid.amount,
            OrderEvent::Closed(OrderClosed) => {}
        }
    }
}

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "order.pay", output = u32, creates, validate)]
struct PayOrder {
    #[key]
    order_id: String,
    amount: u32,
}

impl Validate for PayOrder {
    fn problems(&self) -> Vec<FieldError> {
        let is_bad = self.amount == 0;
        is_bad.then(|| FieldError::new("amount", "at least 1")).into_iter().collect()
    }
}

/// Pays an order.
#[command_handler]
fn pay_order(
    PayOrder { amount, .. }: PayOrder,
    order: &mut Root<Order>,
    limit: &Limit,
) -> Result<u32, Error> {
    order.record(OrderPaid { amount: amount.min(limit.0), method: "card".to_owned() });
    Ok(order.paid)
}

/// The most that an order can be paid at once.
struct Limit(u32);

impl Resource for Limit {}

#[derive(Debug, Query)]
#[query(name = "order.get", output = u32)]
struct GetOrder(#[key] &'static str);

#[query_handler]
async fn get_order(_: GetOrder, order: &Root<Order>) -> Result<u32, Error> {
    Ok(order.paid)
}

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "trace", output = ())]
struct Trace;

/// What happened in a run of [`trace`], in order.
static STEPS: Mutex<Vec<&str>> = Mutex::new(Vec::new());

#[command_handler]
fn trace(_: Trace, _: &mut Locked, _: &Slow) {
    step("called");
}

struct Locked;

struct Slow;

fn step(name: &'static str) {
    STEPS.lock().unwrap().push(name);
}

impl FromContextMut<Trace> for Locked {
    type Held<'c> = Box<Self>;

    async fn extract_mut<'c>(_: &'c Context<'c>, _: &Trace) -> Result<Box<Self>, Interrupt> {
        step("locked");
        Ok(Box::new(Self))
    }

    async fn commit<'c, O: Serialize + Send + Sync>(
        _: Box<Self>,
        _: &'c Context<'c>,
        outcome: Result<O, Error>,
    ) -> Result<O, Interrupt> {
        step("committed");
        Ok(outcome?)
    }

    fn declare(_: &mut Setup<'_>) {}
}

impl FromContext<Trace> for Slow {
    type Held<'c> = Box<Self>;

    async fn extract<'c>(_: &'c Context<'c>, _: &Trace) -> Result<Box<Self>, Interrupt> {
        step("extracted");
        Ok(Box::new(Self))
    }

    fn declare(_: &mut Setup<'_>) {}
}

#[event_handler(name = "receipts")]
async fn send_receipt(_: Recorded<OrderPaid>, _: &Limit) {}

#[derive(Debug, Default)]
struct Totals {
    paid: u32,
}

/// What was paid in all.
#[projection]
impl Projection for Totals {
    type Event = OrderPaid;
    const NAME: &'static str = "totals";

    fn apply(&mut self, event: &Recorded<OrderPaid>) {
        self.paid += event.amount;
    }
}

#[derive(Debug, Query)]
#[query(name = "totals.get", output = u32)]
struct GetTotals;

#[query_handler]
fn get_totals(_: GetTotals, totals: &ReadModel<Totals>) -> Result<u32, Error> {
    Ok(totals.read().paid)
}

const PAID: EventType = EventType { name: "OrderPaid", version: 3 };
const CLOSED: EventType = EventType { name: "OrderClosed", version: 1 };

fn paid() -> OrderPaid {
    OrderPaid { amount: 7, method: "card".to_owned() }
}

async fn start() -> Catga {
    Catga::builder().resource(Limit(100)).start().await.unwrap()
}

#[track_caller]
fn entry(kind: Kind, name: &str) -> &'static Registration {
    let mut found = catalogue().into_iter().filter(|item| (item.kind, item.name) == (kind, name));
    found.next().expect("it is registered")
}

#[test]
fn an_event_is_decoded_as_it_was_encoded() {
    let mut payload = Vec::new();
    let ty = paid().encode(&mut payload).unwrap();
    assert_eq!((ty, OrderPaid::TYPES), (PAID, &[PAID][..]));
    assert_eq!(OrderPaid::decode("OrderPaid", 3, &payload), Ok(Some(paid())));
}

#[test]
fn an_event_of_another_name_is_left_to_others() {
    assert_eq!(OrderPaid::decode("OrderClosed", 1, &[]), Ok(None));
    assert_eq!(OrderEvent::decode("Unheard", 1, &[]), Ok(None));
}

#[test]
fn earlier_versions_are_lifted() {
    let from_1 = OrderPaid { amount: 0, method: "version 1".to_owned() };
    assert_eq!(OrderPaid::decode("OrderPaid", 1, &[]), Ok(Some(from_1)));
    let from_2 = OrderPaid { amount: 5, method: "version 2".to_owned() };
    assert_eq!(OrderPaid::decode("OrderPaid", 2, &[5]), Ok(Some(from_2)));
}

#[test]
fn an_unknown_version_is_an_error_that_names_it() {
    for stored in [0, 4] {
        let error = DecodeError::UnknownVersion { name: "OrderPaid", stored, known: 3 };
        assert_eq!(OrderPaid::decode("OrderPaid", stored, &[]), Err(error.clone()));
        assert_eq!(OrderEvent::decode("OrderPaid", stored, &[]), Err(error));
    }
}

#[test]
fn damage_is_an_error_that_names_the_stored_version() {
    let damage = DecodeError::Payload(EventType { version: 2, ..PAID });
    assert_eq!(OrderPaid::decode("OrderPaid", 2, &[]), Err(damage.clone()));
    assert_eq!(OrderPaid::decode("OrderPaid", 2, &[5, 0]), Err(damage));
}

#[test]
fn an_enum_is_all_its_events() {
    assert_eq!(OrderEvent::TYPES, [PAID, CLOSED]);
    for event in [OrderEvent::from(paid()), OrderEvent::from(OrderClosed)] {
        let mut payload = Vec::new();
        let ty = event.encode(&mut payload).unwrap();
        assert_eq!(OrderEvent::decode(ty.name, ty.version, &payload), Ok(Some(event)));
    }
}

#[test]
fn the_attribute_of_a_message_says_what_it_is() {
    assert_eq!((PayOrder::NAME, PayOrder::CREATES), ("order.pay", true));
    assert_eq!((Trace::NAME, Trace::CREATES), ("trace", false));
    assert_eq!(GetOrder::NAME, "order.get");
}

#[test]
fn the_key_is_the_stream() {
    let command = PayOrder { order_id: "a".to_owned(), amount: 1 };
    assert_eq!(command.stream("order").unwrap().as_str(), "order/a");
    assert_eq!(GetOrder("b").stream("order").unwrap().as_str(), "order/b");
    assert!(GetOrder("no key").stream("order").is_err());
}

#[test]
fn a_command_is_validated_if_it_says_so() {
    let command = PayOrder { order_id: "a".to_owned(), amount: 0 };
    assert_eq!(command.validate(), Err(vec![FieldError::new("amount", "at least 1")]));
    assert_eq!(PayOrder { amount: 1, ..command }.validate(), Ok(()));
    assert_eq!(Trace.validate(), Ok(()));
}

#[test]
fn the_catalogue_says_what_and_where_everything_is() {
    let items = [
        (entry(Kind::CommandHandler, "order.pay"), "macros::pay_order", "Pays an order."),
        (entry(Kind::QueryHandler, "order.get"), "macros::get_order", ""),
        (entry(Kind::EventHandler, "receipts"), "macros::send_receipt", ""),
        (entry(Kind::Projection, "totals"), "macros::Totals", "What was paid in all."),
        (entry(Kind::Event, "OrderPaid"), "macros::OrderPaid", "The order was paid.\n\n - in full"),
    ];
    let source: Vec<_> = include_str!("macros.rs").lines().collect();
    for (entry, item, doc) in items {
        assert_eq!((entry.item, entry.doc), (item, doc));
        assert!(entry.file.ends_with("macros.rs"), "{}", entry.file);
        let line = source[usize::try_from(entry.line).unwrap() - 1];
        let name = item.trim_start_matches("macros::");
        assert!(line.contains(name), "{item} is not in `{line}`");
    }
}

#[tokio::test]
async fn a_handler_can_be_called_as_it_is_written() {
    let catga = start().await;
    catga.send(PayOrder { order_id: "a".to_owned(), amount: 1 }).await.unwrap();
    let records = catga.store().read_log(0, 1).await.unwrap();
    let paid = Recorded::<OrderPaid>::read(&records[0]).unwrap().remove(0);
    send_receipt(paid, &Limit(1)).await;
}

#[tokio::test]
async fn a_command_changes_what_queries_see() {
    let catga = start().await;
    let pay = |amount| PayOrder { order_id: "a".to_owned(), amount };
    assert_eq!(catga.send(pay(2)).await.unwrap(), 2);
    assert_eq!(catga.send(pay(1000)).await.unwrap(), 102);
    assert_eq!(catga.query(GetOrder("a")).await.unwrap(), 102);
    assert_eq!(catga.query(GetTotals).await.unwrap(), 102);
}

#[tokio::test]
async fn what_locks_is_extracted_last() {
    let catga = start().await;
    catga.send(Trace).await.unwrap();
    assert_eq!(*STEPS.lock().unwrap(), ["extracted", "locked", "called", "committed"]);
}

#[tokio::test]
async fn what_a_parameter_needs_is_checked_at_the_start() {
    let error = Catga::builder().start().await.expect_err("`Limit` is missing").to_string();
    assert!(error.contains("Limit"), "{error}");
}
