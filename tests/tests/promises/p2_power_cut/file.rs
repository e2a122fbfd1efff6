//! catga's store in files, on the disk under test.

use std::{path::Path, sync::Arc};

use catga::store::{BoxFuture, EventStore, FileError, FileStore};
use catga_tests::{crash::Server, eventually};

pub(crate) struct Files;

impl Server for Files {
    fn start<'a>(&'a mut self, folder: &'a Path) -> BoxFuture<'a, Arc<dyn EventStore>> {
        Box::pin(async move {
            let open = || async {
                match FileStore::open(folder.join("log")) {
                    Ok(store) => Ok(store),
                    // The store of the life before ends when its last user has noticed the cut.
                    Err(FileError::InUse) => Err("it is still in use".to_owned()),
                    Err(error) => panic!("the log can't be opened: {error}"),
                }
            };
            Arc::new(eventually(open).await) as Arc<dyn EventStore>
        })
    }

    fn crash<'a>(&'a mut self, cut: &'a (dyn Fn() + Sync)) -> BoxFuture<'a, ()> {
        Box::pin(async move { cut() })
    }
}
