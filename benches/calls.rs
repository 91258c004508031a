//! What single calls cost, each beside the bare system call: looks at a child that
//! runs and at one that has exited, taking hold of a process, a set's insertion.
//!
//! `cargo bench --bench calls`

#[cfg(target_os = "linux")]
fn main() {
    linux::benches();
    criterion::Criterion::default()
        .configure_from_args()
        .final_summary();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("the bare calls to compare with are Linux's");
}

#[cfg(target_os = "linux")]
mod linux {
    use criterion::{Criterion, criterion_group};
    use procwait::{ChildExt as _, Process, WaitSet, wait_pid};
    use std::{
        process::{Child, Command},
        time::Duration,
    };

    const LOOK: Option<Duration> = Some(Duration::ZERO);

    fn running() -> Child {
        let mut command = Command::new("sleep");
        command.arg("3600").spawn().expect("sleep")
    }

    fn end(mut child: Child) {
        child.kill().expect("our child");
        child.wait().expect("our child");
    }

    fn bare_waitid(child: &Child) -> bool {
        use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(Pid::from_child(child)), options);
        status.expect("our child").is_some()
    }

    fn look_at_a_running_child(criterion: &mut Criterion) {
        let mut child = running();
        let pid = child.id();
        let process = Process::open(pid).expect("it runs");
        let mut group = criterion.benchmark_group("look at a running child");
        group.bench_function("bare waitid", |bencher| {
            bencher.iter(|| bare_waitid(&child))
        });
        group.bench_function("Child::try_wait", |bencher| {
            bencher.iter(|| child.try_wait());
        });
        group.bench_function("wait_pid", |bencher| bencher.iter(|| wait_pid(pid, LOOK)));
        group.bench_function("Process::try_wait", |bencher| {
            bencher.iter(|| process.try_wait());
        });
        group.bench_function("ChildExt::wait_timeout", |bencher| {
            bencher.iter(|| child.wait_timeout(Duration::ZERO));
        });
        group.finish();
        end(child);
    }

    fn look_at_an_exited_child(criterion: &mut Criterion) {
        let mut child = running();
        let pid = child.id();
        child.kill().expect("our child");
        wait_pid(pid, None).expect("our child");
        let mut group = criterion.benchmark_group("look at an exited child");
        group.bench_function("bare waitid", |bencher| {
            bencher.iter(|| bare_waitid(&child))
        });
        group.bench_function("wait_pid", |bencher| bencher.iter(|| wait_pid(pid, None)));
        group.finish();
        child.wait().expect("our child");
    }

    fn take_hold(criterion: &mut Criterion) {
        let child = running();
        let pid = child.id();
        let mut group = criterion.benchmark_group("take hold of a process");
        group.bench_function("bare pidfd_open and close", |bencher| {
            use rustix::process::{Pid, PidfdFlags, pidfd_open};
            let pid = Pid::from_child(&child);
            bencher.iter(|| drop(pidfd_open(pid, PidfdFlags::empty())));
        });
        group.bench_function("Process::open and drop", |bencher| {
            bencher.iter(|| drop(Process::open(pid)));
        });
        let mut set = WaitSet::new();
        group.bench_function("WaitSet::insert and remove", |bencher| {
            bencher.iter(|| (set.insert(pid).is_ok(), set.remove(pid)));
        });
        group.finish();
        end(child);
    }

    criterion_group!(
        benches,
        look_at_a_running_child,
        look_at_an_exited_child,
        take_hold
    );
}
