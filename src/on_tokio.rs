//! On tokio.

use crate::{Error, Exit, Process, awaiting, backend::awaited::OnTokio};

impl Process {
    /// Waits until the process has exited, without blocking the thread.
    ///
    /// The runtime's reactor waits for the process; on Windows the system's thread pool does.
    /// Where the process has to be polled, the runtime's timer paces that. No thread is started.
    ///
    /// For a timeout, use [`tokio::time::timeout`]. The future may be
    /// dropped at any time, and nothing is lost: a new one goes on. Any number of tasks may await
    /// one process.
    ///
    /// On Unix it takes one more descriptor while it waits. A wait costs some microseconds to
    /// begin: with `select!` in a loop, make one future before the loop, and pin it.
    ///
    /// [`tokio::time::timeout`]: https://docs.rs/tokio/latest/tokio/time/fn.timeout.html
    ///
    /// # Errors
    ///
    /// As for [`try_wait`](Process::try_wait).
    ///
    /// # Panics
    ///
    /// If it has to wait outside of a tokio runtime, or in one that is shutting down; and perhaps
    /// in one without its I/O and time drivers enabled.
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
