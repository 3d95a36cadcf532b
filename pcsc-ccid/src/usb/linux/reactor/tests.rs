use super::*;
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use std::process::Command;
use std::string::String;
use std::sync::mpsc;
use std::thread;

/// A reactor over a file descriptor on which no transfer ends.
fn reactor() -> (Arc<Reactor>, OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    (Reactor::new(reader).unwrap(), writer)
}

/// A wait in another thread that gets no result.
struct Waiter {
    reactor: Arc<Reactor>,
    role: Role,
    signal: Arc<Signal>,
}

impl Waiter {
    fn new(reactor: &Arc<Reactor>, role: Role) -> Waiter {
        Waiter {
            reactor: reactor.clone(),
            role,
            signal: Arc::default(),
        }
    }

    fn wait(&self, deadline: Option<Instant>) -> Result<(), TransportError> {
        self.reactor
            .wait(self.role, &self.signal, deadline, true, |_| None)
    }
}

#[test]
fn a_leader_ends_by_its_deadline_and_by_a_cancellation() {
    let (reactor, _writer) = reactor();
    for role in [Role::Exchange, Role::Watch] {
        let waiter = Waiter::new(&reactor, role);
        let deadline = Instant::now() + Duration::from_millis(10);
        assert_eq!(waiter.wait(Some(deadline)), Err(TransportError::Timeout));
        assert!(Instant::now() >= deadline);
        let signal = waiter.signal.clone();
        let other = thread::spawn(move || signal.cancel());
        assert_eq!(waiter.wait(None), Err(TransportError::Cancelled));
        other.join().unwrap();
    }
}

#[test]
fn a_follower_leads_when_the_leader_has_ended() {
    let (reactor, _writer) = reactor();
    let first = Arc::new(Signal::default());
    let lead = reactor.lead_or_follow(Role::Exchange, &first).unwrap();
    let (sender, ended) = mpsc::channel();
    let (signals, signal) = mpsc::channel();
    let followed = reactor.clone();
    let follower = thread::spawn(move || {
        let waiter = Waiter::new(&followed, Role::Exchange);
        signals.send(waiter.signal.clone()).unwrap();
        sender.send(waiter.wait(None)).unwrap();
    });
    let signal = signal.recv().unwrap();
    while reactor.state().followers.is_empty() {
        thread::yield_now();
    }
    drop(lead);
    while !reactor.state().is_led {
        thread::yield_now();
    }
    assert!(reactor.state().followers.is_empty());
    signal.cancel();
    assert_eq!(ended.recv().unwrap(), Err(TransportError::Cancelled));
    follower.join().unwrap();
    assert!(!reactor.state().is_led);
}

#[test]
fn the_watch_polls_the_device_only_while_no_thread_leads() {
    let (reactor, _writer) = reactor();
    let signal = Arc::new(Signal::default());
    let is_in_set = || reactor.state().is_in_set;
    let exchange = reactor.lead_or_follow(Role::Exchange, &signal);
    let watch = reactor.lead_or_follow(Role::Watch, &signal);
    assert!(exchange.is_some() && watch.is_some());
    assert!(!is_in_set());
    drop(exchange);
    assert!(is_in_set());
    let exchange = reactor.lead_or_follow(Role::Exchange, &signal);
    assert!(!is_in_set());
    // Another exchange follows; a second watch does so too.
    assert!(reactor.lead_or_follow(Role::Exchange, &signal).is_none());
    assert!(reactor.lead_or_follow(Role::Watch, &signal).is_none());
    drop(watch);
    drop(exchange);
    assert!(!is_in_set());
    let watch = reactor.lead_or_follow(Role::Watch, &signal);
    assert_eq!(watch.as_ref().map(|lead| lead.role), Some(Role::Watch));
    assert!(is_in_set());
}

#[test]
fn a_cancellation_that_comes_before_the_sleep_is_not_missed() {
    for role in [Role::Exchange, Role::Watch] {
        let (reactor, _writer) = reactor();
        let waiter = Waiter::new(&reactor, role);
        for _ in 0..500 {
            let signal = waiter.signal.clone();
            let other = thread::spawn(move || signal.cancel());
            assert_eq!(waiter.wait(None), Err(TransportError::Cancelled));
            other.join().unwrap();
        }
    }
}

#[test]
fn errors_of_the_kernel_are_converted() {
    for (errno, expected) in [
        (Errno::NODEV, TransportError::Gone),
        (Errno::SHUTDOWN, TransportError::Gone),
        (Errno::ACCESS, TransportError::Gone),
        (Errno::PIPE, TransportError::Stall),
        (Errno::NOENT, TransportError::Cancelled),
        (Errno::CONNRESET, TransportError::Cancelled),
        (Errno::PROTO, TransportError::Fault),
        (Errno::OVERFLOW, TransportError::Fault),
    ] {
        assert_eq!(error(errno), expected, "{errno}");
    }
}

/// Runs in a process of its own, since the limit of open files concerns the whole process.
#[test]
fn a_wait_that_the_system_refuses_ends() {
    const CHILD: &str = "PCSC_CCID_TEST_WITHOUT_FILES";
    const NAME: &str = "usb::linux::reactor::tests::a_wait_that_the_system_refuses_ends";
    if std::env::var_os(CHILD).is_none() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--exact", NAME]).env(CHILD, "").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let (reactor, _writer) = reactor();
    let before = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(1),
        ..before
    };
    for role in [Role::Exchange, Role::Watch] {
        let waiter = Waiter::new(&reactor, role);
        let (ended, end) = mpsc::channel::<()>();
        let signal = waiter.signal.clone();
        let other = thread::spawn(move || {
            // Only if the wait does not end.
            if end.recv_timeout(Duration::from_secs(60)).is_err() {
                signal.cancel();
            }
        });
        setrlimit(Resource::Nofile, none).unwrap();
        let result = waiter.wait(None);
        setrlimit(Resource::Nofile, before).unwrap();
        ended.send(()).unwrap();
        other.join().unwrap();
        assert_eq!(result, Err(TransportError::Fault));
    }
}
