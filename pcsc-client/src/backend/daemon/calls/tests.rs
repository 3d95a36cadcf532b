//! The end of a context while calls wait for its connection.

use super::*;

const VERSION: Version = Version { major: 4, minor: 4 };

#[test]
fn a_release_ends_a_wait_that_is_behind_another_call() {
    let context = DaemonContext {
        path: PathBuf::new(),
        endian: Endian::NATIVE,
        version: VERSION,
        waits: false,
        waits_to_begin: false,
        lifecycle: Lifecycle::new(),
        waker: LazyWaker::default(),
        link: Mutex::new(Link {
            stream: None,
            endian: Endian::NATIVE,
            version: VERSION,
            answered: VERSION,
            context: 0,
            slots: None,
            limit: Duration::ZERO,
        }),
    };
    let since = context.lifecycle.now();
    let error = |outcome: Outcome<DaemonReaders<'_>>| outcome.map(drop).unwrap_err().error();
    assert_eq!(error(context.readers(since)), Error::NoService);
    context.lifecycle.release().unwrap();
    assert_eq!(error(context.readers(since)), Error::Cancelled);
    // One that begins after it is refused.
    let begun = context.status_change(None, &mut [], false);
    assert_eq!(begun.unwrap_err().error(), Error::InvalidHandle);
}
