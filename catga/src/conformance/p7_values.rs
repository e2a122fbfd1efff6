//! P7, the values beside the log: checkpoints, and the leases that let one node at a time do a piece of work.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;

use super::{
    program::until,
    rule::{Broken, Ground, Rule, Verdict, ensure, ensure_eq, rule},
};
use crate::store::KvStore;

pub(super) const RULES: &[Rule] = &[
    rule!(AtLeastOnce, a_value_comes_back_as_it_was_put),
    rule!(AtLeastOnce, a_value_is_put_only_over_the_expected_revision),
    rule!(AtLeastOnce, a_value_is_deleted_only_at_the_expected_revision),
    rule!(AtLeastOnce, a_revision_never_comes_back),
    rule!(AtLeastOnce, keys_are_apart),
    rule!(AtLeastOnce, one_of_many_claims_wins),
    rule!(AtLeastOnce, a_value_is_gone_after_its_time_to_live),
    rule!(AtLeastOnce, a_value_is_kept_for_its_time_to_live),
];

/// How large a value must be allowed to be: snapshots of read models come in parts of this size.
const LARGE: usize = 512 << 10;

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Puts a value that the rule needs there.
async fn put(kv: &dyn KvStore, key: &str, value: Bytes, expected: u64) -> Result<u64, Broken> {
    let put = kv.put(key, value, expected, None).await?;
    put.ok_or_else(|| Broken::new(format!("a put over the right revision {expected} was refused")))
}

async fn a_value_comes_back_as_it_was_put(ground: &Ground<'_>) -> Verdict {
    let [kv, other] = [ground.open().await.kv, ground.open().await.kv];
    ensure_eq!(kv.get("whole").await?, None, "a value that was never put");
    let large: Bytes = (0..=u8::MAX).cycle().take(LARGE).collect();
    let values = [text(""), text("1"), text("22"), large];
    for (i, value) in values.into_iter().enumerate() {
        let key = format!("whole/{i}");
        let revision = put(&*kv, &key, value.clone(), 0).await?;
        ensure!(revision > 0, "a revision is 0");
        for kv in [&kv, &other] {
            let entry = kv.get(&key).await?;
            let is_whole = entry.is_some_and(|e| e.value == value && e.revision == revision);
            ensure!(is_whole, "a value of {} bytes is another one", value.len());
        }
    }
    Ok(())
}

async fn a_value_is_put_only_over_the_expected_revision(ground: &Ground<'_>) -> Verdict {
    let kv = ground.open().await.kv;
    let none = kv.put("swap", text("x"), 7, None).await?;
    ensure_eq!(none, None, "a put over revision 7 of no value");
    let first = put(&*kv, "swap", text("1"), 0).await?;
    let second = put(&*kv, "swap", text("2"), first).await?;
    ensure!(second > first, "revision {second} follows {first}");
    for wrong in [0, first, second + 1] {
        let refused = kv.put("swap", text("x"), wrong, None).await?;
        ensure_eq!(refused, None, "a put over revision {wrong} of a value at {second}");
    }
    let found = kv.get("swap").await?.map(|entry| (entry.value, entry.revision));
    ensure_eq!(found, Some((text("2"), second)), "the value after the refusals");
    Ok(())
}

async fn a_value_is_deleted_only_at_the_expected_revision(ground: &Ground<'_>) -> Verdict {
    let kv = ground.open().await.kv;
    ensure!(!kv.delete("delete", 7).await?, "a value that is not there was deleted");
    ensure!(!kv.delete("delete", 0).await?, "a value that is not there was deleted");
    let first = put(&*kv, "delete", text("1"), 0).await?;
    let second = put(&*kv, "delete", text("2"), first).await?;
    for wrong in [0, first, second + 1] {
        let is_deleted = kv.delete("delete", wrong).await?;
        ensure!(!is_deleted, "a delete at revision {wrong} of a value at {second} went well");
    }
    ensure!(kv.get("delete").await?.is_some(), "a delete that was refused took the value");
    ensure!(kv.delete("delete", second).await?, "a delete at the right revision was refused");
    ensure_eq!(kv.get("delete").await?, None, "a value that was deleted");
    ensure!(!kv.delete("delete", second).await?, "a value was deleted twice");
    Ok(())
}

async fn a_revision_never_comes_back(ground: &Ground<'_>) -> Verdict {
    let kv = ground.open().await.kv;
    let mut last = 0;
    for _ in 0..5 {
        let revision = put(&*kv, "again", text("1"), 0).await?;
        ensure!(revision > last, "revision {revision} came after {last}");
        last = put(&*kv, "again", text("2"), revision).await?;
        ensure!(kv.delete("again", last).await?, "a delete at the right revision was refused");
        let old = kv.put("again", text("x"), revision, None).await?;
        ensure_eq!(old, None, "a put over a revision of before the delete");
    }
    Ok(())
}

async fn keys_are_apart(ground: &Ground<'_>) -> Verdict {
    let kv = ground.open().await.kv;
    let keys = ["apart", "Apart", "apart/a", "apart/A", "apart/a/1", "apart-a", "apart_a"];
    for key in keys {
        put(&*kv, key, Bytes::copy_from_slice(key.as_bytes()), 0).await?;
    }
    for key in keys {
        let found = kv.get(key).await?.map(|entry| entry.value);
        ensure_eq!(found.as_deref(), Some(key.as_bytes()), "the value of {key}");
    }
    Ok(())
}

async fn one_of_many_claims_wins(ground: &Ground<'_>) -> Verdict {
    let handles = [ground.open().await.kv, ground.open().await.kv];
    let mut revision = 0;
    for round in 0..10 {
        let claim = |i: usize| {
            let kv: Arc<dyn KvStore> = handles[i % 2].clone();
            tokio::spawn(async move { kv.put("claim", Bytes::new(), revision, None).await })
        };
        let claims = join_all((0..16).map(claim)).await;
        let won = claims.into_iter().filter_map(|claim| claim.expect("no panic").ok().flatten());
        let won: Vec<_> = won.collect();
        ensure_eq!(won.len(), 1, "how many of 16 claims win in round {round}");
        revision = won[0];
    }
    Ok(())
}

async fn a_value_is_gone_after_its_time_to_live(ground: &Ground<'_>) -> Verdict {
    let kv = ground.open().await.kv;
    let ttl = Some(Duration::from_secs(1));
    ensure!(kv.put("ttl", text("1"), 0, ttl).await?.is_some(), "a free key was taken");
    until("a value is gone after its time to live", async || {
        Ok(match kv.get("ttl").await? {
            None => Ok(()),
            Some(entry) => Err(format!("it is still there: {entry:?}")),
        })
    })
    .await?;
    ensure!(kv.put("ttl", text("2"), 0, None).await?.is_some(), "its key is not free");
    Ok(())
}

/// A lease that ends too early is taken by two.
async fn a_value_is_kept_for_its_time_to_live(ground: &Ground<'_>) -> Verdict {
    let kv = ground.open().await.kv;
    let long = Some(Duration::from_secs(3600));
    let short = Some(Duration::from_secs(1));
    let put_for = async |key: &'static str, expected, ttl| {
        let put = kv.put(key, text("1"), expected, ttl).await?;
        put.ok_or_else(|| Broken::new(format!("a put over the right revision {expected} failed")))
    };
    put_for("kept/long", 0, long).await?;
    put_for("kept/none", 0, None).await?;
    // A later put counts: it renews a lease, or makes it one without an end.
    let first = put_for("kept/renewed", 0, short).await?;
    put_for("kept/renewed", first, long).await?;
    let first = put_for("kept/freed", 0, short).await?;
    put_for("kept/freed", first, None).await?;
    put_for("kept/short", 0, short).await?;
    until("the short one is gone", async || {
        Ok(match kv.get("kept/short").await? {
            None => Ok(()),
            Some(_) => Err("it is still there".to_owned()),
        })
    })
    .await?;
    for key in ["kept/long", "kept/none", "kept/renewed", "kept/freed"] {
        ensure!(kv.get(key).await?.is_some(), "{key} was gone before its time");
    }
    Ok(())
}
