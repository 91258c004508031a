//! A handle in an async runtime, of any kind: the system's thread pool waits for the process and
//! wakes the task.

use super::wait::{OnSignaled, RegisteredWait};
use crate::{
    lock::lock,
    sys::{BorrowedEvent, Interest, Registration},
};
use std::{
    future::poll_fn,
    io,
    os::windows::io::{BorrowedHandle, OwnedHandle},
    sync::{Mutex, OnceLock},
    task::{Context, Poll, Waker},
};
use windows_sys::Win32::System::Threading::WT_EXECUTEDEFAULT;

/// Has a duplicate of the handle: a future can be leaked, and the `Process` closes its own.
#[derive(Debug)]
pub(crate) struct HandleRegistration(RegisteredWait<OwnedHandle, WakerCell>);

impl HandleRegistration {
    fn of_handle(handle: BorrowedHandle<'_>) -> io::Result<HandleRegistration> {
        let handle = handle.try_clone_to_owned()?;
        // A waker can take long, and unregister other waits.
        let registered = RegisteredWait::new(handle, WakerCell::default(), WT_EXECUTEDEFAULT);
        registered.map(HandleRegistration)
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        self.0.callback().poll(context)
    }
}

impl Registration for HandleRegistration {
    const REPORTS_PAST_EVENTS: bool = true;

    fn new(event: BorrowedEvent<'_>, _: Interest) -> io::Result<HandleRegistration> {
        HandleRegistration::of_handle(event)
    }

    async fn ready(&self) -> io::Result<()> {
        poll_fn(|context| self.poll(context)).await;
        Ok(())
    }
}

#[derive(Debug, Default)]
struct WakerCell {
    state: Mutex<State>,
    /// The waker that was woken. It is not dropped on the pool's thread: it may own the task, and dropping the task would
    /// unregister other waits, which would wait for this callback. (If the waker drops the
    /// registration, it is dropped there all the same, as nothing else can.)
    woken: OnceLock<Waker>,
}

#[derive(Debug, Default)]
struct State {
    is_signaled: bool,
    waker: Option<Waker>,
}

impl WakerCell {
    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.is_signaled {
            return Poll::Ready(());
        }
        let old = state.waker.replace(context.waker().clone());
        drop(state);
        drop(old);
        Poll::Pending
    }
}

impl OnSignaled for WakerCell {
    fn on_signaled(&self) {
        let mut state = lock(&self.state);
        state.is_signaled = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            self.woken.get_or_init(|| waker).wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::windows::io::AsHandle as _,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering::SeqCst},
            mpsc,
        },
        task::Wake,
        thread::{self, ThreadId},
        time::Duration,
    };

    /// A thread, whose handle is signaled when it ends.
    struct TestThread(thread::JoinHandle<()>, mpsc::Sender<()>);

    impl TestThread {
        fn new() -> TestThread {
            let (sender, receiver) = mpsc::channel::<()>();
            let thread = thread::spawn(move || {
                let _ = receiver.recv();
            });
            TestThread(thread, sender)
        }

        fn register(&self, waker: Waker) -> HandleRegistration {
            let registration = HandleRegistration::of_handle(self.0.as_handle()).unwrap();
            let polled = registration.poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
            registration
        }

        fn end(self) {
            drop(self.1);
            self.0.join().unwrap();
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn drop_waits_for_the_callback() {
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

        let ended = thread::spawn(|| {});
        while !ended.is_finished() {
            thread::yield_now();
        }
        for round in 0..10_000 {
            let slow = Arc::new(Slow::default());
            let waker = Waker::from(slow.clone());
            let registration = HandleRegistration::of_handle(ended.as_handle()).unwrap();
            let polled = registration.poll(&mut Context::from_waker(&waker));
            if round % 2 == 0 && polled.is_pending() {
                while !slow.begins.load(SeqCst) {
                    thread::yield_now();
                }
                drop(registration);
                assert!(slow.ends.load(SeqCst), "dropped during the callback");
            } else {
                drop(registration);
            }
            drop(waker);
            assert_eq!(Arc::strong_count(&slow), 1);
        }
    }

    #[test]
    fn waker_drops_registration() {
        struct Drops(Mutex<Option<HandleRegistration>>, mpsc::Sender<()>);

        impl Wake for Drops {
            fn wake(self: Arc<Self>) {
                drop(self.0.lock().unwrap().take());
                self.1.send(()).unwrap();
            }
        }

        for _ in 0..100 {
            let thread = TestThread::new();
            let (sender, woken) = mpsc::channel();
            let drops = Arc::new(Drops(Mutex::default(), sender));
            let registration = thread.register(drops.clone().into());
            *drops.0.lock().unwrap() = Some(registration);
            thread.end();
            woken.recv_timeout(LONG).unwrap();
        }
    }

    /// Some executors poll a task at once when it is woken.
    #[test]
    fn waker_polls_synchronously() {
        struct Polls(OnceLock<HandleRegistration>, mpsc::Sender<bool>);

        impl Wake for Polls {
            fn wake(self: Arc<Self>) {
                let mut context = Context::from_waker(Waker::noop());
                let polled = self
                    .0
                    .get()
                    .map(|registration| registration.poll(&mut context));
                let is_ready = polled.is_some_and(|polled| polled.is_ready());
                self.1.send(is_ready).unwrap();
            }
        }

        let thread = TestThread::new();
        let (sender, woken) = mpsc::channel();
        let polls = Arc::new(Polls(OnceLock::new(), sender));
        let registration = thread.register(polls.clone().into());
        polls.0.set(registration).unwrap();
        thread.end();
        assert_eq!(woken.recv_timeout(LONG), Ok(true));
    }

    #[test]
    fn last_waker_is_woken_and_not_dropped_on_pool_thread() {
        struct Notifies {
            number: u32,
            sender: mpsc::Sender<u32>,
            dropped_on: Arc<OnceLock<ThreadId>>,
        }

        impl Wake for Notifies {
            fn wake(self: Arc<Self>) {
                unreachable!("that would drop it");
            }

            fn wake_by_ref(self: &Arc<Self>) {
                self.sender.send(self.number).unwrap();
            }
        }

        impl Drop for Notifies {
            fn drop(&mut self) {
                self.dropped_on.set(thread::current().id()).unwrap();
            }
        }

        let thread = TestThread::new();
        let (sender, woken) = mpsc::channel();
        let dropped_on = [1, 2].map(|_| Arc::new(OnceLock::new()));
        let waker = |number: u32| {
            let sender = sender.clone();
            let dropped_on = dropped_on[number as usize].clone();
            Waker::from(Arc::new(Notifies {
                number,
                sender,
                dropped_on,
            }))
        };
        let registration = thread.register(waker(0));
        let second = waker(1);
        let polled = registration.poll(&mut Context::from_waker(&second));
        assert!(polled.is_pending());
        drop(second);
        thread.end();
        assert_eq!(woken.recv_timeout(LONG), Ok(1));
        drop(registration);
        for dropped_on in dropped_on {
            assert_eq!(dropped_on.get(), Some(&thread::current().id()));
        }
    }
}
