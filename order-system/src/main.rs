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
        None | Some(Command::Serve) => serve::run(cli.serve),
        Some(Command::Handlers) => serve::print(&serve::catalogue()),
        Some(Command::Openapi) => serve::print(http::OPENAPI),
        Some(Command::Healthcheck) => serve::healthcheck(&cli.serve),
    }
}
