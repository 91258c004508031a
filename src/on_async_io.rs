//! On async-io, and so on smol, async-std, and any executor: its reactor has a thread of
//! its own.

use crate::{Error, Exit, Process, awaiting, backend::awaited::OnAsyncIo};
use async_io::Timer;

impl Process {
    /// Waits until the process has exited, as [`wait`](Process::wait) does, without a thread
    /// of its own: by async-io's reactor, on Windows by the system's thread pool. Where
    /// the process has to be polled, by async-io's timer.
    ///
    /// The executor may be any: smol's, for one. For a timeout race it with a
    /// [`Timer`](::async_io::Timer): the future may be dropped whenever you like, and another
    /// one goes on. Any number of tasks may await one process.
    ///
    /// While it waits, it takes one more descriptor on Unix. To begin costs some microseconds:
    /// in a loop around a race, make one future outside the loop and pin it.
    ///
    /// # Errors
    ///
    /// As for [`try_wait`](Process::try_wait).
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use async_io::{Timer, block_on};
    /// use futures_lite::FutureExt as _;
    /// use procwait::Process;
    /// use std::{process::Command, time::Duration};
    ///
    /// # block_on(async {
    /// let mut child = Command::new("sleep").arg("60").spawn()?;
    /// let process = Process::open(child.id())?; // any pid would do
    ///
    /// let exit = async { process.wait_on_async_io().await.map(Some) };
    /// let timeout = async {
    ///     Timer::after(Duration::from_millis(10)).await;
    ///     Ok(None)
    /// };
    /// if exit.or(timeout).await?.is_none() {
    ///     process.kill()?;
    /// }
    /// assert_eq!(process.wait_on_async_io().await?.signal(), Some(9));
    /// child.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn wait_on_async_io(&self) -> Result<Exit, Error> {
        awaiting::wait::<OnAsyncIo, _>(self, Timer::after).await
    }
}
