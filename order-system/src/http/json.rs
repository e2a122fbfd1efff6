//! The JSON of orders and events: what goes in and out, apart from how it is stored.

use catga::{
    Recorded,
    log::{EventId, Origin},
};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{
    problem::Problem,
    request::Object,
    write::{Exact, Time},
};
use crate::domain::{
    commands::{CreateOrder, OrderLine, OrderView},
    events::OrderEvent,
    money::Money,
    order::Item,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateBody {
    customer_id: String,
    items: Vec<Object<ItemBody>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemBody {
    product_id: String,
    name: String,
    /// Kept as text: a number of any size is well-formed JSON, and prices are exact.
    quantity: Box<RawValue>,
    price: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PayBody {
    pub(super) payment_method: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShipBody {
    pub(super) tracking_number: String,
}

#[derive(Default, Deserialize)]
pub(super) struct ReasonBody {
    pub(super) reason: Option<String>,
}

impl CreateBody {
    pub(super) fn into_command(self, order_id: String) -> Result<CreateOrder, Problem> {
        let items = self.items.into_iter().enumerate().map(|(i, Object(item))| {
            let quantity = number(&item.quantity, || format!("items[{i}].quantity"))?;
            let price = number(&item.price, || format!("items[{i}].price"))?;
            if is_fraction(quantity) {
                let detail =
                    format!("items[{i}].quantity: a whole number is expected, not {quantity}");
                return Err(Problem::bad_request(detail));
            }
            Ok(OrderLine {
                product_id: item.product_id,
                name: item.name,
                quantity: Money::parse(quantity)
                    .and_then(|q| u32::try_from(q.units() / Money::ONE).ok()),
                price: Money::parse(price),
            })
        });
        let items = items.collect::<Result<_, Problem>>()?;
        Ok(CreateOrder { order_id, customer_id: self.customer_id, items })
    }
}

/// The text of a JSON number.
fn number(raw: &RawValue, field: impl Fn() -> String) -> Result<&str, Problem> {
    let text = raw.get();
    if text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return Ok(text);
    }
    Err(Problem::bad_request(format!("{}: a number is expected", field())))
}

/// Whether a JSON number is certainly not whole. Numbers too large to be exact count as whole.
fn is_fraction(number: &str) -> bool {
    match Money::parse(number) {
        Some(amount) => amount.units() % Money::ONE != 0,
        None => number.parse::<f64>().is_ok_and(|n| n.fract() != 0.0),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ItemJson<'a> {
    product_id: &'a str,
    name: &'a str,
    quantity: u32,
    price: Exact,
}

struct Items<'a>(&'a [Item]);

impl Serialize for Items<'_> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        json.collect_seq(self.0.iter().map(|Item { product_id, name, quantity, price }| ItemJson {
            product_id,
            name,
            quantity: *quantity,
            price: Exact(*price),
        }))
    }
}

/// The answer to a new order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreatedJson<'a> {
    pub(super) order_id: &'a str,
    pub(super) total: Exact,
    pub(super) created_at: Time,
}

/// An order as clients see it; what has not happened is left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderJson<'a> {
    id: &'a str,
    customer_id: &'a str,
    items: Items<'a>,
    status: &'static str,
    total: Exact,
    created_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    paid_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shipped_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracking_number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel_reason: Option<&'a str>,
    version: u64,
}

impl<'a> From<&'a OrderView> for OrderJson<'a> {
    fn from(OrderView { id, version, order }: &'a OrderView) -> Self {
        let (paid, shipped, cancelled) = (&order.paid, &order.shipped, &order.cancelled);
        Self {
            id,
            customer_id: &order.customer_id,
            items: Items(&order.items),
            status: order.status.map_or("", |status| status.name()),
            total: Exact(order.total),
            created_at: Time(order.created_at),
            paid_at: paid.as_ref().map(|(_, at)| Time(*at)),
            payment_method: paid.as_ref().map(|(method, _)| method.as_str()),
            shipped_at: shipped.as_ref().map(|(_, at)| Time(*at)),
            tracking_number: shipped.as_ref().map(|(number, _)| number.as_str()),
            delivered_at: order.delivered_at.map(Time),
            cancelled_at: cancelled.as_ref().map(|(_, at)| Time(*at)),
            cancel_reason: cancelled.as_ref().and_then(|(reason, _)| reason.as_deref()),
            version: *version,
        }
    }
}

/// An event as `/history` and `/events` show it.
#[derive(Serialize)]
pub(super) struct EventJson<'a> {
    version: u64,
    position: u64,
    r#type: &'static str,
    timestamp: Time,
    data: DataJson<'a>,
    metadata: MetadataJson<'a>,
}

/// Where an event came from.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MetadataJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    command_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    event_id: EventId,
    node: &'a str,
}

/// What happened; the members are those of the event's type.
#[derive(Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", untagged)]
enum DataJson<'a> {
    Created {
        order_id: &'a str,
        customer_id: &'a str,
        items: Items<'a>,
        total: Exact,
        created_at: Time,
    },
    Paid {
        order_id: &'a str,
        payment_method: &'a str,
        paid_at: Time,
    },
    Shipped {
        order_id: &'a str,
        tracking_number: &'a str,
        shipped_at: Time,
    },
    Delivered {
        order_id: &'a str,
        delivered_at: Time,
    },
    Cancelled {
        order_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
        cancelled_at: Time,
    },
}

impl EventJson<'_> {
    pub(super) fn type_name(&self) -> &'static str {
        self.r#type
    }
}

impl<'a> From<&'a Recorded<OrderEvent>> for EventJson<'a> {
    fn from(recorded: &'a Recorded<OrderEvent>) -> Self {
        let order_id = recorded.stream.key();
        let (r#type, data) = match &recorded.event {
            OrderEvent::Created(e) => (
                "OrderCreated",
                DataJson::Created {
                    order_id,
                    customer_id: &e.customer_id,
                    items: Items(&e.items),
                    total: Exact(e.total),
                    created_at: Time(e.created_at),
                },
            ),
            OrderEvent::Paid(e) => {
                let (payment_method, paid_at) = (e.payment_method.as_str(), Time(e.paid_at));
                ("OrderPaid", DataJson::Paid { order_id, payment_method, paid_at })
            }
            OrderEvent::Shipped(e) => {
                let (tracking_number, shipped_at) =
                    (e.tracking_number.as_str(), Time(e.shipped_at));
                ("OrderShipped", DataJson::Shipped { order_id, tracking_number, shipped_at })
            }
            OrderEvent::Delivered(e) => (
                "OrderDelivered",
                DataJson::Delivered { order_id, delivered_at: Time(e.delivered_at) },
            ),
            OrderEvent::Cancelled(e) => {
                let (reason, cancelled_at) = (e.reason.as_deref(), Time(e.cancelled_at));
                ("OrderCancelled", DataJson::Cancelled { order_id, reason, cancelled_at })
            }
        };
        let Origin { command_id, correlation: correlation_id, node, .. } = recorded.origin();
        let metadata = MetadataJson { command_id, correlation_id, event_id: recorded.id, node };
        let (version, position) = (recorded.version, recorded.position);
        Self { version, position, r#type, timestamp: Time(recorded.time), data, metadata }
    }
}
