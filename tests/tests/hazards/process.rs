//! The program's threads, descriptors, signals and forks.

use super::*;

#[test]
fn first_calls_of_many_threads_at_once() {
    let daemon = Scripted::start(Script::new(5));
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| assert_eq!(all_calls(&daemon.context()), Ok(())));
        }
    });
}

#[test]
fn no_descriptor_is_left_or_inherited() {
    // Of sockets alone: another test of this process opens more than a thousand other files.
    let sockets = || {
        let files = std::fs::read_dir("/proc/self/fd").unwrap();
        let names = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
        names
            .filter(|name| name.to_string_lossy().starts_with("socket:"))
            .count()
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("comm");
    let listener = UnixListener::bind(&path).unwrap();
    // Each context tries both byte orders.
    let refuser = std::thread::spawn(move || (0..20_000).for_each(|_| drop(listener.accept().unwrap())));
    let before = sockets();
    let mut most = before;
    for round in 0..10_000 {
        let builder = Context::builder().socket_path(&path);
        assert_eq!(builder.establish().unwrap_err().error(), Error::SecurityViolation);
        if round % 1000 == 0 {
            most = most.max(sockets());
        }
    }
    refuser.join().unwrap();
    // Other tests of this process open some, but not ten thousand.
    assert!(most < before + 500, "{before} sockets, then {most}");

    let daemon = Scripted::start(Script::new(4));
    let context = daemon.context();
    let mut states = [ReaderState::new(READER, State::PRESENT)];
    assert_eq!(
        context.get_status_change(Duration::from_millis(1), &mut states),
        Err(Error::Timeout)
    );
    let inherited = std::process::Command::new("ls")
        .args(["-l", "/proc/self/fd"])
        .output()
        .unwrap();
    let inherited = String::from_utf8_lossy(&inherited.stdout).into_owned();
    assert!(
        !inherited.contains("socket:") && !inherited.contains("eventfd"),
        "{inherited}"
    );
}

#[test]
fn descriptors_above_1024_work() {
    use rustix::process::{getrlimit, setrlimit, Resource};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum.map(|maximum| maximum.min(8192)).or(Some(8192));
    setrlimit(Resource::Nofile, limit).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let mut ballast: Vec<OwnedFd> = Vec::new();
    while ballast.last().is_none_or(|fd| fd.as_raw_fd() < 1500) {
        ballast.push(null.try_clone().unwrap().into());
    }
    let daemon = Scripted::start(Script::new(4));
    assert_eq!(all_calls(&daemon.context()), Ok(()));
    let context = daemon.context();
    let mut states = [ReaderState::new(READER, State::PRESENT)];
    assert_eq!(
        context.get_status_change(Duration::from_millis(1), &mut states),
        Err(Error::Timeout)
    );
}

#[test]
fn signals_do_not_end_calls() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: the handler does nothing; without SA_RESTART every blocking call is interrupted.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut());
    }
    let daemon = Scripted::start(Script::new(4));
    let (sender, receiver) = mpsc::channel();
    let worker = std::thread::spawn({
        let context = daemon.context();
        move || {
            // SAFETY: has no preconditions.
            sender.send(unsafe { libc::pthread_self() } as usize).unwrap();
            let mut states = [ReaderState::new(READER, State::PRESENT)];
            let card = connect(&context).unwrap();
            let mut buffer = vec![0; 65_548];
            let command = vec![9; 65_548];
            for _ in 0..50 {
                assert_eq!(card.transmit(&command, &mut buffer).unwrap().len(), 65_548);
                let waited = context.get_status_change(Duration::from_millis(2), &mut states);
                assert_eq!(waited, Err(Error::Timeout));
            }
        }
    });
    let thread = receiver.recv().unwrap();
    while !worker.is_finished() {
        // SAFETY: the thread is joined below, so its identifier is valid.
        unsafe { libc::pthread_kill(thread as libc::pthread_t, libc::SIGUSR2) };
        std::thread::yield_now();
    }
    worker.join().unwrap();
}

#[test]
fn a_forked_child_is_refused_and_the_parent_undisturbed() {
    let daemon = Scripted::start(Script::new(4));
    let context = daemon.context();
    let mut card = connect(&context).unwrap();
    let rounds = daemon.rounds();
    // SAFETY: the child calls what is under test, and ends by _exit; what it allocates, it allocates in a
    // process whose other threads do not hold the allocator for long, and glibc makes fork safe for malloc.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut wrong = 0;
        let mut check = |ok: bool| wrong = wrong * 2 + i32::from(!ok);
        let invalid = Some(Error::InvalidHandle);
        check(context.list_readers_owned().err() == invalid);
        check(context.is_valid().err() == invalid);
        check(context.cancel().err() == invalid);
        check(card.transmit(b"x", &mut [0; 8]).err() == invalid);
        check(card.status2_owned().err() == invalid);
        check(card.transaction().map(drop).err() == invalid);
        check(
            card.disconnect(pcsc_client::Disposition::ResetCard)
                .map_err(|(_, error)| error)
                .err()
                == invalid,
        );
        check(daemon.establish().is_ok());
        drop(context);
        // SAFETY: ends the child without the parent's clean-up.
        unsafe {
            libc::_exit(if wrong == 0 {
                7
            } else {
                100 + wrong.trailing_zeros() as i32
            })
        };
    }
    let mut status = 0;
    // SAFETY: `child` is a child of this process and `status` is writable.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(libc::WEXITSTATUS(status), 7);
    // One establish and one release of the child's own, and nothing on the parent's connection.
    assert!(daemon.rounds() - rounds <= 2, "{}", daemon.rounds() - rounds);
    assert_eq!(card.transmit(b"x", &mut [0; 8]).unwrap(), b"x");
    assert_eq!(context.list_readers_owned().unwrap().len(), 1);
}
