//! The catalogue: every annotated item of the linked crates, and how to put it to work.
//!
//! The macros emit one [`Registration`] for each. `inventory` gathers those of every linked crate before `main`; nothing
//! lists handlers by hand.

use std::fmt;

use crate::program::setup::Setup;

/// What a registered item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A function with `#[command_handler]`.
    CommandHandler,
    /// A function with `#[query_handler]`.
    QueryHandler,
    /// A function with `#[event_handler]`.
    EventHandler,
    /// An impl with `#[projection]`.
    Projection,
    /// A struct with `#[derive(Event)]`.
    Event,
}

impl Kind {
    /// The kind as users read it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::CommandHandler => "command",
            Self::QueryHandler => "query",
            Self::EventHandler => "event handler",
            Self::Projection => "projection",
            Self::Event => "event",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// One entry of the catalogue: where an annotated item is, and how to put it to work.
#[derive(Debug)]
pub struct Registration {
    /// What it is.
    pub kind: Kind,
    /// The name of the message, handler, projection or event.
    pub name: &'static str,
    /// The Rust item: `order_system::handlers::pay_order`.
    pub item: &'static str,
    /// Its doc comment, lines joined by `\n`, without the leading blanks.
    pub doc: &'static str,
    /// The source file.
    pub file: &'static str,
    /// The line in it.
    pub line: u32,
    /// Declares what the item needs and adds it to the program.
    #[doc(hidden)]
    pub setup: fn(&mut Setup<'_>),
}

inventory::collect!(Registration);

/// A crate that [`handlers!`](crate::handlers) names.
#[derive(Debug)]
#[doc(hidden)]
pub struct NamedCrate {
    /// As it is in paths.
    pub name: &'static str,
    /// The source file that names it.
    pub file: &'static str,
    /// The line in it.
    pub line: u32,
}

inventory::collect!(NamedCrate);

/// Crates that are named and bring nothing.
pub(crate) fn empty_crates(items: &[&'static Registration]) -> Vec<String> {
    let is_empty = |named: &&NamedCrate| {
        let is_of = |item: &&Registration| item.item.split("::").next() == Some(named.name);
        !items.iter().any(is_of)
    };
    let problem = |NamedCrate { name, file, line }: &NamedCrate| {
        format!(
            "`catga::handlers!` names `{name}` ({file}:{line}), which has no handler, projection or event"
        )
    };
    inventory::iter::<NamedCrate>.into_iter().filter(is_empty).map(problem).collect()
}

/// Every item registered by the crates linked into this program, by kind and name.
pub fn catalogue() -> Vec<&'static Registration> {
    let mut all: Vec<_> = inventory::iter::<Registration>.into_iter().collect();
    all.sort_by_key(|r| (r.kind, r.name, r.file, r.line));
    all
}

/// Two items of one kind must not share a name: names are what is stored.
pub(crate) fn doubled_names(items: &[&'static Registration]) -> Vec<String> {
    let doubled = items.windows(2).filter(|w| (w[0].kind, w[0].name) == (w[1].kind, w[1].name));
    let problem = |w: &[&Registration]| {
        let (a, b) = (w[0], w[1]);
        format!("two of kind {} have the name `{}`: {} and {}", a.kind, a.name, place(a), place(b))
    };
    doubled.map(problem).collect()
}

pub(crate) fn place(item: &Registration) -> String {
    format!("`{}` ({}:{})", item.item, item.file, item.line)
}
