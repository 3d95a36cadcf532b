//! A temporary folder and a child process of a command. Both are removed when the command ends, also by a
//! signal.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use signal_hook::low_level::emulate_default_handler;

use crate::folder::Folder;
use crate::problem::Problem;
use crate::signal;

/// Those that exist now, which a signal removes.
static ALL: Mutex<Vec<Arc<State>>> = Mutex::new(Vec::new());

/// The last signal that came, or 0. It is set once the signals are caught.
static LAST: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// A temporary folder, and a process that uses it.
#[derive(Debug)]
pub struct Scratch(Arc<State>);

#[derive(Debug)]
struct State {
    folder: Folder,
    child: Mutex<Option<Child>>,
}

impl Scratch {
    /// Makes the folder. A signal that ends this process removes it.
    pub fn new() -> Result<Scratch, Problem> {
        static HAS_HANDLERS: OnceLock<()> = OnceLock::new();
        if HAS_HANDLERS.set(()).is_ok() {
            clean_up_at_signals().map_err(Problem::uncaught_signal)?;
        }
        // Under the lock, so that a signal either removes the folder or prevents it.
        let mut all = lock(&ALL);
        let state = Arc::new(State {
            folder: Folder::new()?,
            child: Mutex::default(),
        });
        all.push(state.clone());
        Ok(Scratch(state))
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.folder.path(name)
    }

    /// Starts the process, in the place of one that has ended. The child itself stays here, where a signal
    /// finds it. Returns what `take` takes of it, such as its output.
    pub fn start<T>(&self, command: &mut Command, take: impl FnOnce(&mut Child) -> T) -> io::Result<T> {
        let mut child = lock(&self.0.child);
        Ok(take(child.insert(command.spawn()?)))
    }

    /// Runs a process that prints less than a pipe holds, and waits until it has ended.
    pub fn output(&self, command: &mut Command) -> io::Result<Output> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let pipes = self.start(command, |child| child.stdout.take().zip(child.stderr.take()))?;
        let (mut out, mut err) = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        out.read_to_end(&mut stdout)?;
        err.read_to_end(&mut stderr)?;
        let status = self.wait()?;
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }

    /// Waits until the process has ended, which closes its output before. Does not return if a signal ends
    /// this process.
    pub fn wait(&self) -> io::Result<ExitStatus> {
        let child = lock(&self.0.child).take();
        let status = child.ok_or(io::ErrorKind::NotFound)?.wait();
        block_if_a_signal_ends_us();
        status
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.0.clean_up());
        block_if_a_signal_ends_us();
        lock(&ALL).retain(|other| !Arc::ptr_eq(other, &self.0));
    }
}

impl State {
    /// Ends the process, and removes the folder. No process is started or waited for while the guard is held.
    fn clean_up(&self) -> MutexGuard<'_, Option<Child>> {
        let mut child = lock(&self.child);
        if let Some(mut child) = child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.folder.remove();
        child
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Blocks for ever if a signal is ending this process; otherwise returns at once. Ctrl-C goes to all
/// processes of a job: the process of a [`Scratch`] may end by it before the thread that cleans up runs, and
/// its result must not be reported.
fn block_if_a_signal_ends_us() {
    while LAST.get().is_some_and(|last| last.load(Ordering::SeqCst) != 0) {
        thread::park();
    }
}

/// A signal that ends this process has all removed first. Signals that this process ignores stay ignored.
fn clean_up_at_signals() -> io::Result<()> {
    let (last, _, mut receiver) = signal::catch()?;
    let last = LAST.get_or_init(|| last);
    thread::spawn(move || {
        if matches!(receiver.read(&mut [0]), Ok(1)) {
            // Held until the process has ended: the other threads do not go on without what is gone.
            let all = lock(&ALL);
            let _held: Vec<_> = all.iter().map(|state| state.clean_up()).collect();
            // It returns only for signals that end nothing.
            let _ = emulate_default_handler(last.load(Ordering::SeqCst) as i32);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_and_the_process_go_with_it() {
        let by_signal: fn(Scratch) = |scratch| {
            drop(scratch.0.clean_up());
            // The process ends, and nothing is dropped.
            std::mem::forget(scratch);
        };
        for end in [drop, by_signal] {
            let scratch = Scratch::new().expect("a folder");
            let folder = scratch.path("");
            std::fs::write(scratch.path("file"), "").expect("a file in our folder");
            scratch
                .start(Command::new("sh").args(["-c", "exit 3"]), |_| ())
                .expect("sh");
            assert_eq!(scratch.wait().expect("our child").code(), Some(3));
            let sleeper = scratch.start(Command::new("sleep").arg("1000"), |child| child.id());
            end(scratch);
            let sleeper = format!("/proc/{}", sleeper.expect("sleep"));
            assert!(!folder.exists() && !PathBuf::from(&sleeper).exists());
        }
    }
}
