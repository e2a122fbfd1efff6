//! What the macros generate, as a program sees it.

use std::sync::Mutex;

use catga::{
    Error, ErrorKind, Event as _,
    handler::{
        Context, DecodeError, EventType, FromContext, FromContextMut, Handled, Interrupt, Kind,
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

    fn apply(&mut self, event: OrderEvent) {
        match event {
            OrderEvent::Paid(paid) => self.paid += paid.amount,
            OrderEvent::Closed(OrderClosed) => {}
        }
    }
}

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "order.pay", validate)]
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
#[command_handler(creates)]
fn pay_order(
    PayOrder { amount, .. }: PayOrder,
    order: &mut Root<Order>,
    limit: &State<Limit>,
) -> Result<u32, Error> {
    order.record(OrderPaid { amount: amount.min(limit.0), method: "card".to_owned() });
    Ok(order.paid)
}

/// The most that an order can be paid at once.
struct Limit(u32);

/// What can happen to a parcel.
#[catga::event]
enum ParcelEvent {
    /// It was handed over.
    Sent {
        to: String,
        #[serde(with = "seconds")]
        after: std::time::Duration,
    },
    #[event(name = "ParcelWeighed", version = 2, upcast(1 = WeighedV1))]
    Weighed {
        grams: u32,
        payload: u8,
    },
    Lost,
    Paid(OrderPaid),
}

#[derive(Serialize, Deserialize)]
struct WeighedV1 {
    kilograms: u16,
}

impl From<WeighedV1> for ParcelEvent {
    fn from(old: WeighedV1) -> Self {
        Self::Weighed { grams: u32::from(old.kilograms) * 1000, payload: 0 }
    }
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(time.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_secs)
    }
}

/// The struct with the fields of `ParcelEvent::Weighed`.
#[derive(Serialize)]
struct Weighed {
    grams: u32,
    payload: u8,
}

#[derive(Debug, Clone, Default)]
struct Parcel {
    grams: u32,
}

impl Aggregate for Parcel {
    type Event = ParcelEvent;
    const NAME: &'static str = "parcel";

    fn apply(&mut self, event: ParcelEvent) {
        if let ParcelEvent::Weighed { grams, .. } = event {
            self.grams = grams;
        }
    }
}

/// A number with `Display`, as a key.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct ParcelId(u32);

impl std::fmt::Display for ParcelId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p-{}", self.0)
    }
}

#[catga::command]
struct WeighParcel {
    #[key]
    parcel: ParcelId,
    #[key(Order)]
    order: String,
    grams: u32,
}

/// Answers what was paid for the order it is in.
#[command_handler(creates)]
fn weigh_parcel(
    command: WeighParcel,
    parcel: &mut Root<Parcel>,
    order: &Root<Order>,
) -> catga::Result<u32> {
    let grams: u32 = command.grams.to_string().parse()?;
    catga::ensure!(grams > 0, TooLight);
    parcel.record(ParcelEvent::Weighed { grams, payload: 7 });
    Ok(order.paid)
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("it is too light")]
struct TooLight;

/// Weighs another parcel on the way.
#[catga::command]
struct Forward {
    #[key]
    parcel: ParcelId,
    other: ParcelId,
}

#[command_handler]
async fn forward(command: Forward, parcel: &mut Root<Parcel>, catga: &Catga) -> Result<u32, Error> {
    parcel.record(ParcelEvent::Lost);
    catga.send(WeighParcel { parcel: command.other, order: "none".to_owned(), grams: 1 }).await
}

/// Has another parcel forwarded.
#[catga::command]
struct ForwardBoth {
    #[key]
    parcel: ParcelId,
    first: ParcelId,
    then: ParcelId,
}

#[command_handler]
async fn forward_both(
    command: ForwardBoth,
    _: &mut Root<Parcel>,
    catga: &Catga,
) -> Result<u32, Error> {
    catga.send(Forward { parcel: command.first, other: command.then }).await
}

#[catga::query]
struct GetParcel(#[key] u32);

#[query_handler]
fn get_parcel(_: GetParcel, parcel: &Root<Parcel>) -> u32 {
    parcel.grams
}

/// How often the handler of all of a parcel's events was called.
static SEEN: Mutex<Vec<ParcelEvent>> = Mutex::new(Vec::new());

#[event_handler(name = "parcels")]
fn see_parcel(event: ParcelEvent) {
    SEEN.lock().unwrap().push(event);
}

#[derive(Debug, Query)]
#[query(name = "order.get")]
struct GetOrder(#[key] &'static str);

#[query_handler]
async fn get_order(_: GetOrder, order: &Root<Order>) -> Result<u32, Error> {
    Ok(order.paid)
}

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "trace")]
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
async fn send_receipt(_: Recorded<OrderPaid>, _: &State<Limit>) {}

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
#[query(name = "totals.get")]
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
    Catga::builder().state(Limit(100)).start().await.unwrap()
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
fn a_variant_with_fields_is_an_event_of_its_own() {
    let names = ParcelEvent::TYPES.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names, ["Sent v1", "ParcelWeighed v2", "Lost v1", "OrderPaid v3"]);
    let after = std::time::Duration::from_secs(3);
    for event in [
        ParcelEvent::Sent { to: "there".to_owned(), after },
        ParcelEvent::Weighed { grams: 5, payload: 6 },
        ParcelEvent::Lost,
        paid().into(),
    ] {
        let mut payload = Vec::new();
        let ty = event.encode(&mut payload).unwrap();
        assert_eq!(ParcelEvent::decode(ty.name, ty.version, &payload), Ok(Some(event)));
    }
}

#[test]
fn a_variant_is_stored_as_a_struct_with_its_fields() {
    let (mut of_variant, of_struct) = (Vec::new(), Weighed { grams: 300, payload: 9 });
    ParcelEvent::Weighed { grams: 300, payload: 9 }.encode(&mut of_variant).unwrap();
    assert_eq!(of_variant, postcard::to_stdvec(&of_struct).unwrap());
    let mut of_unit = Vec::new();
    ParcelEvent::Lost.encode(&mut of_unit).unwrap();
    assert_eq!(of_unit, postcard::to_stdvec(&OrderClosed).unwrap());
}

#[test]
fn earlier_versions_of_a_variant_are_lifted() {
    let lifted = ParcelEvent::Weighed { grams: 2000, payload: 0 };
    assert_eq!(ParcelEvent::decode("ParcelWeighed", 1, &[2]), Ok(Some(lifted)));
    let error = DecodeError::UnknownVersion { name: "ParcelWeighed", stored: 3, known: 2 };
    assert_eq!(ParcelEvent::decode("ParcelWeighed", 3, &[]), Err(error));
}

#[test]
fn a_key_is_anything_that_is_shown() {
    let command = WeighParcel { parcel: ParcelId(7), order: "a".to_owned(), grams: 1 };
    assert_eq!(command.stream("parcel").unwrap().as_str(), "parcel/p-7");
    assert_eq!(command.stream("order").unwrap().as_str(), "order/a");
    assert_eq!(GetParcel(9).stream("parcel").unwrap().as_str(), "parcel/9");
    let fields: Vec<_> = WeighParcel::KEYS.iter().map(|key| (key.field, key.aggregate)).collect();
    assert_eq!(fields, [("parcel", None), ("order", Some("order"))]);
}

#[tokio::test]
async fn an_invalid_key_names_its_field() {
    let catga = start().await;
    for (order, field) in [("no key", "order"), (&*"x".repeat(65), "order")] {
        let command = WeighParcel { parcel: ParcelId(1), order: order.to_owned(), grams: 1 };
        let error = catga.send(command).await.unwrap_err();
        let ErrorKind::Invalid(fields) = error.kind() else { panic!("{error}") };
        assert_eq!(fields[0].field, field);
    }
}

#[tokio::test]
async fn a_handler_of_an_enum_gets_its_variants() {
    let catga = start().await;
    let pay = PayOrder { order_id: "weighed".to_owned(), amount: 4 };
    catga.send(pay).await.unwrap();
    let weigh = |parcel, grams| WeighParcel {
        parcel: ParcelId(parcel),
        order: "weighed".to_owned(),
        grams,
    };
    assert_eq!(catga.send(weigh(70, 31)).await.unwrap(), 4);
    assert_eq!(catga.query(GetParcel(70)).await.unwrap(), 0, "its key is `p-70`");
    let refused = catga.send(weigh(71, 0)).await.unwrap_err();
    assert_eq!(refused.handler(), Some(&TooLight), "a `?` keeps the error's type");
    let weighed = ParcelEvent::Weighed { grams: 31, payload: 7 };
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while !SEEN.lock().unwrap().contains(&weighed) {
        assert!(tokio::time::Instant::now() < deadline, "the handler was not called");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_command_to_the_aggregate_that_waits_for_it_is_refused_at_once() {
    let catga = start().await;
    let begin = std::time::Instant::now();
    let [a, b, c] = [ParcelId(200), ParcelId(201), ParcelId(202)];
    let directly = catga.send(Forward { parcel: a, other: a }).await;
    let by_another = catga.send(ForwardBoth { parcel: a, first: b, then: a }).await;
    for refused in [directly, by_another] {
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("would wait for itself"), "{error}");
    }
    assert!(begin.elapsed() < std::time::Duration::from_secs(4), "it waited for the timeout");
    catga.send(Forward { parcel: a, other: b }).await.unwrap();
    catga.send(ForwardBoth { parcel: a, first: b, then: c }).await.unwrap();
}

#[test]
fn the_attribute_of_a_message_says_what_it_is() {
    assert_eq!((PayOrder::NAME, <PayOrder as Handled>::CREATES), ("order.pay", true));
    assert_eq!((Trace::NAME, <Trace as Handled>::CREATES), ("trace", false));
    assert_eq!(GetOrder::NAME, "order.get");
    assert_eq!((WeighParcel::NAME, GetParcel::NAME), ("WeighParcel", "GetParcel"));
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
        (entry(Kind::Event, "Sent"), "macros::ParcelEvent::Sent", "It was handed over."),
    ];
    let source: Vec<_> = include_str!("macros.rs").lines().collect();
    for (entry, item, doc) in items {
        assert_eq!((entry.item, entry.doc), (item, doc));
        assert!(entry.file.ends_with("macros.rs"), "{}", entry.file);
        let line = source[usize::try_from(entry.line).unwrap() - 1];
        let name = item.rsplit("::").next().unwrap();
        assert!(line.contains(name), "{item} is not in `{line}`");
    }
}

#[tokio::test]
async fn a_handler_can_be_called_as_it_is_written() {
    let catga = start().await;
    catga.send(PayOrder { order_id: "a".to_owned(), amount: 1 }).await.unwrap();
    let records = catga.store().read_log(0.into(), 1).await.unwrap();
    let paid = Recorded::<OrderPaid>::read(&records[0]).unwrap().remove(0);
    send_receipt(paid, &State::new(Limit(1))).await;
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

#[test]
fn the_example_of_an_order_stays_small() {
    let lines = include_str!("../examples/order.rs").lines().count();
    assert!(lines <= 80, "three commands, three events and six errors take {lines} lines");
}
