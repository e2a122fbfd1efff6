//! Running the service, from flags to exit code.

use std::{
    convert::Infallible,
    future::pending,
    io::{IsTerminal, Write},
    net::SocketAddr,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use catga::{Catga, Clock, DeliverySettings, StartError, cluster::ClusterSettings};
use clap::Args;
use futures_util::FutureExt;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

use crate::{
    App,
    backend::{self, Failure},
    cli::{Cli, Command, LogFormat, Persistence, Serve},
    connections::Limits,
    healthcheck::healthcheck,
    log_lines::{LogLines, log_panics},
    maintenance, server,
    service::{Node, Shared},
    start_again::StartAgain,
    usage::{self, Usage},
};

/// The upper bounds of the buckets of every histogram; all of them measure seconds.
const SECONDS: [f64; 12] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

/// How often histograms are summed up.
const UPKEEP: Duration = Duration::from_secs(5);

/// Runs a service: reads the command line and does what it says, which is to serve unless it says otherwise.
///
/// The exit code is 0 when it went well, 1 when it did not, which stderr explains, 2 for wrong usage, 75 when the log lost its
/// end, or another one took its place, and only a new start helps, and 130 when a second Ctrl-C ended it at once.
pub fn main<A: Args + Send + Sync + 'static>(app: App<A>) -> ExitCode {
    let program = program();
    let read = usage::read::<A>(&mut app.clap(program), std::env::args_os());
    let Usage { cli, ignored, names_address } = read.unwrap_or_else(|error| error.exit());
    let Cli { command, serve: flags, own } = cli;
    match command {
        Some(Command::Handlers) => print(&app.catalogue()),
        Some(Command::Openapi) => print(&app.openapi()),
        Some(Command::Healthcheck) => healthcheck(&flags, names_address),
        command => run(program, &flags, async {
            if let Some(name) = ignored {
                tracing::warn!(
                    name,
                    "a variable is ignored: it is the address of a Service, which Kubernetes sets"
                );
            }
            match command {
                Some(Command::Check) => print(&maintenance::check(&flags.backends).await?),
                Some(Command::Repair { apply }) => {
                    print(&maintenance::repair(&flags.backends, apply).await?)
                }
                Some(Command::Skip { position, reason }) => {
                    print(&maintenance::skip(&flags, position.zip(reason)).await?)
                }
                Some(Command::Verify) => print(&maintenance::verify(&flags.backends)?),
                Some(Command::Copy { from, to }) => {
                    print(&maintenance::copy(&flags.backends, &from, &to).await?)
                }
                _ => {
                    serve(app, &flags, &own, program).await?;
                    ExitCode::SUCCESS
                }
            };
            Ok(())
        }),
    }
}

/// What the program is called, by who started it.
fn program() -> &'static str {
    let path = std::env::args_os().next().map(PathBuf::from);
    let name = path.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    name.unwrap_or("catga").to_owned().leak()
}

/// Runs `task` to its end. The exit code is 0 when it went well; otherwise stderr says what did not.
fn run(program: &str, flags: &Serve, task: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let lines = match start_logging(flags) {
        Ok(lines) => lines,
        Err(failure) => {
            complain(&format!("{program}: {failure}"));
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    // What panics in the task itself has no other task that would notice.
    let task = AssertUnwindSafe(task).catch_unwind();
    let outcome = runtime.map_err(Failure::from).and_then(|runtime| {
        runtime
            .block_on(task)
            .unwrap_or_else(|_| Err("it ended by a bug, which the log shows".into()))
    });
    if let Err(failure) = &outcome {
        lines.push(format!("{program}: {failure}\n").as_bytes());
    }
    lines.finish();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is::<StartAgain>() => StartAgain::EXIT_CODE.into(),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Serves until a signal.
async fn serve<A: Args>(app: App<A>, flags: &Serve, own: &A, program: &str) -> Result<(), Failure> {
    let metrics = PrometheusBuilder::new().set_buckets(&SECONDS)?.install_recorder()?;
    let limits = Limits::raise();
    let listener = listen(&flags.host, flags.port).await.map_err(|error| {
        format!("can't listen on {}:{} (--host, --port): {error}", flags.host, flags.port)
    })?;
    let address = listener.local_addr()?;
    let node_id = flags.node_id.clone().unwrap_or_else(random_node_id);
    check_cluster(flags)?;
    // Before anything that takes long: a process that is the first of a container is not ended by a signal that it does
    // not ask for.
    let stop = CancellationToken::new();
    spawn_signals(stop.clone())?;
    let opened = backend::open(&flags.backends, flags.backends.wait_for_store);
    let Some(backend) = stop.run_until_cancelled(opened).await.transpose()? else {
        tracing::info!("stopped before the store was there");
        return Ok(());
    };
    let advertised = flags.advertise.clone().unwrap_or_else(|| address.to_string());
    let mut builder = Catga::builder()
        .backend(backend.stores)
        .node(&node_id)
        .delivery(DeliverySettings { drain: flags.drain_timeout, ..DeliverySettings::default() });
    if let Some(transport) = backend.transport {
        builder = builder.transport(transport);
    }
    if flags.cluster {
        builder = builder.cluster(ClusterSettings {
            address: advertised.clone(),
            version: app.domain.version.to_owned(),
            lease: flags.lease,
        });
    }
    let (domain, builder, routes) = app.build(builder, own);
    let Some(started) = stop.run_until_cancelled(builder.start()).await else {
        tracing::info!("stopped before the program was started");
        return Ok(());
    };
    let catga = started.map_err(|error| match error {
        StartError::NameTaken { .. } => format!("--node-id: {error}").into(),
        error => Failure::from(error),
    })?;
    let shared = Arc::new(Shared {
        catga: catga.clone(),
        node: Node {
            id: node_id,
            address: advertised,
            transport: flags.backends.transport.name(),
            persistence: flags.backends.persistence.name(),
            started_at: Clock::system().now(),
        },
        metrics: metrics.clone(),
        draining: stop.clone(),
        domain,
        feeds: Arc::new(Semaphore::new(limits.feeds)),
    });
    let store = backend::describe(&flags.backends, &backend.durability);
    banner(&shared, address, program, &store);
    let handing_over = async {
        stop.cancelled().await;
        // The others can have the work at once. A node alone goes on with it for as long as orders come in.
        if flags.cluster {
            catga.hand_over().await;
        }
    };
    let service = routes.serve(shared);
    let times = server::Times { keep_alive: flags.keep_alive, drain: flags.drain_timeout };
    let Limits { descriptors, connections, feeds } = limits;
    tracing::info!(connections, feeds, descriptors, "serving, up to these limits");
    let serving = server::serve(listener, service, stop.clone(), connections, times);
    let serving = async {
        // It ends before the stop when there is no listener any more.
        let outcome = serving.await;
        stop.cancel();
        outcome
    };
    let start_again = async {
        let reason = stop.run_until_cancelled(StartAgain::when_needed(&catga)).await;
        stop.cancel();
        reason
    };
    let serving = async { tokio::join!(serving, handing_over, start_again) };
    let (outcome, start_again) = tokio::select! {
        (outcome, (), start_again) = serving => (outcome, start_again),
        never = upkeep(&metrics, UPKEEP) => match never {},
    };
    catga.shutdown().await;
    outcome.map_err(|error| format!("connections are not accepted any more: {error}"))?;
    if let Some(reason) = start_again {
        return Err(reason.into());
    }
    tracing::info!("stopped");
    Ok(())
}

/// Listens on the first address of `host` that can be listened on. IPv4 goes first, as clients that find nobody on
/// `::1` try 127.0.0.1 next, and some only that.
async fn listen(host: &str, port: u16) -> std::io::Result<TcpListener> {
    let mut addresses: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    TcpListener::bind(&addresses[..]).await
}

/// Sums up what histograms were told, again and again: until then each of their values is kept, whether somebody asks
/// for the metrics or not.
async fn upkeep(metrics: &PrometheusHandle, every: Duration) -> Infallible {
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

/// # Errors
/// When there is to be a cluster, and the store is this process's own.
fn check_cluster(flags: &Serve) -> Result<(), Failure> {
    let persistence = flags.backends.persistence;
    match persistence {
        Persistence::Inmemory | Persistence::File if flags.cluster => Err(format!(
            "--cluster needs a store that all nodes share: --persistence redis or nats, not {}",
            persistence.name()
        )
        .into()),
        _ => Ok(()),
    }
}

fn start_logging(flags: &Serve) -> Result<LogLines, Failure> {
    // What was given is left out, as in all that is said about flags.
    let wrong = "--log is neither a level nor a list such as info,catga=debug";
    let filter = EnvFilter::builder().parse(&flags.log).map_err(|_| wrong)?;
    let lines = LogLines::to_stderr()?;
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false)
        .with_writer(lines.clone());
    match flags.log_format {
        LogFormat::Text => logging.init(),
        LogFormat::Json => logging.json().init(),
    }
    log_panics();
    Ok(lines)
}

/// Writes a line to stderr. Nobody has to read it.
pub(crate) fn complain(line: &str) {
    writeln!(std::io::stderr(), "{line}").ok();
}

fn random_node_id() -> String {
    let random = Uuid::new_v4().simple().to_string();
    format!("node-{}", &random[..6])
}

/// Says where the service is. Nobody has to read it: a closed stdout stops nothing.
fn banner(shared: &Shared, address: SocketAddr, program: &str, store: &str) {
    let Node { id, transport, .. } = &shared.node;
    let version = shared.domain.version;
    let text = format!(
        "listening on http://{address}\n\
         {program} {version} as {id}\n\
         transport {transport}, {store}\n\
         try http://{address}/docs\n"
    );
    print(&text);
}

/// The first SIGTERM or Ctrl-C begins the shutdown; a second one ends the process at once. The first SIGHUP does so, too:
/// a terminal was closed, which sends it twice.
fn spawn_signals(stop: CancellationToken) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = match ignores_hangup() {
        true => None,
        false => Some(signal(SignalKind::hangup())?),
    };
    tokio::spawn(async move {
        for is_first in [true, false] {
            let hung_up = async {
                match &mut hangup {
                    Some(hangup) if is_first => hangup.recv().await,
                    _ => pending().await,
                }
            };
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hung_up => {}
            }
            if is_first {
                tracing::info!("stopping; once more stops at once");
                stop.cancel();
            }
        }
        std::process::exit(130);
    });
    Ok(())
}

/// Whether SIGHUP was ignored when the program was started, as `nohup` does.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 == 1)
}

/// Prints `text` to stdout. A reader that has gone away is no failure.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Set in the environment of a test that runs alone in its process.
    const ALONE: &str = "CATGA_TEST_ALONE";

    /// The memory that this process has, in KiB.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// What is measured is the memory of the process, which other tests would change: this one runs again, alone in
    /// a process of its own.
    #[test]
    fn histograms_that_nobody_asks_for_do_not_grow() {
        if std::env::var_os(ALONE).is_some() {
            return record_four_million_values();
        }
        let name = "serve::tests::histograms_that_nobody_asks_for_do_not_grow";
        let test = std::env::current_exe().unwrap();
        let alone = Command::new(test).args(["--exact", name]).env(ALONE, "").output().unwrap();
        let said = String::from_utf8_lossy(&alone.stdout);
        assert!(alone.status.success() && said.contains("1 passed"), "{said}");
    }

    #[tokio::main(flavor = "current_thread")]
    async fn record_four_million_values() {
        let recorder = PrometheusBuilder::new().set_buckets(&SECONDS).unwrap().build_recorder();
        let histogram = metrics::with_local_recorder(&recorder, || metrics::histogram!("test"));
        let (handle, before) = (recorder.handle(), resident());
        let requests = async {
            for _ in 0..40 {
                (0..100_000).for_each(|_| histogram.record(0.1));
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = requests => {}
            never = upkeep(&handle, Duration::from_millis(1)) => match never {},
        }
        let more = resident().saturating_sub(before);
        assert!(more < 16 << 10, "4,000,000 values took {more} KiB");
    }
}
