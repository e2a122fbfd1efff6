//! Reading a stream, and the log, in pages that the server answers in time.

use std::sync::atomic::Ordering;

use redis::Value;

use super::{
    RedisStore,
    ahead::{ReadAhead, WINDOW},
    check_id,
    stored::{array, commit, log_entry, unreadable},
};
use crate::log::{Position, Record, StoreError, StreamId, Version};

/// How many commits are asked for at first. A commit can have a megabyte, and the answer has to come in time.
pub(super) const FIRST_PAGE: usize = 64;

/// How many events of a stream are asked for at most. The server looks for each commit, and serves nobody meanwhile.
const LARGEST_SEARCH: usize = 256;

/// After an answer of so many bytes the next one is of as many commits, not more.
const SMALL_PAGE: usize = 64 << 10;

/// A page of the log ends after so many bytes, even when it could hold more commits.
const LARGE_PAGE: usize = 4 << 20;

/// A stream that is being read.
struct StreamScan {
    key: String,
    /// Where in the stream's list to go on.
    index: u64,
    /// Whether that is its end.
    is_at_end: bool,
    /// How many commits are wanted.
    limit: usize,
    records: Vec<Record>,
}

impl RedisStore {
    pub(super) async fn read_stream_now(
        &self,
        stream: &StreamId,
        from: Version,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let reading = self.reading(stream, from.get().saturating_sub(1), limit);
        self.read_rest(reading, FIRST_PAGE).await
    }

    pub(super) async fn read_short_now(
        &self,
        stream: &StreamId,
        limit: usize,
    ) -> Result<Option<Vec<Record>>, StoreError> {
        let mut reading = self.reading(stream, 0, limit);
        let page = limit.min(LARGEST_SEARCH);
        if !self.read_page(&mut reading, page, limit as u64).await? {
            return Ok(None);
        }
        self.read_rest(reading, page).await.map(Some)
    }

    fn reading(&self, stream: &StreamId, index: u64, limit: usize) -> StreamScan {
        let (key, records) = (self.keys.stream(stream), Vec::new());
        StreamScan { key, index, is_at_end: false, limit, records }
    }

    /// Reads all that is wanted and not there yet, at first a page of so many events.
    async fn read_rest(
        &self,
        mut reading: StreamScan,
        mut page: usize,
    ) -> Result<Vec<Record>, StoreError> {
        while !reading.is_at_end && reading.records.len() < reading.limit {
            let before = reading.records.len();
            self.read_page(&mut reading, page, u64::MAX).await?;
            let bytes = reading.records[before..].iter().map(|record| record.frame.len()).sum();
            page = next_page(page, bytes).min(LARGEST_SEARCH);
        }
        Ok(reading.records)
    }

    /// Reads the commits of the next `page` events. Answers `false`, with nothing read, when the stream has more events
    /// than `longest`.
    async fn read_page(
        &self,
        reading: &mut StreamScan,
        page: usize,
        longest: u64,
    ) -> Result<bool, StoreError> {
        let StreamScan { key, index, is_at_end, limit, records } = reading;
        let mut call = self.scripts.read.prepare_invoke();
        call.key(&*key).key(&self.keys.log).key(&self.keys.id);
        call.arg(*index).arg(page).arg(*limit - records.len()).arg(records.is_empty()).arg(longest);
        call.arg(self.id.to_string());
        let answer = match self.run(&call).await? {
            // A replica that lags may have none.
            Value::Int(_) => {
                return Err(check_id(&self.head, self.id, None).expect_err("it has none"));
            }
            answer => answer,
        };
        let mut answer = array(answer)?.into_iter();
        let (next, heads) = match (answer.next(), answer.next()) {
            (None, _) => return Ok(false),
            (Some(Value::Int(next)), Some(Value::BulkString(heads))) => (next, heads),
            _ => return Err(unreadable()),
        };
        let mut heads = heads.split(|&byte| byte == b' ');
        for frame in answer {
            let (Some(id), Some(field)) = (heads.next(), heads.next()) else {
                return Err(unreadable());
            };
            records.push(commit(id, field, frame)?);
        }
        *index = next.try_into().map_err(|_| unreadable())?;
        *is_at_end = next == 0;
        Ok(true)
    }

    pub(super) async fn read_log_now(
        &self,
        mut after: Position,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        let mut bytes = 0;
        // An answer that does not come in time was too large: the next call begins small again.
        let mut page = self.page.swap(FIRST_PAGE, Ordering::Relaxed);
        let mut ahead = if page < WINDOW || limit < WINDOW { None } else { self.ahead.take(after) };
        loop {
            let room = limit - records.len();
            let window = match &mut ahead {
                Some(ahead) if room >= WINDOW => ahead.next(self, after).await?,
                _ => None,
            };
            // Behind a window there is more, however little it has.
            let (entries, is_end, is_whole) = match window {
                Some(entries) => (entries, false, false),
                None => {
                    let count = page.min(room);
                    let entries = self.read_log_page(after, count).await?;
                    let (is_end, is_whole) = (entries.len() < count, entries.len() == page);
                    (entries, is_end, is_whole)
                }
            };
            let before = bytes;
            for entry in entries {
                let (end, record) = log_entry(entry)?;
                after = end;
                bytes += record.frame.len();
                records.push(record);
            }
            if let Some(last) = records.last() {
                self.head.rise_to_commit(after, last);
            }
            if is_whole {
                page = next_page(page, bytes - before);
            }
            // A window is taken in whole or left for the next call.
            let next = if ahead.as_ref().is_some_and(ReadAhead::has_windows) { WINDOW } else { 1 };
            let is_full = limit - records.len() < next;
            if is_end || is_full || bytes >= LARGE_PAGE {
                let is_large = bytes >= LARGE_PAGE;
                self.page.store(if is_large { FIRST_PAGE } else { page }, Ordering::Relaxed);
                if limit >= WINDOW && !is_large {
                    self.ahead.keep(ahead, after);
                }
                return Ok(records);
            }
        }
    }

    async fn read_log_page(&self, after: Position, count: usize) -> Result<Vec<Value>, StoreError> {
        self.head.check()?;
        let mut commands = redis::pipe();
        commands.get(&self.keys.id);
        commands.cmd("XRANGE").arg(&self.keys.log);
        commands.arg(format!("(0-{after}")).arg("+").arg("COUNT").arg(count);
        let answer = self.link.call(|mut c| async move { commands.query_async(&mut c).await });
        let (found, entries): (Option<String>, Value) = answer.await?;
        check_id(&self.head, self.id, found.as_deref())?;
        array(entries)
    }
}

/// How many commits to ask for after `page` of them had `bytes`: more while they are small.
fn next_page(page: usize, bytes: usize) -> usize {
    if bytes < SMALL_PAGE { page * 4 } else { page }
}
