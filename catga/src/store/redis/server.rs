//! How the live server is set: which ones can be used, and what an answered append survives there.

use std::collections::HashMap;

use redis::{RedisResult, aio::MultiplexedConnection};

use crate::{
    log::StoreError,
    store::{Durability, DurabilityReport, guard::DurabilityGuard},
};

/// The oldest server that can be used: `#!lua`, exclusive ranges, `CONFIG GET` of several names.
const OLDEST: (u32, u32) = (7, 0);

/// What the server says about itself.
pub(super) struct Server {
    /// `INFO`.
    info: HashMap<String, String>,
    /// `CONFIG GET`, which managed servers forbid.
    config: Option<HashMap<String, String>>,
}

impl Server {
    pub(super) async fn ask(connection: &mut MultiplexedConnection) -> RedisResult<Self> {
        let text: String = redis::cmd("INFO").query_async(connection).await?;
        let mut server = Self { info: parse_info(&text), config: None };
        if server.check_version().is_err() {
            // It would not understand the next question.
            return Ok(server);
        }
        let config = redis::cmd("CONFIG")
            .arg("GET")
            .arg(&["appendfsync", "no-appendfsync-on-rewrite", "save"])
            .query_async(connection)
            .await;
        match config {
            Ok(config) => server.config = Some(config),
            Err(error) if error.code().is_some() => {}
            Err(error) => return Err(error),
        }
        Ok(server)
    }

    /// Tells `guard` whether what is appended is kept.
    pub(super) fn tell(&self, guard: &DurabilityGuard) {
        match self.check() {
            Ok(()) => guard.tell(Ok(&self.durability())),
            Err(error) => guard.tell(Err(error.to_string())),
        }
    }

    /// # Errors
    /// When the log would not be safe on this server, with how to make it so.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.check_version()?;
        let policy = self.policy();
        if policy != "noeviction" {
            return Err(StoreError::not_durable(format!(
                "its maxmemory-policy is {policy}: when memory runs out it deletes events instead of \
                 refusing commands; set it to noeviction"
            )));
        }
        Ok(())
    }

    fn check_version(&self) -> Result<(), StoreError> {
        let version = self.info("redis_version");
        match parse_version(version) {
            Some(version) if version >= OLDEST => Ok(()),
            Some(_) => Err(StoreError::unusable(format!(
                "it is Redis {version}; {}.{} or newer is needed",
                OLDEST.0, OLDEST.1
            ))),
            None => Err(StoreError::unusable("it does not say which version of Redis it is")),
        }
    }

    /// What an answered append survives.
    pub(super) fn durability(&self) -> DurabilityReport {
        let (level, advice) = self.level();
        let append_only = if self.appends() { "yes" } else { "no" };
        let mut settings = vec![
            ("redis_version", self.info("redis_version").to_owned()),
            ("maxmemory-policy", self.policy().to_owned()),
            ("appendonly", append_only.to_owned()),
        ];
        for name in ["appendfsync", "no-appendfsync-on-rewrite", "save"] {
            let value = self.config(name).unwrap_or("(CONFIG GET is forbidden)");
            settings.push((name, value.to_owned()));
        }
        let advice = advice.map(str::to_owned);
        DurabilityReport { level, server_loss: false, settings, advice, refusal: None }
    }

    fn level(&self) -> (Durability, Option<&'static str>) {
        if self.policy() != "noeviction" {
            return (
                Durability::Memory,
                Some("it deletes events when memory runs out; set maxmemory-policy noeviction"),
            );
        }
        if !self.appends() {
            // The last snapshot can be an hour old, so that a crash takes more than seconds.
            let advice = match self.config("save") {
                Some("") | None => "set appendonly yes and appendfsync always",
                Some(_) => {
                    "a crash takes everything since the last snapshot (save); \
                     set appendonly yes and appendfsync always"
                }
            };
            return (Durability::Memory, Some(advice));
        }
        match self.config("appendfsync") {
            Some("always") if self.config("no-appendfsync-on-rewrite") == Some("yes") => (
                Durability::ProcessCrash,
                Some("it does not sync while it rewrites; set no-appendfsync-on-rewrite no"),
            ),
            Some("always") => (Durability::PowerLoss, None),
            // The file is written before the answer, and synced when the kernel likes.
            Some("no") => (Durability::ProcessCrash, Some("set appendfsync always")),
            // While a sync is under way it holds back even the write, so that a kill is enough.
            Some("everysec") => (Durability::Seconds, Some("set appendfsync always")),
            Some(_) => (Durability::Memory, Some("set appendfsync always")),
            None => (
                Durability::Seconds,
                Some("let the user run CONFIG GET, so that appendfsync can be read"),
            ),
        }
    }

    fn appends(&self) -> bool {
        self.info("aof_enabled") == "1"
    }

    fn policy(&self) -> &str {
        self.info("maxmemory_policy")
    }

    fn info(&self, name: &str) -> &str {
        self.info.get(name).map_or("unknown", String::as_str)
    }

    fn config(&self, name: &str) -> Option<&str> {
        self.config.as_ref()?.get(name).map(String::as_str)
    }
}

fn parse_info(text: &str) -> HashMap<String, String> {
    let entries = text.lines().filter_map(|line| line.split_once(':'));
    entries.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

fn parse_version(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(info: &str, config: Option<[&str; 3]>) -> Server {
        let names = ["appendfsync", "no-appendfsync-on-rewrite", "save"];
        let config = config.map(|values| {
            names.into_iter().zip(values).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
        });
        Server { info: parse_info(info), config }
    }

    fn healthy(appends: u8, config: Option<[&str; 3]>) -> Server {
        let info = format!(
            "# Server\r\nredis_version:7.0.15\r\n\r\nmaxmemory_policy:noeviction\r\naof_enabled:{appends}\r\n"
        );
        server(&info, config)
    }

    #[test]
    fn an_old_server_is_refused_with_what_is_needed() {
        for version in ["6.2.14", "6.0", "2.8.24", "5.9.9-rc1"] {
            let server = server(&format!("redis_version:{version}\r\n"), None);
            let error = server.check_version().unwrap_err().to_string();
            assert!(error.contains(version) && error.contains("7.0"), "{error}");
        }
        for version in ["", "seven", "7"] {
            assert!(server(&format!("redis_version:{version}"), None).check_version().is_err());
        }
        for version in ["7.0.0", "7.0.15", "7.4", "8.2.1", "10.0.0", "255.255.255"] {
            assert!(server(&format!("redis_version:{version}"), None).check_version().is_ok());
        }
    }

    #[test]
    fn what_is_not_known_to_keep_everything_is_refused() {
        assert!(healthy(1, None).check().is_ok());
        for policy in ["allkeys-lru", "volatile-lru", "allkeys-random", "volatile-ttl", ""] {
            let info = format!("redis_version:7.0.15\r\nmaxmemory_policy:{policy}\r\n");
            let server = server(&info, None);
            assert!(server.check().is_err(), "{policy}");
            assert_eq!(server.level().0, Durability::Memory, "{policy}");
        }
        assert!(server("redis_version:7.0.15", None).check().is_err(), "not known is not safe");
    }

    #[test]
    fn the_level_is_what_the_settings_bear_out() {
        use Durability::{Memory, PowerLoss, ProcessCrash, Seconds};
        for (appends, config, level) in [
            (1, Some(["always", "no", ""]), PowerLoss),
            (1, Some(["always", "yes", ""]), ProcessCrash),
            (1, Some(["no", "no", ""]), ProcessCrash),
            (1, Some(["everysec", "no", "3600 1"]), Seconds),
            (1, Some(["sometimes", "no", ""]), Memory),
            (1, None, Seconds),
            (0, Some(["always", "no", "3600 1"]), Memory),
            (0, Some(["always", "no", ""]), Memory),
            (0, None, Memory),
        ] {
            let report = healthy(appends, config).durability();
            assert_eq!(report.level, level, "appendonly {appends}, {config:?}");
            assert_eq!(report.advice.is_none(), level == PowerLoss, "advice says how to raise it");
        }
    }
}
