//! On tokio.

use crate::{Error, Exit, Process, awaiting, backend::awaited::OnTokio};

impl Process {
    /// Waits until the process has exited, without blocking the thread.
    ///
    /// Uses the runtime's reactor (on Windows, the system's thread pool), or its timer if the
    /// process is polled. Starts no thread.
    ///
    /// For a timeout, use [`tokio::time::timeout`]. If the future is dropped, nothing is
    /// lost, and you can call this again. Any number of tasks can await one process.
    ///
    /// On Unix, it uses one more descriptor while it waits. Starting a wait takes a few
    /// microseconds: with `select!` in a loop, create and pin the future before the loop.
    ///
    /// [`tokio::time::timeout`]: https://docs.rs/tokio/latest/tokio/time/fn.timeout.html
    ///
    /// # Errors
    ///
    /// As for [`try_wait`](Process::try_wait).
    ///
    /// # Panics
    ///
    /// If it has to wait outside a tokio runtime or while one shuts down, or if the runtime
    /// lacks the I/O or time driver that the wait needs. Enable both with `enable_all`.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use procwait::Process;
    /// use std::{process::Command, time::Duration};
    /// use tokio::time::timeout;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let mut child = Command::new("sleep").arg("60").spawn()?;
    /// let process = Process::open(child.id())?; // any pid would do
    ///
    /// if timeout(Duration::from_millis(10), process.wait_on_tokio()).await.is_err() {
    ///     process.kill()?;
    /// }
    /// assert_eq!(process.wait_on_tokio().await?.signal(), Some(9));
    /// child.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn wait_on_tokio(&self) -> Result<Exit, Error> {
        awaiting::wait::<OnTokio, _>(self, tokio::time::sleep).await
    }
}
