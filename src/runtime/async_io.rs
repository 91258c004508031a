//! Awaiting on async-io, the reactor of smol and async-std, which works with any executor.

use crate::{
    Captured, Error, Exit, Process, WaitSet, deadline::Deadline, sys::AsyncIoRegistration,
    transfer::Transfer,
};
use async_io::Timer;
use std::{
    io,
    process::{Child, ExitStatus},
    sync::Mutex,
};

impl Process {
    /// Waits until the process has exited, without blocking the thread.
    ///
    /// Uses async-io's reactor (on Windows, the system's thread pool), or its timer if the
    /// process is polled. Works with any executor. (async-io may run its reactor on a thread
    /// of its own.)
    ///
    /// For a timeout, race it with a [`Timer`]. If the future is dropped, nothing is lost,
    /// and you can call this again. Any number of tasks can await one process.
    ///
    /// On Unix, it uses one more descriptor while it waits. Starting a wait takes a few
    /// microseconds: when racing in a loop, create and pin the future before the loop.
    ///
    /// [`Timer`]: https://docs.rs/async-io/latest/async_io/struct.Timer.html
    ///
    /// # Errors
    ///
    /// As for [`try_wait`](Process::try_wait).
    ///
    /// # Panics
    ///
    /// If async-io's reactor does not run yet and cannot start, for lack of descriptors or
    /// threads.
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
        super::wait::<AsyncIoRegistration, _, _>(&*self.shared, Timer::after).await
    }
}

impl WaitSet {
    /// Waits for the next exit, as [`wait`](WaitSet::wait) does without a timeout, and does not block
    /// the thread.
    ///
    /// For a timeout, race it with a [`Timer`]. If the future is dropped, no exit and no wake is
    /// lost, so it can be made anew in each round of a `select!` loop. An empty set without a
    /// [waker](WaitSet::waker) returns `Ok(None)` at once: in such a loop, check
    /// [`is_empty`](WaitSet::is_empty) before.
    ///
    /// All else is as for [`Process::wait_on_async_io`].
    ///
    /// [`Timer`]: https://docs.rs/async-io/latest/async_io/struct.Timer.html
    ///
    /// # Errors
    ///
    /// As for [`wait`](WaitSet::wait).
    ///
    /// # Panics
    ///
    /// As for [`Process::wait_on_async_io`].
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use async_io::block_on;
    /// use procwait::WaitSet;
    /// use std::process::Command;
    ///
    /// # block_on(async {
    /// let mut slow = Command::new("sleep").arg("60").spawn()?;
    /// let mut quick = Command::new("true").spawn()?;
    /// let mut set = WaitSet::new();
    /// set.insert(slow.id())?;
    /// set.insert(quick.id())?;
    ///
    /// let (pid, exit) = set.wait_on_async_io().await?.expect("it is not empty");
    /// assert_eq!((pid, exit.code()), (quick.id(), Some(0)));
    /// # quick.wait()?;
    /// # slow.kill()?;
    /// # slow.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn wait_on_async_io(&mut self) -> Result<Option<(u32, Exit)>, Error> {
        super::wait::<AsyncIoRegistration, _, _>(&Mutex::new(self), Timer::after).await
    }
}

/// See [`ChildExt::output_on_async_io`](crate::ChildExt::output_on_async_io).
pub(crate) async fn output(child: &mut Child, captured: &mut Captured) -> io::Result<ExitStatus> {
    let transfer = Mutex::new(Transfer::new(child, captured, Deadline::Never)?);
    super::wait::<AsyncIoRegistration, _, _>(&transfer, Timer::after).await
}
