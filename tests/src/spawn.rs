//! Processes that end with the test's process.

use std::io;
use std::process::{Child, Command};
use std::sync::{mpsc, LazyLock};
use std::thread;

/// Starts a process from a thread that lives as long as this process: `--pdeathsig` counts from the end of
/// the starting thread.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in orders {
                // The caller may have ended.
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (sender, reply) = mpsc::channel();
    let gone = |_| io::Error::other("the spawning thread has ended");
    SPAWNER
        .send((command, sender))
        .map_err(|_| io::Error::other("the spawning thread has ended"))?;
    reply.recv().map_err(gone)?
}

/// Ends a process like a crash.
pub(crate) fn kill(child: &mut Child) {
    // Both fail only for a process that has been waited for.
    let _ = child.kill();
    let _ = child.wait();
}
