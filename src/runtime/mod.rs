//! Awaiting a process: what is the same on all runtimes.

#[cfg(feature = "async-io")]
mod async_io;
#[cfg(feature = "tokio")]
mod tokio;

use crate::{
    Error, Exit, Process,
    deadline::{Pace, Turn, When},
    sys::awaited::{RECHECK, Watch},
};
use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    task::Poll,
    time::Duration,
};

/// Looks, and waits for news by `W`. Where there are none to be had it looks again and
/// again, with pauses by the runtime's `sleep`.
///
/// Nothing but the `Process` remembers anything, so that the future may be dropped whenever.
pub(crate) async fn wait<W: Watch, S: Future>(
    process: &Process,
    sleep: fn(Duration) -> S,
) -> Result<Exit, Error> {
    let mut watch = None;
    // Those who begin again and again look no more often than others who poll the process.
    let (mut when, mut pace) = (When::Affordable, Pace::default());
    loop {
        let pause = match process.turn(when, &mut pace)? {
            Turn::Found(exit) => return Ok(exit),
            Turn::Pause(pause) => pause,
        };
        watch = match (process.events(), watch) {
            // It may have exited before: look again.
            (Some(event), None) => W::new(event).ok(),
            (Some(event), Some(registered)) => {
                match news(&registered, RECHECK.map(sleep)).await {
                    Ok(()) => Some(registered),
                    // The runtime is shutting down, which a new registration reports as well:
                    // then the pause below ends the wait as any timer of the runtime ends.
                    Err(_) => W::new(event).ok(),
                }
            }
            (None, _) => None,
        };
        when = match watch {
            Some(_) => When::Now,
            None => {
                sleep(pause).await;
                When::Due
            }
        };
    }
}

/// Until there may be news, or it is time for a look without any.
async fn news(watch: &impl Watch, look: Option<impl Future>) -> io::Result<()> {
    let (mut ready, mut look) = (pin!(watch.ready()), pin!(look));
    poll_fn(|context| {
        if let Poll::Ready(news) = ready.as_mut().poll(context) {
            return Poll::Ready(news);
        }
        match look.as_mut().as_pin_mut() {
            Some(look) => look.poll(context).map(|_| Ok(())),
            None => Poll::Pending,
        }
    })
    .await
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::sys::Event;
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
        /// What happens while the process is registered, and then each time before there are
        /// news, or false ones.
        static SCRIPT: RefCell<VecDeque<Step>> = const { RefCell::new(VecDeque::new()) };
    }

    fn next_step() -> Option<()> {
        let step = SCRIPT.with_borrow_mut(VecDeque::pop_front)?;
        step();
        Some(())
    }

    struct Scripted;

    impl Watch for Scripted {
        fn new(_: &Event) -> io::Result<Scripted> {
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
        // Which reads until the end of its input.
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
    fn an_exit_that_falls_into_the_registration_is_found() {
        let (child, process) = sleeper();
        if process.events().is_none() {
            return end(child);
        }
        assert!(poll(&process, vec![Box::new(|| end(child))]).is_ready());
    }

    #[test]
    fn news_are_looked_at_at_once_after_false_ones_too() {
        let (child, process) = sleeper();
        if process.events().is_none() {
            return end(child);
        }
        let mut script: Vec<Step> = vec![Box::new(|| {})];
        // Longer than the pauses are by then, which would otherwise be due.
        script
            .extend((0..8).map(|_| Box::new(|| thread::sleep(Duration::from_millis(30))) as Step));
        script.push(Box::new(|| end(child)));
        assert!(poll(&process, script).is_ready());
    }

    #[test]
    #[cfg(all(
        target_os = "linux",
        not(kqueue_on_linux),
        any(
            target_arch = "x86_64",
            target_arch = "aarch64",
            target_arch = "riscv64"
        )
    ))]
    fn from_events_to_the_timer_in_mid_wait() {
        use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
        let deny_poll = || {
            let filter = SeccompFilter::new(
                [(libc::SYS_ppoll, vec![])].into(),
                SeccompAction::Allow,
                SeccompAction::Errno(libc::EPERM as u32),
                std::env::consts::ARCH.try_into().unwrap(),
            );
            let program: BpfProgram = filter.unwrap().try_into().unwrap();
            apply_filter(&program).unwrap();
        };
        let (child, process) = sleeper();
        if process.events().is_none() {
            return end(child);
        }
        let (sender, falls) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let polled = poll(&process, vec![Box::new(|| {}), Box::new(deny_poll)]);
            let _ = sender.send(polled.is_pending() && process.events().is_none());
        });
        // If it did not pause, it would go on for ever.
        let falls = falls.recv_timeout(Duration::from_secs(60));
        end(child);
        assert_eq!(falls, Ok(true));
    }
}
