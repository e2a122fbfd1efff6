//! The `order-system` program.

fn main() -> std::process::ExitCode {
    catga_axum::main(order_system::app())
}
