//! The protocol versions that the API tells its users.

use pcsc_client::{BackendKind, Cause, Context, Version};

use super::scripted::*;

/// With the type's name as users have it.
fn versions(daemon: &Daemon) -> Result<Version, Version> {
    let context = match Context::builder().socket_path(daemon.socket()).establish() {
        Ok(context) => context,
        Err(failure) => match failure.cause() {
            Some(Cause::Version { theirs, .. }) => return Err(*theirs),
            cause => panic!("{cause:?}"),
        },
    };
    match context.backend() {
        BackendKind::Daemon { version, .. } => Ok(version),
        other => panic!("{other:?}"),
    }
}

#[test]
fn users_can_name_the_versions_of_a_backend_and_of_a_cause() {
    let version = |major, minor| Version { major, minor };
    assert_eq!(versions(&Daemon::of_version(5)), Ok(version(4, 5)));
    let other = Script {
        version: version(5, 0),
        ..script(6)
    };
    assert_eq!(versions(&Daemon::start(other)), Err(version(5, 0)));
}
