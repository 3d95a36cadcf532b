//! The public types have the auto traits of those of crate `pcsc` 2.9, so that a program which moves to ours
//! compiles: for instance `catch_unwind(|| context.list_readers_owned())`, or a context in a `static`.

use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// For each auto trait, a type with an associated constant that is true where `T` has it: an inherent
/// constant comes before that of a trait.
macro_rules! auto_traits {
    ($($module:ident $name:ident $bound:path;)+) => {
        $(mod $module {
            #[allow(dead_code, reason = "unused where all types have the auto trait")]
            pub trait Otherwise { const HAS: bool = false; }
            impl<T> Otherwise for super::$name<T> {}
        }
        struct $name<T>(PhantomData<T>);
        impl<T: $bound> $name<T> { const HAS: bool = true; })+

        /// The auto traits of a type, in order.
        macro_rules! of {
            ($type:ty) => {{
                $(#[allow(unused_imports)] use $module::Otherwise as _;)+
                [$($name::<$type>::HAS),+]
            }};
        }
    };
}

auto_traits! {
    send HasSend Send;
    sync HasSync Sync;
    unpin HasUnpin Unpin;
    unwind_safe HasUnwindSafe UnwindSafe;
    ref_unwind_safe HasRefUnwindSafe RefUnwindSafe;
}

macro_rules! same {
    ($($name:ident $(<$lifetime:lifetime $(, $more:lifetime)?>)?;)+) => {
        $(const _: () = {
            let ours = of!(pcsc_client::$name $(<$lifetime $(, $more)?>)?);
            let theirs = of!(pcsc::$name $(<$lifetime $(, $more)?>)?);
            let mut at = 0;
            while at < ours.len() {
                assert!(ours[at] == theirs[at], concat!("the auto traits of ", stringify!($name)));
                at += 1;
            }
        };)+
    };
}

same! {
    Attribute;
    AttributeClass;
    Card;
    CardStatus<'static, 'static>;
    CardStatusOwned;
    Context;
    Disposition;
    Error;
    Protocol;
    Protocols;
    ReaderNames<'static>;
    ReaderState;
    Scope;
    ShareMode;
    State;
    Status;
    Transaction<'static>;
}

#[test]
fn the_constants_detect_traits() {
    assert_eq!(of!(u8), [true; 5]);
    assert_eq!(
        of!(std::rc::Rc<std::marker::PhantomPinned>),
        [false, false, true, true, true]
    );
    assert_eq!(of!(&'static mut u8), [true, true, true, false, true]);
    // Also those that pcsc does not have can be shared.
    assert_eq!(of!(pcsc_client::Failure)[..3], [true; 3]);
    assert_eq!(of!(pcsc_client::Events)[..3], [true; 3]);
}

#[test]
fn a_panic_may_pass_through_a_call() {
    let context = pcsc_client::Context::builder()
        .choose_backend(pcsc_client::Choice::Simulated)
        .establish()
        .unwrap();
    let names = std::panic::catch_unwind(|| context.list_readers_owned()).unwrap();
    assert_eq!(names.map(|names| names.len()), Ok(1));
}
