//! Whether a daemon is ready: it answers, and knows its readers.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use pcsc_client::{Context, ReaderState, State};

/// Calls `look` every few milliseconds, until it returns something or `deadline` has passed.
pub(crate) fn until<T>(deadline: Instant, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// The states of all readers.
pub(crate) fn states(context: &Context) -> Option<Vec<State>> {
    let names = context.list_readers_owned().ok()?;
    let mut states: Vec<_> = names
        .into_iter()
        .map(|name| ReaderState::new(name, State::UNAWARE))
        .collect();
    // Without readers this would be a wait for one.
    if !states.is_empty() {
        context.get_status_change(Duration::ZERO, &mut states).ok()?;
    }
    Some(states.iter().map(ReaderState::event_state).collect())
}

/// Whether a daemon answers a request for the states of its readers. It answers once it has looked at them.
pub(crate) fn knows_readers(socket: &Path) -> bool {
    let context = Context::builder().socket_path(socket).establish();
    context.is_ok_and(|context| context.list_readers_owned().is_ok())
}

/// Whether pcscd answers a VERSION request, with any version.
pub(crate) fn answers(socket: &Path) -> bool {
    let ask = || -> io::Result<()> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        // Header: length of the body, command 0x11. Body: major, minor, return value.
        let request: Vec<u8> = [12, 0x11, 4, 4, 0_u32]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        stream.write_all(&request)?;
        stream.read_exact(&mut [0; 12])
    };
    ask().is_ok()
}
