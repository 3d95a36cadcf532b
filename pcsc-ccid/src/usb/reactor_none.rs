//! Other systems: their library wakes those who wait.

use super::signal::Signal;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// There is none.
#[derive(Debug)]
pub(super) enum Reactor {}

/// Nobody leads.
pub(super) type Lead<'a> = &'a Reactor;

/// What a wait is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The answer to a command.
    Exchange,
    /// Notifications.
    Watch,
}

impl Reactor {
    pub(super) fn lead_or_follow(&self, _: Role, _: &Arc<Signal>) -> Option<Lead<'_>> {
        match *self {}
    }

    pub(super) fn role(&self) -> Role {
        match *self {}
    }

    pub(super) fn unfollow(&self, _: &Arc<Signal>) {
        match *self {}
    }

    pub(super) fn kick(&self, _: Role) {
        match *self {}
    }

    pub(super) fn wait(&self, _: Role, _: Option<Duration>) -> io::Result<bool> {
        match *self {}
    }

    pub(super) fn reap(&self) {
        match *self {}
    }
}
