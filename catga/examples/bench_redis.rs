//! `cargo run --release -p catga --example bench_redis`: what the Redis store costs over the bare script.
//!
//! It starts a `redis-server` of its own. Each line has appends a second through the store, calls of the same
//! script a second over a bare multiplexed connection in the same run, and their ratio. The rounds of both
//! alternate, and the median is shown, since the machines it runs on are shared.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use catga::{Append, EventStore, RedisOptions, RedisStore, StreamId};
use redis::{
    AsyncConnectionConfig, IntoConnectionInfo, Script, aio::MultiplexedConnection,
    io::tcp::TcpSettings,
};
use tokio::task::JoinSet;

const ROUNDS: usize = 5;
const FRAME: usize = 200;

struct Server {
    child: Child,
    directory: std::path::PathBuf,
    address: String,
}

impl Server {
    fn start(sync: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let directory = std::env::temp_dir().join(format!("catga-bench-{}", address.port()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let child = Command::new("redis-server")
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", sync, "--dir"])
            .arg(&directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server can be started: `apt-get install redis-server`");
        Self { child, directory, address: address.to_string() }
    }

    async fn store(&self) -> RedisStore {
        loop {
            match RedisStore::connect(RedisOptions::new(&self.address)).await {
                Ok(store) => return store,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    async fn connection(&self) -> MultiplexedConnection {
        let server =
            format!("redis://{}", self.address).into_connection_info().expect("an address");
        // As the store does: without it, Nagle's algorithm takes up to half of the rate.
        let server = server.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = redis::Client::open(server).expect("an address");
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        client.get_multiplexed_async_connection_with_config(&config).await.expect("a connection")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn stream(round: &str, task: usize, i: usize) -> StreamId {
    StreamId::new("bench", &format!("{round}-{task}-{i}")).expect("a plain key")
}

/// How often a second `call` is done, by `tasks` tasks at once.
async fn rate<F: Future<Output = ()> + Send + 'static>(
    tasks: usize,
    call: impl Fn(usize, usize) -> F + Clone + Send + 'static,
) -> f64 {
    let each = 6_000 / tasks.min(16);
    let begin = Instant::now();
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let call = call.clone();
        running.spawn(async move {
            for i in 0..each {
                call(task, i).await;
            }
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.expect("no task panics");
    }
    f64::from(u32::try_from(tasks * each).expect("few")) / begin.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main]
async fn main() {
    println!("appendfsync  in flight   store/s     bare/s  ratio");
    for sync in ["everysec", "always"] {
        let server = Server::start(sync);
        let store = Arc::new(server.store().await);
        let connection = server.connection().await;
        let script = Arc::new(Script::new(include_str!("../src/store/redis/append.lua")));
        let frame = Bytes::from(vec![7; FRAME]);
        for tasks in [1, 16, 64] {
            let (mut through, mut bare) = (Vec::new(), Vec::new());
            for round in 0..ROUNDS {
                let (store, our_frame) = (store.clone(), frame.clone());
                let name = format!("s{tasks}-{round}");
                let call = move |task, i| {
                    let (store, frame, stream) =
                        (store.clone(), our_frame.clone(), stream(&name, task, i));
                    async move {
                        let append =
                            Append { stream: &stream, version: 0, token: 0, events: 1, frame };
                        store.append(append).await.expect("the stream is new");
                    }
                };
                through.push(rate(tasks, call).await);

                let (connection, script, frame) =
                    (connection.clone(), script.clone(), frame.clone());
                let name = format!("b{tasks}-{round}");
                let call = move |task, i| {
                    let (mut connection, script) = (connection.clone(), script.clone());
                    let frame = frame.clone();
                    let key = format!("{{bare}}:s:{}", stream(&name, task, i));
                    async move {
                        let mut call = script.key(key);
                        call.key("{bare}:log").key("{bare}:head").arg(0).arg(1).arg(&frame[..]);
                        let _: (u64, u64) =
                            call.invoke_async(&mut connection).await.expect("an answer");
                    }
                };
                bare.push(rate(tasks, call).await);
            }
            let (through, bare) = (median(through), median(bare));
            println!("{sync:<11} {tasks:>10} {through:>9.0} {bare:>10.0}  {:>5.2}", through / bare);
        }
    }
}
