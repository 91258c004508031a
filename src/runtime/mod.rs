//! Awaiting a process or a set, on any runtime.

#[cfg(feature = "async-io")]
mod async_io;
#[cfg(feature = "tokio")]
mod tokio;

use crate::{
    Error, Exit, WaitSet,
    backoff::{Attempt, Backoff},
    deadline::Deadline,
    lock::lock,
    open_process::OpenProcess,
    sys::{Handle, ProcessHandle as _, Registration},
};
use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::Mutex,
    task::Poll,
    time::Duration,
};

/// What can be awaited. All state is kept here, so that a future can be dropped at any time. In
/// particular, restarting one does not reset the backoff of what is polled.
trait Awaitable {
    type Output;

    /// Checks, if that keeps polling within its share of the time, and does not wait. `has_event`:
    /// whether the runtime has just reported the event.
    fn check(&self, has_event: bool) -> Result<Option<Self::Output>, Error>;

    /// When to check again, if there is no event before that.
    fn time_until_check(&self) -> Option<Duration>;

    /// `None` if it has no event.
    fn register<R: Registration>(&self) -> Option<io::Result<R>>;
}

impl Awaitable for OpenProcess {
    type Output = Exit;

    fn check(&self, has_event: bool) -> Result<Option<Exit>, Error> {
        match self.polling() {
            Some(polling) => match polling.attempt(polling.is_within_budget(), &self.exit)? {
                Attempt::Done(exit) => Ok(Some(exit)),
                Attempt::RetryAfter(_) => Ok(None),
            },
            None if has_event => self.exit(),
            None => self.wait_until(Deadline::Now),
        }
    }

    fn time_until_check(&self) -> Option<Duration> {
        match self.polling() {
            Some(polling) => Some(polling.time_until_check()),
            None => Handle::recheck_interval(),
        }
    }

    fn register<R: Registration>(&self) -> Option<io::Result<R>> {
        self.as_event().map(R::new)
    }
}

/// In a mutex, as a future that moves to another runtime is made anew, and borrows the set again.
impl Awaitable for Mutex<&mut WaitSet> {
    type Output = Option<(u32, Exit)>;

    fn check(&self, _: bool) -> Result<Option<Self::Output>, Error> {
        lock(self).poll()
    }

    fn time_until_check(&self) -> Option<Duration> {
        lock(self).time_until_check()
    }

    fn register<R: Registration>(&self) -> Option<io::Result<R>> {
        lock(self).as_event().map(R::new)
    }
}

/// Checks, and waits for an event through `R`, or for the next check with the runtime's `sleep`.
async fn wait<R: Registration, S: Future, A: Awaitable>(
    awaitable: &A,
    sleep: fn(Duration) -> S,
) -> Result<A::Output, Error> {
    // While there is an event, and the runtime does not register it.
    let mut backoff = Backoff::default();
    let mut has_event = false;
    loop {
        if let Some(output) = backoff.run_timed(|| awaitable.check(has_event))? {
            return Ok(output);
        }
        let registered = awaitable.register::<R>();
        if let (Some(Ok(_)), false) = (&registered, R::REPORTS_PAST_EVENTS) {
            if let Some(output) = awaitable.check(false)? {
                return Ok(output);
            }
        }
        let delay = awaitable.time_until_check();
        let without_event = match registered {
            Some(Ok(registration)) => match event(registration, delay.map(sleep)).await {
                Ok(is_event) => {
                    has_event = is_event;
                    continue;
                }
                // The runtime is shutting down, which ends all its timers, and so this wait.
                Err(_) => backoff.remaining(),
            },
            Some(Err(_)) => backoff.remaining().min(delay.unwrap_or(Duration::MAX)),
            None => delay.unwrap_or_else(|| backoff.remaining()),
        };
        sleep(without_event).await;
        has_event = false;
    }
}

/// Waits for the event (true), or for the time of the next check.
async fn event(registration: impl Registration, check: Option<impl Future>) -> io::Result<bool> {
    let (mut ready, mut check) = (pin!(registration.ready()), pin!(check));
    poll_fn(|context| {
        if let Poll::Ready(ready) = ready.as_mut().poll(context) {
            return Poll::Ready(ready.map(|()| true));
        }
        match check.as_mut().as_pin_mut() {
            Some(check) => check.poll(context).map(|_| Ok(false)),
            None => Poll::Pending,
        }
    })
    .await
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::{Process, sys::BorrowedEvent};
    use std::{
        cell::RefCell,
        collections::VecDeque,
        future::pending,
        process::{Child, Command, Stdio},
        task::{Context, Waker},
        thread,
    };

    type Step = Box<dyn FnOnce()>;

    thread_local! {
        /// What happens during the registration, and then before each event, spurious or not.
        static SCRIPT: RefCell<VecDeque<Step>> = const { RefCell::new(VecDeque::new()) };
    }

    fn next_step() -> Option<()> {
        let step = SCRIPT.with_borrow_mut(VecDeque::pop_front)?;
        step();
        Some(())
    }

    struct Scripted;

    impl Registration for Scripted {
        const REPORTS_PAST_EVENTS: bool = false;

        fn new(_: BorrowedEvent<'_>) -> io::Result<Scripted> {
            next_step();
            Ok(Scripted)
        }

        async fn ready(&self) -> io::Result<()> {
            match next_step() {
                Some(()) => Ok(()),
                None => pending().await,
            }
        }
    }

    fn sleeper() -> (Child, Process) {
        // It reads until the end of its input.
        let child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = Process::open(child.id()).unwrap();
        (child, process)
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn poll(process: &Process, script: Vec<Step>) -> Poll<Result<Exit, Error>> {
        SCRIPT.set(script.into());
        let mut wait = pin!(wait::<Scripted, _, _>(&*process.shared, |_| pending::<()>()));
        wait.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn exit_during_registration_is_found() {
        let (child, process) = sleeper();
        if process.shared.active_handle().is_none() {
            return end(child);
        }
        assert!(poll(&process, vec![Box::new(|| end(child))]).is_ready());
    }

    #[test]
    fn events_are_checked_at_once_also_after_spurious_ones() {
        let (child, process) = sleeper();
        if process.shared.active_handle().is_none() {
            return end(child);
        }
        let mut script: Vec<Step> = vec![Box::new(|| {})];
        // Longer than the delays by then, so that none is due.
        script
            .extend((0..8).map(|_| Box::new(|| thread::sleep(Duration::from_millis(30))) as Step));
        script.push(Box::new(|| end(child)));
        assert!(poll(&process, script).is_ready());
    }
}
