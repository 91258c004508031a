//! Waits for a process on tokio. Kills the process after SECONDS (default: 10).
//!
//! `await_tokio PID [SECONDS]`

use procwait::Process;
use std::{env, error::Error, time::Duration};
use tokio::{runtime::Builder, time::timeout};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let pid = arguments
        .next()
        .ok_or("usage: await_tokio PID [SECONDS]")?
        .parse()?;
    let seconds = arguments.next().as_deref().unwrap_or("10").parse()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(wait_or_kill(pid, Duration::try_from_secs_f64(seconds)?))
}

async fn wait_or_kill(pid: u32, time_limit: Duration) -> Result<(), Box<dyn Error>> {
    let process = Process::open(pid)?;
    match timeout(time_limit, process.wait_on_tokio()).await {
        Ok(exit) => println!("{pid}: {}", exit?),
        Err(_) => {
            process.kill()?;
            println!(
                "{pid}: had to be killed: {}",
                process.wait_on_tokio().await?
            );
        }
    }
    Ok(())
}
