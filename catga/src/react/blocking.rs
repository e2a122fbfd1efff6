//! Room for event handlers that block the thread they run on.

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Semaphore,
    task::{block_in_place, yield_now},
};

/// How much that blocks runs at once in a process. Each takes a thread, of which tokio has 512 at most, for others, too.
static ROOM: Semaphore = Semaphore::const_new(128);

/// Runs what blocks. Generated code calls it.
///
/// In a runtime with one thread there is no other that could go on meanwhile.
pub async fn blocking<T>(work: impl FnOnce() -> T) -> T {
    // The runner tries whether an event is handled at once; this is not.
    yield_now().await;
    let _room = ROOM.acquire().await;
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => work(),
        _ => block_in_place(work),
    }
}
