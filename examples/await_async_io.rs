//! Waits for a process on async-io, the reactor of smol. Kills the process after SECONDS (default:
//! 10).
//!
//! `await_async_io PID [SECONDS]`

use async_io::{Timer, block_on};
use futures_lite::FutureExt as _;
use procwait::Process;
use std::{env, error::Error, time::Duration};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let pid = arguments
        .next()
        .ok_or("usage: await_async_io PID [SECONDS]")?
        .parse()?;
    let seconds = arguments.next().as_deref().unwrap_or("10").parse()?;
    block_on(wait_or_kill(pid, Duration::try_from_secs_f64(seconds)?))
}

async fn wait_or_kill(pid: u32, time_limit: Duration) -> Result<(), Box<dyn Error>> {
    let process = Process::open(pid)?;
    let exit = async { process.wait_on_async_io().await.map(Some) };
    let timeout = async {
        Timer::after(time_limit).await;
        Ok(None)
    };
    match exit.or(timeout).await? {
        Some(exit) => println!("{pid}: {exit}"),
        None => {
            process.kill()?;
            println!(
                "{pid}: had to be killed: {}",
                process.wait_on_async_io().await?
            );
        }
    }
    Ok(())
}
