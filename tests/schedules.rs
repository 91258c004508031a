//! Tests of input and output by random schedules: a child reads, writes and closes its streams, and
//! the parent makes calls of all kinds with short timeouts, in any order. No byte may be lost,
//! doubled or out of order.

#![cfg(target_os = "linux")]

mod common;

use async_io::Timer;
use common::{
    Helper, LONG,
    output::{pattern, piped},
};
use futures_lite::future::or;
use procwait::{Captured, ChildExt as _, Progress};
use proptest::prelude::*;
use std::{
    io, mem,
    process::ExitStatus,
    time::{Duration, Instant},
};

/// A step of the child.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Reads, or writes, this many bytes.
    Transfer(Stream, usize),
    Close(Stream),
    /// For this many microseconds.
    Pause(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

impl Stream {
    /// The name of the stream for the helper, and the first byte of the pattern in it.
    fn name(self) -> char {
        match self {
            Stream::Stdin => 'i',
            Stream::Stdout => 'o',
            Stream::Stderr => 'e',
        }
    }
}

fn command(input_len: usize, steps: &[Step]) -> String {
    let mut command = format!("schedule {input_len}");
    for step in steps {
        command += &match step {
            Step::Transfer(stream, len) => format!(" {}{len}", stream.name()),
            Step::Close(stream) => format!(" {}close", stream.name()),
            Step::Pause(microseconds) => format!(" pause{microseconds}"),
        };
    }
    command
}

/// How many bytes the child transfers before it closes the stream.
fn transferred(stream: Stream, steps: &[Step]) -> usize {
    let mut len = 0;
    for step in steps {
        match step {
            Step::Transfer(of, more) if *of == stream => len += more,
            Step::Close(of) if *of == stream => break,
            _ => {}
        }
    }
    len
}

/// A call of the parent.
#[derive(Clone, Copy, Debug)]
enum Call {
    OutputTimeout,
    ReadTimeout,
    ReadToEndTimeout,
    Await,
}

impl Call {
    /// `None` if the child has not exited.
    fn run(
        self,
        child: &mut Helper,
        captured: &mut Captured,
        timeout: Duration,
    ) -> io::Result<Option<ExitStatus>> {
        match self {
            Call::OutputTimeout => child.output_timeout(captured, timeout),
            Call::ReadTimeout => Ok(match child.read_timeout(captured, timeout)? {
                Progress::Exited(status) => Some(status),
                _ => None,
            }),
            Call::ReadToEndTimeout => {
                if child.read_to_end_timeout(captured, timeout)? {
                    // Once the pipes are at their ends, this call does not wait for the exit.
                    child.output_timeout(captured, timeout)
                } else {
                    Ok(None)
                }
            }
            Call::Await => async_io::block_on(or(
                async { child.output_on_async_io(captured).await.map(Some) },
                async {
                    Timer::after(timeout).await;
                    Ok(None)
                },
            )),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    call: Call,
    timeout: Duration,
    /// Whether the output is taken out of the `Captured` after the call.
    takes: bool,
}

fn stream() -> impl Strategy<Value = Stream> {
    prop_oneof![
        Just(Stream::Stdin),
        Just(Stream::Stdout),
        Just(Stream::Stderr)
    ]
}

/// Few bytes, about a page, or more than fits into a pipe.
fn len() -> impl Strategy<Value = usize> {
    prop_oneof![0..100_usize, 4_000..4_200_usize, 0..200_000_usize]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (stream(), len()).prop_map(|(stream, len)| Step::Transfer(stream, len)),
        1 => stream().prop_map(Step::Close),
        2 => (0..3_000_u64).prop_map(Step::Pause),
    ]
}

fn turn() -> impl Strategy<Value = Turn> {
    let call = prop_oneof![
        Just(Call::OutputTimeout),
        Just(Call::ReadTimeout),
        Just(Call::ReadToEndTimeout),
        Just(Call::Await),
    ];
    let nanoseconds = prop_oneof![Just(0), Just(1), 0..3_000_000_u64];
    (call, nanoseconds, any::<bool>()).prop_map(|(call, nanoseconds, takes)| Turn {
        call,
        timeout: Duration::from_nanos(nanoseconds),
        takes,
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        max_shrink_iters: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_byte_is_lost_doubled_or_out_of_order(
        input_len in len(),
        steps in prop::collection::vec(step(), 0..20),
        turns in prop::collection::vec(turn(), 1..20),
        kill_after in prop::option::weighted(0.2, 0..20_usize),
    ) {
        let input = pattern(b'i', input_len);
        let mut child = piped(&command(input_len, &steps));
        let mut captured = Captured::default().input(input.clone());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let start = Instant::now();
        let mut is_killed = false;
        let mut turns = turns.iter().cycle().enumerate();
        let status = loop {
            let (index, turn) = turns.next().unwrap();
            if kill_after == Some(index) {
                child.kill().unwrap();
                is_killed = true;
            }
            let status = turn.call.run(&mut child, &mut captured, turn.timeout).unwrap();
            if turn.takes {
                stdout.append(&mut mem::take(&mut captured.stdout));
                stderr.append(&mut mem::take(&mut captured.stderr));
            }
            if let Some(status) = status {
                break status;
            }
            prop_assert!(start.elapsed() < LONG / 4, "it makes no progress");
        };
        stdout.append(&mut captured.stdout);
        stderr.append(&mut captured.stderr);

        let expected = [Stream::Stdout, Stream::Stderr].map(|stream| {
            pattern(stream.name() as u8, transferred(stream, &steps))
        });
        // `==`, as the values would be printed in vain.
        prop_assert!(expected[0].starts_with(&stdout) && expected[1].starts_with(&stderr));
        prop_assert!(input.ends_with(captured.unwritten()));
        if !is_killed || status.success() {
            prop_assert!(status.success(), "what it read was wrong: {status}");
            prop_assert_eq!([stdout.len(), stderr.len()], expected.map(|bytes| bytes.len()));
            let read = transferred(Stream::Stdin, &steps).min(input_len);
            prop_assert!(captured.unwritten().len() <= input_len - read);
        }
        // Each later call returns the same at once, and nothing more.
        let start = Instant::now();
        for turn in turns.take(3).map(|(_, turn)| turn) {
            let again = turn.call.run(&mut child, &mut captured, LONG / 4).unwrap();
            prop_assert_eq!(again, Some(status));
        }
        prop_assert!(start.elapsed() < LONG / 4, "it waits");
        prop_assert!(captured.stdout.is_empty() && captured.stderr.is_empty());
    }
}
