//! Which device a daemon's reader is, as far as its driver reports it.

use std::ffi::CStr;
use std::path::Path;

use super::calls::DaemonContext;
use super::Survey;
use crate::backend::driver_facts::{ask, of_name};
use crate::backend::values::SessionOptions;
use crate::error::Error;
use crate::identity::ReaderIdentity;

/// See [`Session::identities`](crate::backend::Session::identities). Asks over connections to the readers
/// alone, and gives less where another connection prevents that.
pub fn identities(path: &Path, readers: &[(&CStr, bool)]) -> Vec<ReaderIdentity> {
    let survey = Survey::new();
    let options = SessionOptions {
        socket: Some(path.to_owned()),
        ..SessionOptions::default()
    };
    // A context of its own: a connect that is given up is the end of its context.
    let mut own: Option<DaemonContext> = None;
    let mut asked = |name: &CStr, is_used: bool| {
        let Some(context) = own.take().or_else(|| DaemonContext::establish(&options).ok()) else {
            return of_name(name);
        };
        let asked = ask(&context, name, is_used);
        if !matches!(&asked, Err(failure) if failure.error() == Error::Timeout) {
            own = Some(context);
        }
        asked.unwrap_or_else(|_| of_name(name))
    };
    let identity = |(name, is_used): &(&CStr, bool)| survey.complete(asked(name, *is_used), name);
    readers.iter().map(identity).collect()
}
