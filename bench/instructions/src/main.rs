//! Some commands and nothing else, for `scripts/instructions.sh` to count: `catga-instructions send|cycle N`.

#[path = "../../src/bin/commands/order.rs"]
mod order;

use catga::Catga;

use self::order::{Nothing, cycle};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let usage = "usage: catga-instructions send|cycle N";
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [what, n] = arguments.as_slice() else { panic!("{usage}") };
    let n: usize = n.parse()?;
    let catga = Catga::builder().start().await?;
    match what.as_str() {
        "send" => {
            for number in 0..n as u64 {
                assert_eq!(catga.send(Nothing { number }).await?, number);
            }
        }
        "cycle" => cycle(&catga, "only", n).await?,
        _ => panic!("{usage}"),
    }
    catga.shutdown().await;
    Ok(())
}
