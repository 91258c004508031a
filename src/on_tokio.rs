//! On tokio.

use crate::{Error, Exit, Process, awaiting, backend::awaited::OnTokio};
use std::{
    future::{Future, poll_fn},
    pin::pin,
};
use tokio::runtime::Handle;

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
    /// The future can move to another runtime: it uses the runtime that polls it, and no longer
    /// needs the earlier one. If it is polled outside of any runtime, it goes on using the last
    /// one, which must then be running on another thread.
    ///
    /// [`tokio::time::timeout`]: https://docs.rs/tokio/latest/tokio/time/fn.timeout.html
    ///
    /// # Errors
    ///
    /// As for [`try_wait`](Process::try_wait).
    ///
    /// # Panics
    ///
    /// If it has to wait and has never been polled inside a tokio runtime, if the runtime
    /// that it uses is shutting down, or if that runtime lacks the I/O or time driver that
    /// the wait needs. Enable both with `enable_all`.
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
        in_current_runtime(|| awaiting::wait::<OnTokio, _>(self, tokio::time::sleep)).await
    }
}

/// Runs the future that `start` makes, and starts it anew whenever another runtime polls it.
///
/// An `AsyncFd` and a `Sleep` belong to the runtime in which they were made. If that runtime
/// is idle, they never become ready, whichever runtime polls them. So the future must lose
/// nothing when it is dropped.
async fn in_current_runtime<F: Future>(start: impl Fn() -> F) -> F::Output {
    let mut future = pin!(start());
    let mut registered_in: Option<Handle> = None;
    poll_fn(|context| {
        let _entered = match Handle::try_current() {
            Ok(current) => {
                let is_same = |handle: &Handle| handle.id() == current.id();
                if !registered_in.as_ref().is_some_and(is_same) {
                    future.set(start());
                    registered_in = Some(current);
                }
                None
            }
            // tokio's own types work outside of a runtime once they are registered with one.
            // The next pause needs its timer, too.
            Err(_) => registered_in.as_ref().map(Handle::enter),
        };
        future.as_mut().poll(context)
    })
    .await
}
