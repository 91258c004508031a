//! On tokio.

use crate::{Error, Exit, Process, awaiting, backend::awaited::OnTokio};

impl Process {
    /// Waits until the process has exited, as [`wait`](Process::wait) does, without a thread
    /// of its own: by the runtime's reactor, on Windows by the system's thread pool. Where
    /// the process has to be polled, by the runtime's timer.
    ///
    /// For a timeout there is [`tokio::time::timeout`](::tokio::time::timeout): the future may
    /// be dropped whenever you like, and another one goes on. Any number of tasks may await
    /// one process.
    ///
    /// While it waits, it takes one more descriptor on Unix. To begin costs some microseconds:
    /// in a loop around `select!`, make one future outside the loop and pin it.
    ///
    /// # Errors
    ///
    /// As for [`try_wait`](Process::try_wait).
    ///
    /// # Panics
    ///
    /// If it has to wait, and is outside a tokio runtime, or in one that is shutting down; and
    /// perhaps in one whose I/O and time drivers are not both enabled.
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
