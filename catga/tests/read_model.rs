//! A table shows what a plain list of rows does, whatever came in which order.

use std::collections::{BTreeMap, BTreeSet};

use catga::read_model::{Cursor, Key, Page, Row, Table, Totals};
use proptest::{collection::vec, prelude::*};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Ticket {
    state: u8,
    owner: Option<String>,
    tags: Vec<u8>,
    cost: i64,
}

#[derive(Debug, Clone, Serialize)]
enum By<'a> {
    State(u8),
    Owner(&'a str),
    Tag(u8),
}

impl Row for Ticket {
    type Key = String;
    type Index<'a> = By<'a>;

    fn indexes(&self) -> impl IntoIterator<Item = By<'_>> {
        let tags = self.tags.iter().copied().map(By::Tag);
        [By::State(self.state)].into_iter().chain(self.owner.as_deref().map(By::Owner)).chain(tags)
    }

    fn amount(&self) -> i128 {
        self.cost.into()
    }
}

/// Rows in the order they came.
#[derive(Debug, Clone, Default)]
struct Naive(Vec<(String, Ticket)>);

impl Naive {
    fn update(&mut self, key: &str, change: impl FnOnce(&mut Ticket)) {
        match self.0.iter_mut().find(|(other, _)| other == key) {
            Some((_, row)) => change(row),
            None => {
                self.0.push((key.to_owned(), Ticket::default()));
                change(&mut self.0.last_mut().unwrap().1);
            }
        }
    }

    fn remove(&mut self, key: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(other, _)| other != key);
        self.0.len() < before
    }

    fn matching(&self, filters: &[By<'_>]) -> Vec<(String, Ticket)> {
        let has = |row: &Ticket, filter: &By<'_>| match filter {
            By::State(state) => row.state == *state,
            By::Owner(owner) => row.owner.as_deref() == Some(*owner),
            By::Tag(tag) => row.tags.contains(tag),
        };
        let rows = self.0.iter().rev();
        rows.filter(|(_, row)| filters.iter().all(|filter| has(row, filter))).cloned().collect()
    }
}

fn totals(rows: &[(String, Ticket)]) -> Totals {
    let amount = rows.iter().map(|(_, row)| i128::from(row.cost)).sum();
    Totals { rows: rows.len() as u64, amount }
}

#[derive(Debug, Clone)]
enum Step {
    Replace(u8, Ticket),
    Advance(u8),
    Remove(u8),
    /// The table goes through a snapshot.
    Restore,
}

/// How many keys there are.
const KEYS: u8 = 60;

/// Texts that are UUIDs, that are nearly UUIDs, and others.
fn key(number: u8) -> String {
    let uuid = Uuid::from_u128(u128::from(number / 4) << 80 | 0xabc);
    match number % 4 {
        0 => uuid.to_string(),
        1 => uuid.to_string().to_uppercase(),
        2 => uuid.simple().to_string(),
        _ => "k".repeat(usize::from(number) * 3),
    }
}

fn owner(number: u8) -> String {
    format!("owner {number}")
}

prop_compose! {
    fn ticket()(
        state in 0..4u8, owned in proptest::option::of(0..6u8), tags in vec(0..5u8, 0..4),
        cost in -1000..1000i64,
    ) -> Ticket {
        Ticket { state, owner: owned.map(owner), tags, cost }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..KEYS, ticket()).prop_map(|(key, row)| Step::Replace(key, row)),
        8 => (0..KEYS).prop_map(Step::Advance),
        3 => (0..KEYS).prop_map(Step::Remove),
        1 => Just(Step::Restore),
    ]
}

fn restored(table: &Table<Ticket>) -> Table<Ticket> {
    postcard::from_bytes(&postcard::to_stdvec(table).unwrap()).unwrap()
}

fn apply(table: &mut Table<Ticket>, naive: &mut Naive, step: &Step) {
    match step {
        Step::Replace(number, row) => {
            table.update(&key(*number), |ticket| *ticket = row.clone());
            naive.update(&key(*number), |ticket| *ticket = row.clone());
        }
        Step::Advance(number) => {
            let advance = |ticket: &mut Ticket| {
                ticket.state = (ticket.state + 1) % 4;
                ticket.tags.push(ticket.state);
            };
            table.update(&key(*number), advance);
            naive.update(&key(*number), advance);
        }
        Step::Remove(number) => {
            assert_eq!(table.remove(&key(*number)), naive.remove(&key(*number)));
        }
        Step::Restore => *table = restored(table),
    }
}

/// All pages of a selection.
fn walk(table: &Table<Ticket>, filters: &[By<'_>], limit: usize) -> Vec<(String, Ticket)> {
    let (mut rows, mut cursor) = (Vec::new(), None);
    loop {
        let page = page(table, filters, cursor, limit);
        assert!(page.rows.len() <= limit);
        rows.extend(page.rows);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return rows,
        }
    }
}

fn page(
    table: &Table<Ticket>,
    filters: &[By<'_>],
    cursor: Option<Cursor>,
    limit: usize,
) -> Page<Ticket> {
    // As a client gives it back.
    let cursor = cursor.map(|cursor| cursor.to_string().parse::<Cursor>().unwrap());
    let select = filters.iter().fold(table.select(), |select, by| select.filter(by.clone()));
    let page = select.clone().after(cursor).page(limit);
    assert_eq!(select.count(), page.total);
    page
}

fn check(table: &Table<Ticket>, naive: &Naive, limit: usize) {
    assert_eq!(table.totals(), totals(&naive.0));
    for number in 0..KEYS {
        let row = naive.0.iter().find(|(other, _)| *other == key(number)).map(|(_, row)| row);
        assert_eq!(table.get(&key(number)).as_ref(), row);
    }
    let owners: Vec<_> = (0..7).map(owner).collect();
    let mut entries: Vec<_> = (0..4).map(By::State).collect();
    entries.extend(owners.iter().map(|owner| By::Owner(owner)));
    entries.extend((0..6).map(By::Tag));
    let mut selections = vec![Vec::new()];
    for entry in &entries {
        assert_eq!(
            table.totals_of(entry.clone()),
            totals(&naive.matching(std::slice::from_ref(entry)))
        );
        selections.push(vec![entry.clone()]);
        selections.push(vec![entry.clone(), By::State(1)]);
        selections.push(vec![By::Tag(2), entry.clone(), By::State(3)]);
    }
    for filters in &selections {
        let expected = naive.matching(filters);
        assert_eq!(page(table, filters, None, limit).total, expected.len() as u64);
        assert_eq!(walk(table, filters, limit), expected, "{filters:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_table_shows_what_a_list_of_rows_does(
        steps in vec(step(), 0..400),
        limit in 1..40usize,
    ) {
        let (mut table, mut naive) = (Table::default(), Naive::default());
        for step in &steps {
            apply(&mut table, &mut naive, step);
            if let Step::Restore = step {
                check(&table, &naive, limit);
            }
        }
        check(&table, &naive, limit);
        check(&restored(&table), &naive, limit);
    }

    /// Rows come, change and go between one page and the next.
    #[test]
    fn a_walk_sees_each_row_that_stays_exactly_once(
        before in vec(step(), 0..200),
        meanwhile in vec(vec(step(), 0..30), 1..20),
        filter in proptest::option::of(0..4u8),
        limit in 1..10usize,
    ) {
        let (mut table, mut naive) = (Table::default(), Naive::default());
        for step in &before {
            apply(&mut table, &mut naive, step);
        }
        let filters: Vec<_> = filter.map(By::State).into_iter().collect();
        let keys = |naive: &Naive| -> BTreeSet<String> {
            naive.matching(&filters).into_iter().map(|(key, _)| key).collect()
        };
        let mut stayed = keys(&naive);
        let at_first: BTreeSet<_> = naive.0.iter().map(|(key, _)| key.clone()).collect();
        let (mut seen, mut cursor, mut ended) = (Vec::new(), None, false);
        for steps in meanwhile.iter().cycle().take(100) {
            let page = page(&table, &filters, cursor, limit);
            seen.extend(page.rows.into_iter().map(|(key, _)| key));
            cursor = page.next;
            if cursor.is_none() {
                ended = true;
                break;
            }
            for step in steps {
                apply(&mut table, &mut naive, step);
                stayed = &stayed & &keys(&naive);
            }
        }
        prop_assert!(ended);
        let once: BTreeSet<_> = seen.iter().cloned().collect();
        prop_assert_eq!(once.len(), seen.len(), "no row comes twice");
        prop_assert!(stayed.is_subset(&once));
        prop_assert!(once.is_subset(&at_first), "what was added is before all pages");
    }
}

#[test]
fn removed_rows_leave_little_and_their_places_stay_theirs() {
    let mut table = Table::<Ticket>::default();
    for number in 0..10_000u32 {
        table.update(&number.to_string(), |row| row.cost = number.into());
    }
    let page = table.select().page(10);
    for number in 0..9_995u32 {
        assert!(table.remove(&number.to_string()));
    }
    let keys = |page: Page<Ticket>| page.rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    let bytes = postcard::to_stdvec(&table).unwrap();
    assert!(bytes.len() < 100, "{}", bytes.len());
    for table in [restored(&table), table] {
        let select = table.select();
        assert_eq!(select.clone().page(4).total, 5);
        assert_eq!(keys(select.clone().page(4)), ["9999", "9998", "9997", "9996"]);
        assert_eq!(keys(select.after(page.next).page(4)), [""; 0]);
    }
}

#[test]
fn a_row_that_comes_again_is_the_newest() {
    let mut table = Table::<Ticket>::default();
    for key in ["a", "b", "a"] {
        table.update(key, |row| row.cost += 1);
    }
    assert!(table.remove("a"));
    assert!(!table.remove("a"));
    table.update("a", |row| row.cost += 5);
    let rows = table.select().page(10).rows;
    assert_eq!(
        rows.iter().map(|(key, row)| (&**key, row.cost)).collect::<Vec<_>>(),
        [("a", 5), ("b", 1)]
    );
}

/// More rows than are kept decoded, short and long ones, are read before and after they are written.
#[test]
fn rows_that_changed_lately_are_shown_and_stored_as_they_are() {
    const ROWS: u32 = 1500;

    fn update(
        table: &mut Table<Ticket>,
        expected: &mut BTreeMap<u32, Ticket>,
        number: u32,
        tags: usize,
    ) -> Ticket {
        let change = |row: &mut Ticket| {
            row.cost += i64::from(number);
            row.state = (row.state + 1) % 4;
            row.tags.resize(row.tags.len() + tags, 9);
        };
        table.update(&number.to_string(), change);
        let row: &mut Ticket = expected.entry(number).or_default();
        change(row);
        row.clone()
    }
    let (mut table, mut expected) = (Table::default(), BTreeMap::new());
    for number in 0..ROWS {
        // Every fiftieth is too long to be kept decoded.
        update(&mut table, &mut expected, number, if number % 50 == 0 { 1100 } else { 0 });
    }
    // In turns rows that are far from each other and one again and again, which grows.
    for turn in 0..3000 {
        let number = turn * 512 % ROWS + turn % 5;
        let (number, tags) = match turn % 3 {
            0 => (number, 0),
            1 => (ROWS - 1, 1),
            _ => (turn % ROWS, 0),
        };
        let row = update(&mut table, &mut expected, number, tags);
        // Not after each change: the next one is on what was read, or on what nobody read.
        if turn % 4 == 0 {
            assert_eq!(table.get(&number.to_string()), Some(row));
        }
        if turn % 1000 == 500 {
            table = restored(&table);
        }
    }
    let all = |table: &Table<Ticket>| {
        let rows = table.select().page(usize::MAX).rows.into_iter();
        rows.map(|(key, row)| (key.parse().unwrap(), row)).collect::<BTreeMap<u32, _>>()
    };
    assert_eq!(all(&restored(&table)), expected);
    assert_eq!(all(&table), expected);
    for state in 0..4 {
        let rows = expected.values().filter(|row| row.state == state);
        let amount = rows.clone().map(|row| i128::from(row.cost)).sum();
        let totals = Totals { rows: rows.count() as u64, amount };
        assert_eq!(table.totals_of(By::State(state)), totals);
    }
    // A removed row is not there again when others take its slot.
    for number in (ROWS - 600..ROWS).step_by(2) {
        update(&mut table, &mut expected, number, 0);
        assert!(table.remove(&number.to_string()));
        assert_eq!(table.get(&number.to_string()), None);
    }
    for number in 0..600 {
        update(&mut table, &mut expected, number, 0);
    }
    expected.retain(|number, _| *number < ROWS - 600 || number % 2 == 1);
    assert_eq!(all(&table), expected);
    assert_eq!(all(&restored(&table)), expected);
}

#[test]
fn bytes_that_are_no_table_are_refused() {
    let mut table = Table::<Ticket>::default();
    for number in 0..3u8 {
        table.update(&key(number), |row| row.tags.push(number));
    }
    let bytes = postcard::to_stdvec(&table).unwrap();
    for length in 0..bytes.len() {
        assert!(postcard::from_bytes::<Table<Ticket>>(&bytes[..length]).is_err());
    }
    // Whatever is changed, it is an error or another table, and never a panic.
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            if let Ok(table) = postcard::from_bytes::<Table<Ticket>>(&bytes) {
                table.select().count();
            }
        }
    }
}

#[test]
fn keys_are_read_back_as_they_were() {
    fn same<K: Key<Borrowed = K> + PartialEq + std::fmt::Debug>(key: K) {
        let mut bytes = Vec::new();
        K::encode(&key, &mut bytes);
        assert_eq!(K::decode(&bytes), Some(key));
    }
    same(7u64);
    same(-7i32);
    same(Uuid::from_u128(9));
    assert_eq!(u32::decode(&[1]), None);
    assert_eq!(String::decode(&[0xff, 1]), None);
}
