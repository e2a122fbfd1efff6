//! The `order-system` program.

use std::process::ExitCode;

use clap::Parser;
use order_system::{
    cli::{Cli, Command},
    http, serve,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        None | Some(Command::Serve) => serve::run(&cli.serve, serve::serve(cli.serve.clone())),
        Some(Command::Check) => serve::run(&cli.serve, serve::check(cli.serve.clone())),
        Some(Command::Verify) => serve::run(&cli.serve, serve::verify(cli.serve.clone())),
        Some(Command::Copy { from, to }) => {
            serve::run(&cli.serve, serve::copy(cli.serve.clone(), from, to))
        }
        Some(Command::Handlers) => serve::print(&serve::catalogue()),
        Some(Command::Openapi) => serve::print(http::OPENAPI),
        Some(Command::Healthcheck) => serve::healthcheck(&cli.serve),
    }
}
