//! compose.yaml and the Dockerfile, put to the programs that they are written for. No container is run: a word that
//! a program would refuse, or a setting that does not do what is hoped for, shows all the same.

use std::{fs, path::Path, process::Stdio, time::Duration};

use catga::store::Durability;
use catga_axum::cli::{self, Command, Persistence};
use catga_tests::{
    binary, eventually,
    nats::Version,
    redis::{RedisServer, free_port},
};
use clap::Parser;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process;

/// The command line of order-system.
type Cli = cli::Cli<order_system::Flags>;

/// The profiles, with the store that each is for.
const PROFILES: [(&str, Persistence); 4] = [
    ("inmemory", Persistence::Inmemory),
    ("file", Persistence::File),
    ("redis", Persistence::Redis),
    ("nats", Persistence::Nats),
];

/// How many nodes the profile `cluster` has.
const NODES: usize = 3;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn text(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn compose() -> Value {
    serde_saphyr::from_str(&text("compose.yaml")).unwrap()
}

/// The words of a list.
fn words(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap_or_else(|| panic!("{list} is a list"));
    list.iter().map(|word| word.as_str().expect("it is of words").to_owned()).collect()
}

/// The services, with their names.
fn services(compose: &Value) -> impl Iterator<Item = (&str, &Value)> {
    compose["services"].as_object().unwrap().iter().map(|(name, service)| (name.as_str(), service))
}

/// The service that runs order-system in `profile`.
fn order_system<'a>(compose: &'a Value, profile: &str) -> &'a Value {
    let mut found = services(compose).filter(|(_, service)| {
        service["image"] == "order-system" && service["profiles"] == json!([profile])
    });
    let (_, service) = found.next().unwrap_or_else(|| panic!("{profile} has an order-system"));
    assert!(found.next().is_none(), "{profile} has one order-system, for there is one port");
    service
}

/// What the program makes of the words behind its name.
#[track_caller]
fn parse(arguments: &[String]) -> Cli {
    let words = ["order-system".to_owned()].into_iter().chain(arguments.iter().cloned());
    Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// The words of a health check, which is run without a shell.
fn health_check(service: &Value) -> Vec<String> {
    let mut test = words(&service["healthcheck"]["test"]);
    assert_eq!(test.remove(0), "CMD");
    test
}

#[test]
fn each_profile_runs_order_system_on_its_store() {
    let compose = compose();
    for (profile, persistence) in PROFILES {
        let service = order_system(&compose, profile);
        let cli = parse(&words(&service["command"]));
        let serve = &cli.serve;
        assert!(matches!(cli.command, None | Some(Command::Serve)), "{profile}");
        assert!(serve.host == "0.0.0.0", "{profile}: the port is reached from outside");
        assert_eq!(words(&service["ports"]), [format!("127.0.0.1:5000:{}", serve.port)]);
        assert_eq!(serve.backends.persistence, persistence);
        let is_memory = persistence == Persistence::Inmemory;
        let level = if is_memory { Durability::Memory } else { Durability::PowerLoss };
        assert_eq!(serve.backends.require_durability, level.into(), "{profile}");

        let grace = service["stop_grace_period"].as_str().and_then(|text| text.strip_suffix('s'));
        let grace = Duration::from_secs(grace.unwrap().parse().unwrap());
        // Once for the requests in flight, once for the event handlers, and then the store is closed.
        let drain = 2 * serve.drain_timeout + Duration::from_secs(5);
        assert!(grace > drain, "{profile}: {grace:?}");

        let check = health_check(service);
        assert_eq!(check[0], "order-system");
        let check = parse(&check[1..]);
        assert!(matches!(check.command, Some(Command::Healthcheck)));
        assert_eq!(check.serve.port, serve.port);
    }
    let all = services(&compose).filter(|(_, service)| service["image"] == "order-system");
    assert_eq!(all.count(), PROFILES.len() + NODES);
}

#[test]
fn the_cluster_profile_runs_three_nodes_that_differ_where_they_must() {
    let compose = compose();
    for n in 0..NODES {
        let name = format!("node-{}", n + 1);
        let service = &compose["services"][&name];
        assert_eq!(service["profiles"], json!(["cluster"]), "{name}");
        let serve = parse(&words(&service["command"])).serve;
        assert!(serve.cluster && serve.host == "0.0.0.0", "{name}");
        assert_eq!(serve.node_id.as_deref(), Some(name.as_str()));
        assert_eq!(serve.advertise, Some(format!("{name}:{}", serve.port)));
        assert_eq!(words(&service["ports"]), [format!("127.0.0.1:{}:{}", 5000 + n, serve.port)]);
        let backends = &serve.backends;
        assert_eq!(backends.persistence, Persistence::Redis);
        assert_eq!(backends.redis.expose(), "redis:6379");
        assert_eq!(backends.require_durability, Durability::PowerLoss.into());
        let waits = json!({ "redis": { "condition": "service_healthy" } });
        assert_eq!(service["depends_on"], waits);
    }
}

#[test]
fn the_file_profile_keeps_its_log_in_the_volume_of_the_image() {
    let compose = compose();
    let service = order_system(&compose, "file");
    let directory = parse(&words(&service["command"])).serve.backends.data_dir;
    let directory = directory.to_str().unwrap();
    assert_eq!(words(&service["volumes"]), [format!("orders:{directory}")]);
    let image = Image::read();
    assert_eq!(image.the("VOLUME"), directory);
    assert!(image.the("ENV").ends_with(&format!("CATGA_DATA_DIR={directory}")));
}

#[test]
fn order_system_waits_for_the_server_that_its_flags_name() {
    let compose = compose();
    for server in ["redis", "nats"] {
        let service = order_system(&compose, server);
        let backends = parse(&words(&service["command"])).serve.backends;
        // A container is reached by the name of its service.
        match server {
            "redis" => assert_eq!(backends.redis.expose(), "redis:6379"),
            _ => {
                assert_eq!(backends.nats.expose(), "nats://nats:4222");
                assert_eq!(backends.nats_monitor.as_deref(), Some("nats:8222"));
            }
        }
        let waits = json!({ (server): { "condition": "service_healthy" } });
        assert_eq!(service["depends_on"], waits);
        let profiles = words(&compose["services"][server]["profiles"]);
        assert!(profiles.iter().any(|profile| profile == server), "{profiles:?}");
    }
}

#[test]
fn every_service_is_locked_down_restarted_and_watched() {
    let compose = compose();
    for (name, service) in services(&compose) {
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        assert_eq!(service["cap_drop"], json!(["ALL"]), "{name}");
        assert_eq!(service["security_opt"], json!(["no-new-privileges:true"]), "{name}");
        // Compose can't put a configuration into a container that is read-only.
        let is_read_only = service["configs"].is_null();
        assert_eq!(service["read_only"] == true, is_read_only, "{name}");
        for port in words(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port} is open to others");
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let (volume, _) = volume.as_str().unwrap().split_once(':').unwrap();
            assert!(compose["volumes"].get(volume).is_some(), "{name}: {volume} is declared");
        }
        for setting in ["test", "interval", "timeout", "retries", "start_period"] {
            assert!(!service["healthcheck"][setting].is_null(), "{name}: {setting}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_takes_its_command_line_and_keeps_everything() {
    let compose = compose();
    let service = &compose["services"]["redis"];
    let command = words(&service["command"]);
    assert_eq!(command[0], "redis-server");
    let flags: Vec<_> = command[1..].iter().map(String::as_str).collect();
    let server = RedisServer::start_with(&flags).await;
    for (setting, value) in [
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("no-appendfsync-on-rewrite", "no"),
        ("maxmemory-policy", "noeviction"),
    ] {
        let answer = server.command(&format!("CONFIG GET {setting}")).await;
        let mut lines = answer.lines().skip(2).step_by(2);
        assert_eq!((lines.next(), lines.next()), (Some(setting), Some(value)), "{answer:?}");
    }

    let mut check = health_check(service);
    assert_eq!(check.remove(0), "redis-cli");
    let mut ask = process::Command::new("redis-cli");
    let ask = ask.args(["-p", &server.port.to_string()]).args(&check).output().await.unwrap();
    assert!(ask.status.success() && ask.stdout == b"PONG\n", "{ask:?}");
    server.command("CONFIG SET requirepass x").await;
    let mut ask = process::Command::new("redis-cli");
    let ask = ask.args(["-p", &server.port.to_string()]).args(&check).output().await.unwrap();
    assert!(!ask.status.success(), "an error is no health: {ask:?}");

    let address = format!("redis://:x@{}", server.address());
    survives_power_loss(&["--persistence", "redis", "--redis", &address]).await;
}

/// Asks order-system itself.
async fn survives_power_loss(flags: &[&str]) {
    let mut check = process::Command::new(binary());
    check.arg("check").args(flags).args(["--require-durability", "power-loss"]);
    let check = check.stdin(Stdio::null()).output().await.unwrap();
    assert!(check.status.success(), "{check:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_takes_its_configuration_and_keeps_everything() {
    let compose = compose();
    let service = &compose["services"]["nats"];
    let program = Version::Newest.program();
    let version = process::Command::new(&program).arg("--version").output().await.unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let image = service["image"].as_str().unwrap();
    assert_eq!(image, format!("nats:{}-alpine", version.trim().rsplit('v').next().unwrap()));

    let directory = TempDir::new().unwrap();
    let config = directory.path().join("nats.conf");
    let content = compose["configs"]["nats.conf"]["content"].as_str().unwrap();
    fs::write(&config, content).unwrap();
    let source = &service["configs"][0];
    assert_eq!(source["source"], "nats.conf");
    let mut command = words(&service["command"]);
    assert_eq!(command.remove(0), "nats-server");
    for word in &mut command {
        if source["target"] == **word {
            *word = config.to_str().unwrap().to_owned();
        }
    }
    let check = process::Command::new(&program).arg("-t").args(&command).output().await.unwrap();
    assert!(check.status.success(), "{check:?}");

    // The same again with a directory and ports that this test may have.
    assert_eq!(service["volumes"], json!(["nats:/data"]));
    let (port, monitor) = (free_port(), format!("127.0.0.1:{}", free_port()));
    let mut here = content.to_owned();
    for (setting, value) in [
        ("port: 4222\nhttp_port: 8222\n", format!("listen: 127.0.0.1:{port}\nhttp: {monitor}\n")),
        ("store_dir: /data\n", format!("store_dir: \"{}\"\n", directory.path().display())),
    ] {
        assert_eq!(here.matches(setting).count(), 1, "{setting:?} is in {content}");
        here = here.replace(setting, &value);
    }
    fs::write(&config, here).unwrap();
    let mut server = process::Command::new(&program);
    server.args(&command).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let _server = server.spawn().unwrap();

    let check = health_check(service);
    let (url, wget) = check.split_last().unwrap();
    assert_eq!(wget, ["wget", "--quiet", "--spider"]);
    let url = url.replace("127.0.0.1:8222", &monitor);
    eventually(|| async {
        match reqwest::get(&url).await {
            Ok(answer) if answer.status() == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let nats = format!("nats://127.0.0.1:{port}");
    let flags = ["--persistence", "nats", "--nats", &nats, "--nats-monitor", &monitor];
    survives_power_loss(&flags).await;
}

/// The instructions of the image that the Dockerfile ends in, and those of all stages.
struct Image {
    all: Vec<(String, String)>,
    last: Vec<(String, String)>,
}

impl Image {
    fn read() -> Self {
        let text = text("Dockerfile").replace("\\\n", " ");
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let all: Vec<_> = lines
            .map(|line| line.split_once(' ').expect("an instruction and its words"))
            .map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()))
            .collect();
        let begin = all.iter().rposition(|(name, _)| name == "FROM").unwrap();
        Self { last: all[begin..].to_vec(), all }
    }

    /// What the one instruction of this name says.
    #[track_caller]
    fn the(&self, instruction: &str) -> &str {
        let mut found = self.last.iter().filter(|(name, _)| name == instruction);
        let (_, rest) = found.next().unwrap_or_else(|| panic!("there is {instruction}"));
        assert!(found.next().is_none(), "there is one {instruction}");
        rest
    }

    /// The words of a command without a shell.
    #[track_caller]
    fn words(&self, instruction: &str) -> Vec<String> {
        let rest = self.the(instruction);
        serde_json::from_str(&rest[rest.find('[').unwrap()..]).unwrap()
    }
}

#[test]
fn the_image_runs_the_program_as_a_user_and_asks_it_for_its_health() {
    let image = Image::read();
    assert_eq!(image.words("ENTRYPOINT"), ["order-system"]);
    let cli = parse(&image.words("CMD"));
    assert!(cli.command.is_none() && cli.serve.host == "0.0.0.0");
    assert_eq!(image.the("EXPOSE"), cli.serve.port.to_string());

    let check = image.words("HEALTHCHECK");
    assert_eq!(check[0], "order-system");
    let check = parse(&check[1..]);
    assert!(matches!(check.command, Some(Command::Healthcheck)));
    assert_eq!(check.serve.port, cli.serve.port);

    let user = image.the("USER");
    assert!(!["root", "0"].contains(&user));
    let (_, made) = image.last.iter().find(|(_, rest)| rest.contains("useradd")).unwrap();
    assert!(made.contains(&format!(" --uid {user} ")), "{made}");
    let volume = image.the("VOLUME");
    let owned = format!("--chown={user}:{user} {volume} {volume}");
    assert!(image.last.iter().any(|(_, rest)| rest.ends_with(&owned)), "{owned}");
    assert_eq!(image.the("STOPSIGNAL"), "SIGTERM");
}

#[test]
fn the_image_is_built_with_our_rust_from_files_that_are_there() {
    let image = Image::read();
    let toolchain = text("rust-toolchain.toml");
    let version = toolchain.split("channel = \"").nth(1).unwrap().split('"').next().unwrap();
    assert!(image.all[0].1.starts_with(&format!("rust:{version}-")), "{:?}", image.all[0]);

    let ignore = text(".dockerignore");
    let kept: Vec<_> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let mut copied = Vec::new();
    for (_, rest) in image.all.iter().filter(|(name, _)| name == "COPY") {
        let mut paths: Vec<_> = rest.split_whitespace().collect();
        paths.pop();
        if !paths[0].starts_with("--from") {
            copied.extend(paths);
        }
    }
    for path in &copied {
        assert!(root().join(path).exists(), "{path}");
        assert!(kept.iter().any(|kept| Path::new(path).starts_with(kept)), "{path} is ignored");
    }
}

/// Runs the Dockerfile up to its first build of ours, in a folder, and lets cargo read what is there then.
#[test]
fn cargo_can_read_the_workspace_of_the_layer_of_dependencies() {
    let image = Image::read();
    let directory = TempDir::new().unwrap();
    let here = directory.path();
    let shell = |script: &str| {
        let mut shell = std::process::Command::new("sh");
        let run = shell.args(["-e", "-c", script]).current_dir(here).output().unwrap();
        assert!(run.status.success(), "{script}: {}", String::from_utf8_lossy(&run.stderr));
    };
    for (name, rest) in &image.all {
        match (name.as_str(), rest.split_once("&& cargo build")) {
            ("COPY", _) => {
                let mut paths: Vec<_> = rest.split_whitespace().collect();
                let to = here.join(paths.pop().unwrap());
                let parent = if paths.len() == 1 && !rest.ends_with('/') {
                    to.parent().unwrap()
                } else {
                    &to
                };
                fs::create_dir_all(parent).unwrap();
                for path in paths {
                    let path = root().join(path);
                    shell(&format!("cp -r '{}' '{}'", path.display(), to.display()));
                }
            }
            ("RUN", Some((before, _))) => {
                shell(before);
                break;
            }
            _ => {}
        }
    }
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let read = cargo.current_dir(here).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));

    // What a manifest names has to be there for a build, and is left out here when it is not.
    let read: Value = serde_json::from_slice(&read.stdout).unwrap();
    for package in read["packages"].as_array().unwrap() {
        let found: Vec<_> =
            package["targets"].as_array().unwrap().iter().map(|t| &t["name"]).collect();
        let manifest = fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        for target in manifest.split("\n[[").skip(1) {
            let name = target.split("name = \"").nth(1).unwrap().split('"').next().unwrap();
            assert!(found.iter().any(|found| **found == name), "{name} is named and not there");
        }
    }
}
