//! Awaiting a process, on any runtime.

#[cfg(feature = "async-io")]
mod async_io;
#[cfg(feature = "tokio")]
mod tokio;

use crate::{
    Error, Exit, Process,
    backoff::{Attempt, Backoff},
    sys::{Handle, ProcessHandle as _, Registration},
};
use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    task::Poll,
    time::Duration,
};

/// Checks, and waits for an event through `R`, or for the next check with the runtime's `sleep`.
///
/// All state is in the `Process`, so the future can be dropped at any time. In particular,
/// restarting it does not reset the backoff of a polled process.
async fn wait<R: Registration, S: Future>(
    process: &Process,
    sleep: fn(Duration) -> S,
) -> Result<Exit, Error> {
    let mut registration = None;
    // For a watched process, while the runtime does not register it.
    let mut backoff = Backoff::default();
    let mut has_event = false;
    let mut is_first = true;
    loop {
        let attempt = match process.polling() {
            Some(polling) => polling.attempt(is_first && polling.is_within_budget(), &process.exit),
            None => backoff.attempt(has_event, || process.try_wait()),
        };
        is_first = false;
        let delay = match attempt? {
            Attempt::Done(exit) => return Ok(exit),
            Attempt::RetryAfter(delay) => delay,
        };
        registration = match (process.active_handle(), registration) {
            // It may have exited before it was registered, so it is checked again.
            (Some(handle), None) => R::new(handle).ok(),
            (Some(handle), Some(registered)) => {
                match event(&registered, Handle::recheck_interval().map(sleep)).await {
                    Ok(()) => Some(registered),
                    // The runtime is shutting down. A new registration fails as well, and then
                    // the sleep ends this wait as the runtime ends all its timers.
                    Err(_) => R::new(handle).ok(),
                }
            }
            (None, _) => None,
        };
        has_event = registration.is_some();
        if !has_event {
            sleep(delay).await;
        }
    }
}

/// Waits for the event, or for the time of the next check.
async fn event(registration: &impl Registration, recheck: Option<impl Future>) -> io::Result<()> {
    let (mut ready, mut recheck) = (pin!(registration.ready()), pin!(recheck));
    poll_fn(|context| {
        if let Poll::Ready(ready) = ready.as_mut().poll(context) {
            return Poll::Ready(ready);
        }
        match recheck.as_mut().as_pin_mut() {
            Some(recheck) => recheck.poll(context).map(|_| Ok(())),
            None => Poll::Pending,
        }
    })
    .await
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::sys::Handle;
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
        fn new(_: &Handle) -> io::Result<Scripted> {
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
        let mut wait = pin!(wait::<Scripted, _>(process, |_| pending::<()>()));
        wait.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn exit_during_registration_is_found() {
        let (child, process) = sleeper();
        if process.active_handle().is_none() {
            return end(child);
        }
        assert!(poll(&process, vec![Box::new(|| end(child))]).is_ready());
    }

    #[test]
    fn events_are_checked_at_once_also_after_spurious_ones() {
        let (child, process) = sleeper();
        if process.active_handle().is_none() {
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
