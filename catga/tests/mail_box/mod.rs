//! Mail boxes, which numbers are posted to: what tests of event handlers share.

use catga::{Error, prelude::*};

#[catga::event]
pub(crate) struct Posted {
    pub(crate) n: u64,
}

#[derive(Debug, Clone, PartialEq, Event)]
pub(crate) enum BoxEvent {
    Posted(Posted),
}

/// What happens to it matters, and nothing it could know.
#[derive(Debug, Clone, Default)]
pub(crate) struct MailBox;

impl Aggregate for MailBox {
    type Event = BoxEvent;
    const NAME: &'static str = "box";

    fn apply(&mut self, _: BoxEvent) {}
}

#[catga::command]
pub(crate) struct Post {
    #[key]
    pub(crate) mail_box: String,
    pub(crate) n: u64,
}

#[command_handler]
fn post(post: Post, mail_box: &mut Root<MailBox>) -> Result<(), Error> {
    mail_box.record(Posted { n: post.n });
    Ok(())
}
