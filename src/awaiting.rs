//! Awaiting a process: what is the same on all runtimes.

use crate::{
    Error, Exit, Process,
    backend::awaited::{RECHECK, Watch},
    deadline::{Pace, Turn, When},
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
    let (mut when, mut pace) = (When::Now, Pace::default());
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
                    // Its runtime is gone, and we are in another by now.
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
