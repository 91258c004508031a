//! Awaiting a process, a set or a child's output, on any runtime.

#[cfg(feature = "async-io")]
mod async_io;
mod output;
#[cfg(feature = "tokio")]
mod tokio;

#[cfg(feature = "async-io")]
pub(crate) use async_io::output as output_on_async_io;
#[cfg(feature = "tokio")]
pub(crate) use tokio::output as output_on_tokio;

use crate::{
    Error, Exit, WaitSet,
    backoff::{Attempt, Backoff},
    deadline::Deadline,
    lock::lock,
    open_process::OpenProcess,
    sys::{BorrowedEvent, Handle, Interest, ProcessHandle as _, Registration},
};
use std::{
    future::{Future, poll_fn},
    io, mem,
    pin::pin,
    sync::Mutex,
    task::Poll,
    time::Duration,
};

/// What can be awaited. All state is kept here, so that a future can be dropped at any time. In
/// particular, restarting one does not reset the backoff of what is polled.
trait Awaitable {
    type Output;
    type Error;

    /// Checks, if that keeps polling within its share of the time, and does not wait. `has_event`:
    /// whether the runtime has just reported an event.
    fn check(&self, has_event: bool) -> Result<Option<Self::Output>, Self::Error>;

    /// Whether the last check has left something to do, so that the next one is due at once.
    fn has_more(&self) -> bool {
        false
    }

    /// When to check again, if there is no event before that.
    fn time_until_check(&self) -> Option<Duration>;

    /// Registers all events that it waits for. `None` if there are none.
    fn register<R: Registration>(&self) -> Option<Registrations<R>>;
}

type Registrations<R> = [Option<io::Result<R>>; 4];

fn register_one<R: Registration>(event: BorrowedEvent<'_>) -> Registrations<R> {
    let registered = R::new(event, Interest::Readable);
    [Some(registered), None, None, None]
}

impl Awaitable for OpenProcess {
    type Output = Exit;
    type Error = Error;

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

    fn register<R: Registration>(&self) -> Option<Registrations<R>> {
        self.as_event().map(register_one)
    }
}

/// In a mutex, as a future that moves to another runtime is made anew, and borrows the set again.
impl Awaitable for Mutex<&mut WaitSet> {
    type Output = Option<(u32, Exit)>;
    type Error = Error;

    fn check(&self, _: bool) -> Result<Option<Self::Output>, Error> {
        lock(self).poll()
    }

    fn time_until_check(&self) -> Option<Duration> {
        lock(self).time_until_check()
    }

    fn register<R: Registration>(&self) -> Option<Registrations<R>> {
        lock(self).as_event().map(register_one)
    }
}

/// Checks, and waits for an event through `R`, or for the next check with the runtime's `sleep`.
async fn wait<R: Registration, S: Future, A: Awaitable>(
    awaitable: &A,
    sleep: fn(Duration) -> S,
) -> Result<A::Output, A::Error> {
    // While there is an event, and the runtime does not register it.
    let mut backoff = Backoff::default();
    let mut has_event = false;
    loop {
        if let Some(output) = backoff.run_timed(|| awaitable.check(has_event))? {
            return Ok(output);
        }
        has_event = false;
        if awaitable.has_more() {
            yield_now().await;
            continue;
        }
        let Some(registrations) = awaitable.register::<R>() else {
            let delay = awaitable.time_until_check();
            sleep(delay.unwrap_or_else(|| backoff.remaining())).await;
            continue;
        };
        let is_failed = |registered: &Option<io::Result<R>>| matches!(registered, Some(Err(_)));
        let has_failed = registrations.iter().any(is_failed);
        let registrations = registrations.map(|registered| registered?.ok());
        if !R::REPORTS_PAST_EVENTS {
            if let Some(output) = awaitable.check(false)? {
                return Ok(output);
            }
            if awaitable.has_more() {
                continue;
            }
        }
        let mut delay = awaitable.time_until_check();
        if has_failed {
            delay = delay.into_iter().chain([backoff.remaining()]).min();
        }
        match event(registrations, delay.map(sleep)).await {
            Ok(is_event) => has_event = is_event,
            // The runtime is shutting down, which ends all its timers, and so this wait.
            Err(_) => {
                sleep(backoff.remaining()).await;
            }
        }
    }
}

/// Waits for an event (true), or for the time of the next check.
async fn event<R: Registration>(
    registrations: [Option<R>; 4],
    check: Option<impl Future>,
) -> io::Result<bool> {
    let ready = registrations.each_ref();
    let [first, second, third, fourth] = ready.map(|event| event.as_ref().map(R::ready));
    let mut ready = [pin!(first), pin!(second), pin!(third), pin!(fourth)];
    let mut check = pin!(check);
    poll_fn(|context| {
        for ready in ready
            .iter_mut()
            .flat_map(|ready| ready.as_mut().as_pin_mut())
        {
            if let Poll::Ready(ready) = ready.poll(context) {
                return Poll::Ready(ready.map(|()| true));
            }
        }
        match check.as_mut().as_pin_mut() {
            Some(check) => check.poll(context).map(|_| Ok(false)),
            None => Poll::Pending,
        }
    })
    .await
}

/// Lets other tasks run.
async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::Process;
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

        fn new(_: BorrowedEvent<'_>, _: Interest) -> io::Result<Scripted> {
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
