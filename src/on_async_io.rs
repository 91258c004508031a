//! On async-io, the reactor of smol and async-std, which works with any executor.

use crate::{Error, Exit, Process, awaiting, backend::awaited::OnAsyncIo};
use async_io::Timer;

impl Process {
    /// Waits until the process has exited, without blocking the thread.
    ///
    /// async-io's reactor waits for the process; on Windows the system's thread pool does. Where
    /// the process has to be polled, async-io's timer paces that. Any executor will do, such as
    /// smol's.
    ///
    /// For a timeout, race it with a [`Timer`]. The future may be dropped at
    /// any time, and nothing is lost: a new one goes on. Any number of tasks may await one process.
    ///
    /// On Unix it takes one more descriptor while it waits. A wait costs some microseconds to
    /// begin: with a race in a loop, make one future before the loop, and pin it.
    ///
    /// [`Timer`]: https://docs.rs/async-io/latest/async_io/struct.Timer.html
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
