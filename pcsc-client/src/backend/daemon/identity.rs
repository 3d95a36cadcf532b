//! Which device a daemon's reader is, as far as its driver says.

use std::ffi::CStr;

use super::Survey;
use crate::backend::calls::Calls;
use crate::backend::driver_facts::{ask, of_name};
use crate::error::{Error, Outcome};
use crate::identity::ReaderIdentity;

/// See [`Calls::identities`]. Asks over connections to the readers alone, on contexts of their own, since a
/// connect that is given up is the end of its context. Gives less where another connection prevents that.
pub fn identities<C: Calls>(
    establish: impl Fn() -> Outcome<C>,
    readers: &[(&CStr, bool)],
) -> Vec<ReaderIdentity> {
    let survey = Survey::new();
    let mut own: Option<C> = None;
    let mut asked = |name: &CStr, is_used: bool| {
        let Some(context) = own.take().or_else(|| establish().ok()) else {
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
