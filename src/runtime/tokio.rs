//! Awaiting on tokio.

use crate::{
    Captured, Error, Exit, Process, WaitSet,
    deadline::{Deadline, sleep_until},
    lock::lock,
    sys::TokioRegistration,
    transfer::Transfer,
};
use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    pin::pin,
    process::{Child, ExitStatus},
    sync::{
        Arc, Mutex,
        mpsc::{self, RecvTimeoutError},
    },
    task::{Poll, Waker},
    thread,
    time::{Duration, Instant},
};
use tokio::runtime::Handle;

impl Process {
    /// Waits until the process has exited, without blocking the thread.
    ///
    /// Uses the runtime's reactor (on Windows, the system's thread pool), or its timer if the
    /// process is polled. Starts no thread, unless tokio's clock is or was paused.
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
    /// [Pausing tokio's clock][pause] neither delays nor speeds up this wait, and this wait
    /// neither moves the paused clock nor keeps it from moving: a timeout around it passes as
    /// soon as the runtime is idle, as around a read from a socket. (Where it would otherwise
    /// need the runtime's timer, it then starts a thread for each sleep. If that fails, it blocks
    /// the runtime's thread instead, and the clock can move.)
    ///
    /// [pause]: https://docs.rs/tokio/latest/tokio/time/fn.pause.html
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
        in_current_runtime(|| super::wait::<TokioRegistration, _, _>(&*self.shared, sleep)).await
    }
}

impl WaitSet {
    /// Waits for the next exit, as [`wait`](WaitSet::wait) does without a timeout, and does not block
    /// the thread.
    ///
    /// For a timeout, use [`tokio::time::timeout`]. If the future is dropped, no exit and no wake is
    /// lost, so it can be made anew in each round of a `select!` loop. An empty set without a
    /// [waker](WaitSet::waker) returns `Ok(None)` at once: in such a loop, check
    /// [`is_empty`](WaitSet::is_empty) before.
    ///
    /// All else is as for [`Process::wait_on_tokio`].
    ///
    /// [`tokio::time::timeout`]: https://docs.rs/tokio/latest/tokio/time/fn.timeout.html
    ///
    /// # Errors
    ///
    /// As for [`wait`](WaitSet::wait).
    ///
    /// # Panics
    ///
    /// As for [`Process::wait_on_tokio`].
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use procwait::WaitSet;
    /// use std::process::Command;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let mut slow = Command::new("sleep").arg("60").spawn()?;
    /// let mut quick = Command::new("true").spawn()?;
    /// let mut set = WaitSet::new();
    /// set.insert(slow.id())?;
    /// set.insert(quick.id())?;
    ///
    /// let (pid, exit) = set.wait_on_tokio().await?.expect("it is not empty");
    /// assert_eq!((pid, exit.code()), (quick.id(), Some(0)));
    /// # quick.wait()?;
    /// # slow.kill()?;
    /// # slow.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn wait_on_tokio(&mut self) -> Result<Option<(u32, Exit)>, Error> {
        let set = Mutex::new(self);
        in_current_runtime(|| super::wait::<TokioRegistration, _, _>(&set, sleep)).await
    }
}

/// See [`ChildExt::output_on_tokio`](crate::ChildExt::output_on_tokio).
pub(crate) async fn output(child: &mut Child, captured: &mut Captured) -> io::Result<ExitStatus> {
    let transfer = Mutex::new(Transfer::new(child, captured, Deadline::Never)?);
    in_current_runtime(|| super::wait::<TokioRegistration, _, _>(&transfer, sleep)).await
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
            // The next sleep needs its timer, too.
            Err(_) => registered_in.as_ref().map(Handle::enter),
        };
        future.as_mut().poll(context)
    })
    .await
}

/// Sleeps by the machine's clock. Returns early if the runtime's clock is paused meanwhile.
async fn sleep(duration: Duration) {
    if is_machine_clock() {
        tokio::time::sleep(duration).await;
    } else {
        sleep_on_thread(duration).await;
    }
}

/// Whether the runtime's clock is the machine's. A clock that was ever paused lags behind it,
/// or was advanced.
///
/// By a paused clock no timer measures time: it fires as soon as the runtime is idle, and never
/// while a blocking task runs (<https://docs.rs/tokio/latest/tokio/time/fn.pause.html>). tokio
/// reports whether its clock is paused only with its feature `test-util`.
fn is_machine_clock() -> bool {
    let before = Instant::now();
    let runtime_now = tokio::time::Instant::now().into_std();
    before <= runtime_now && runtime_now <= Instant::now()
}

/// Sleeps by the machine's clock, and leaves the runtime's paused clock alone.
///
/// `spawn_blocking` would reuse threads, but tokio does not advance a paused clock while a
/// blocking task runs: a timeout around the wait would never pass.
async fn sleep_on_thread(duration: Duration) {
    let deadline = Instant::now() + duration;
    let latest_waker = Arc::new(Mutex::new(Waker::noop().clone()));
    // The thread ends with the future, so that it does not keep the task and its runtime.
    let (dropped_with_future, future_dropped) = mpsc::channel::<Infallible>();
    let builder = thread::Builder::new().name("procwait-sleep".into());
    let thread = builder.spawn({
        let latest_waker = latest_waker.clone();
        move || {
            if future_dropped.recv_timeout(duration) == Err(RecvTimeoutError::Timeout) {
                let waker = lock(&latest_waker).clone();
                waker.wake();
            }
        }
    });
    if thread.is_err() {
        // Without a thread, it is better to block this one than to spin. The timer then lets
        // other tasks run.
        sleep_until(Deadline::At(deadline));
        return tokio::time::sleep(duration).await;
    }
    poll_fn(|context| {
        // Before the clock is read: a thread that has taken an earlier waker did so after the
        // deadline.
        lock(&latest_waker).clone_from(context.waker());
        if Instant::now() < deadline {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
    drop(dropped_with_future);
}
