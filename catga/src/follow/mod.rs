//! The log as one node reads it: the tail that feeds its read models, and the feed of its event handlers.

mod feed;
mod recent;
mod tail;

pub(crate) use self::{
    feed::{Feed, TailPublisher, TopicReader},
    recent::DecodedCommit,
    tail::Tail,
};
