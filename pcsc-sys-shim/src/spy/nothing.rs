//! The library without the feature `spy`, or on another system than Linux, whose calls it needs: nothing is
//! recorded.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::marker::PhantomData;

use pcsc_client::ffi::{DWORD, LONG};
use pcsc_client::Failure;

/// The fields of a record, of which there is none.
pub struct Fields<'a>(Infallible, PhantomData<&'a ()>);

macro_rules! writers {
    ($($name:ident($($kind:ty),*);)+) => {
        impl Fields<'_> {
            $(pub fn $name(&mut self, $(_: $kind),*) { match self.0 {} })+
        }
    };
}

writers! {
    null(&str);
    number(&str, DWORD);
    handle(&str, LONG);
    code(&str, DWORD);
    room(bool, Option<DWORD>);
    timeout(DWORD);
    bytes(&str, &[u8]);
    secret(&str, &[u8]);
    command(&[u8]);
    response(&[u8], bool);
    control(DWORD, &[u8]);
    answer(DWORD, &[u8]);
    text(&str, Option<&[u8]>);
    strings(&str, &[u8]);
}

impl Fields<'_> {
    pub fn objects<T>(&mut self, _: &str, _: impl Iterator<Item = T>, _: impl Fn(&mut Fields<'_>, T)) {
        match self.0 {}
    }
}

/// A call that is not recorded.
pub struct Call;

impl Call {
    #[inline(always)]
    pub fn new() -> Call {
        Call
    }

    #[inline(always)]
    pub fn begin(&mut self, _function: &'static str, _arguments: &dyn Fn(&mut Fields<'_>)) {}

    #[inline(always)]
    pub fn is_recorded(&self) -> bool {
        false
    }

    #[inline(always)]
    pub fn results(&mut self, _write: impl Fn(&mut Fields<'_>)) {}

    #[inline(always)]
    pub fn end(&mut self, _result: &Result<(), Failure>) {}
}
