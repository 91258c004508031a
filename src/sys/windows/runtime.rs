//! Windows, on any async runtime: the system's thread pool waits for the process's handle and
//! wakes the task.

use super::wait::{PoolWait, Tell};
use crate::sys::{Event, awaited::Watch};
use std::{
    future::poll_fn,
    io,
    os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
};
use windows_sys::Win32::System::Threading::WT_EXECUTEDEFAULT;

/// With a handle of its own: the process's is closed with the `Process`, and a future may
/// be forgotten before that.
#[derive(Debug)]
pub(crate) struct Alarm(PoolWait<OwnedHandle, Bell>);

impl Alarm {
    fn set(handle: BorrowedHandle<'_>) -> io::Result<Alarm> {
        let handle = handle.try_clone_to_owned()?;
        // What a waker does may take long, and unregister other waits.
        PoolWait::new(handle, Bell::default(), WT_EXECUTEDEFAULT).map(Alarm)
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        self.0.news().poll(context)
    }
}

impl Watch for Alarm {
    fn new(event: &Event) -> io::Result<Alarm> {
        Alarm::set(event.as_handle())
    }

    async fn ready(&self) -> io::Result<()> {
        poll_fn(|context| self.poll(context)).await;
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Bell {
    state: Mutex<State>,
    /// It is not for the pool's thread to drop: it may be the last one of its task, and so
    /// drop the task, whose other waits of the pool would then be waited for by the pool.
    /// (Unless the alarm was dropped by whom it woke: then nobody else is left to do it.)
    woken: OnceLock<Waker>,
}

#[derive(Debug, Default)]
struct State {
    has_rung: bool,
    latest: Option<Waker>,
}

impl Bell {
    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.has_rung {
            return Poll::Ready(());
        }
        let former = state.latest.replace(context.waker().clone());
        drop(state);
        drop(former);
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tell for Bell {
    fn tell(&self) {
        let mut state = self.lock();
        state.has_rung = true;
        let latest = state.latest.take();
        drop(state);
        if let Some(waker) = latest {
            self.woken.get_or_init(|| waker).wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering::SeqCst},
            mpsc,
        },
        task::Wake,
        thread::{self, ThreadId},
        time::Duration,
    };

    /// Of a thread that ends when it is told to, which is as good as a process's.
    struct Ends(thread::JoinHandle<()>, mpsc::Sender<()>);

    impl Ends {
        fn new() -> Ends {
            let (sender, receiver) = mpsc::channel::<()>();
            let thread = thread::spawn(move || {
                let _ = receiver.recv();
            });
            Ends(thread, sender)
        }

        fn set_alarm(&self, waker: Waker) -> Alarm {
            let alarm = Alarm::set(self.0.as_handle()).unwrap();
            // It may have rung already.
            if alarm.poll(&mut Context::from_waker(&waker)).is_ready() {
                waker.wake_by_ref();
            }
            alarm
        }

        fn end(self) -> thread::JoinHandle<()> {
            drop(self.1);
            self.0
        }
    }

    #[test]
    fn dropped_while_it_rings_ten_thousand_times() {
        #[derive(Default)]
        struct Slow {
            begins: AtomicBool,
            ends: AtomicBool,
        }

        impl Wake for Slow {
            fn wake(self: Arc<Self>) {
                self.begins.store(true, SeqCst);
                for _ in 0..20 {
                    thread::yield_now();
                }
                self.ends.store(true, SeqCst);
            }
        }

        let ended = Ends::new().end();
        while !ended.is_finished() {
            thread::yield_now();
        }
        for round in 0..10_000 {
            let slow = Arc::new(Slow::default());
            let waker = Waker::from(slow.clone());
            let alarm = Alarm::set(ended.as_handle()).unwrap();
            let has_rung = alarm.poll(&mut Context::from_waker(&waker)).is_ready();
            drop(waker);
            if round % 2 == 0 && !has_rung {
                while !slow.begins.load(SeqCst) {
                    thread::yield_now();
                }
                drop(alarm);
                assert!(slow.ends.load(SeqCst), "dropped in its midst");
            } else {
                drop(alarm);
            }
            // And then nobody has it any more. (Wine's may be about to tell.)
            while Arc::strong_count(&slow) != 1 {
                thread::yield_now();
            }
        }
    }

    #[test]
    fn dropped_by_whom_it_wakes() {
        struct Drops(Mutex<Option<Alarm>>, mpsc::Sender<()>);

        impl Wake for Drops {
            fn wake(self: Arc<Self>) {
                drop(self.0.lock().unwrap().take());
                self.1.send(()).unwrap();
            }
        }

        for _ in 0..100 {
            let thread = Ends::new();
            let (sender, woken) = mpsc::channel();
            let drops = Arc::new(Drops(Mutex::default(), sender));
            let alarm = thread.set_alarm(drops.clone().into());
            *drops.0.lock().unwrap() = Some(alarm);
            thread.end().join().unwrap();
            woken.recv().unwrap();
        }
    }

    /// As an executor may do that polls tasks at once when they are woken.
    #[test]
    fn polled_by_whom_it_wakes() {
        struct Polls(OnceLock<Alarm>, mpsc::Sender<bool>);

        impl Wake for Polls {
            fn wake(self: Arc<Self>) {
                let mut context = Context::from_waker(Waker::noop());
                let polled = self.0.get().map(|alarm| alarm.poll(&mut context));
                let is_ready = polled.is_some_and(|polled| polled.is_ready());
                self.1.send(is_ready).unwrap();
            }
        }

        let thread = Ends::new();
        let (sender, woken) = mpsc::channel();
        let polls = Arc::new(Polls(OnceLock::new(), sender));
        let alarm = thread.set_alarm(polls.clone().into());
        polls.0.set(alarm).unwrap();
        thread.end().join().unwrap();
        assert_eq!(woken.recv_timeout(Duration::from_secs(60)), Ok(true));
    }

    #[test]
    fn the_latest_waker_is_woken() {
        struct Tells(mpsc::Sender<u32>, u32);

        impl Wake for Tells {
            fn wake(self: Arc<Self>) {
                self.0.send(self.1).unwrap();
            }
        }

        let thread = Ends::new();
        let (sender, woken) = mpsc::channel();
        let [first, second] = [1, 2].map(|it| Waker::from(Arc::new(Tells(sender.clone(), it))));
        let alarm = thread.set_alarm(first);
        let polled = alarm.poll(&mut Context::from_waker(&second));
        assert!(polled.is_pending());
        thread.end().join().unwrap();
        assert_eq!(woken.recv_timeout(Duration::from_secs(60)), Ok(2));
    }

    #[test]
    fn a_waker_is_not_dropped_by_the_pool() {
        struct Told(mpsc::Sender<()>, Arc<OnceLock<ThreadId>>);

        impl Wake for Told {
            fn wake(self: Arc<Self>) {
                unreachable!("that would drop it");
            }

            fn wake_by_ref(self: &Arc<Self>) {
                self.0.send(()).unwrap();
            }
        }

        impl Drop for Told {
            fn drop(&mut self) {
                self.1.set(thread::current().id()).unwrap();
            }
        }

        let thread = Ends::new();
        let (sender, woken) = mpsc::channel();
        let dropped_by = Arc::new(OnceLock::new());
        let alarm = thread.set_alarm(Arc::new(Told(sender, dropped_by.clone())).into());
        thread.end().join().unwrap();
        woken.recv().unwrap();
        drop(alarm);
        assert_eq!(dropped_by.get(), Some(&thread::current().id()));
    }
}
