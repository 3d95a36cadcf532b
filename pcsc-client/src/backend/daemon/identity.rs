//! Which device a daemon's reader is, as far as its driver says.

use std::cell::RefCell;
use std::ffi::CStr;

use super::calls::DaemonContext;
use super::knowledge::Survey;
use crate::backend::driver_facts::{ask, slot_of};
use crate::backend::values::SessionOptions;
use crate::error::Error;
use crate::identity::ReaderIdentity;

impl DaemonContext {
    /// See [`Session::identities`](crate::backend::Session::identities).
    pub fn identities(&self, readers: &[(&CStr, bool)]) -> Vec<ReaderIdentity> {
        let (inquiry, survey) = (Inquiry::new(self), Survey::new());
        let identity =
            |(name, is_used): &(&CStr, bool)| survey.complete(inquiry.identity(name, *is_used), name);
        readers.iter().map(identity).collect()
    }
}

/// A context of its own to ask a daemon with: a connect that is given up is the end of its context.
#[derive(Debug)]
struct Inquiry {
    options: SessionOptions,
    context: RefCell<Option<DaemonContext>>,
}

impl Inquiry {
    /// To ask the same daemon.
    fn new(context: &DaemonContext) -> Inquiry {
        let options = SessionOptions {
            socket: Some(context.path().to_owned()),
            ..SessionOptions::default()
        };
        Inquiry {
            options,
            context: RefCell::default(),
        }
    }

    /// The identity of a reader. Asks over a connection to the reader alone, and gives less where another
    /// connection prevents that.
    fn identity(&self, name: &CStr, is_used: bool) -> ReaderIdentity {
        let identity = ReaderIdentity {
            slot: slot_of(name),
            ..ReaderIdentity::default()
        };
        let kept = self.context.take();
        let Some(context) = kept.or_else(|| DaemonContext::establish(&self.options).ok()) else {
            return identity;
        };
        match ask(&context, name, is_used, context.endian(), identity.clone()) {
            Ok(identity) => {
                self.context.replace(Some(context));
                identity
            }
            Err(failure) => {
                if failure.error() != Error::Timeout {
                    self.context.replace(Some(context));
                }
                identity
            }
        }
    }
}
