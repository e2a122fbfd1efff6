//! The names of the keys. All have the prefix as hash tag, so that a cluster keeps them together.

use crate::log::StreamId;

pub(super) struct Keys {
    tag: String,
    /// All commits in order.
    pub(super) log: String,
    /// The log's id.
    pub(super) id: String,
    /// The position of the last event.
    pub(super) head: String,
    /// The last revision of any value.
    pub(super) revision: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        let tag = format!("{{{prefix}}}");
        Self {
            log: format!("{tag}:log"),
            id: format!("{tag}:id"),
            head: format!("{tag}:head"),
            revision: format!("{tag}:revision"),
            tag,
        }
    }

    /// The commits of a stream.
    pub(super) fn stream(&self, stream: &StreamId) -> String {
        format!("{}:s:{stream}", self.tag)
    }

    /// A value beside the log.
    pub(super) fn value(&self, key: &str) -> String {
        format!("{}:k:{key}", self.tag)
    }
}
