//! Programs that run while cards come and go.

use crate::setups::{loaded, our_file, Stage, SETUPS};
use pcsc_tests::{assert_same, Live};

/// Checks which library a program has loaded.
pub fn is_on(live: &Live, stage: &Stage) {
    if stage.setup.is_on_ours() {
        assert_eq!(loaded(live.id()), Some(our_file()));
    }
}

/// The output of a program that runs while cards come and go, which must be the same in all set-ups. `play`
/// starts it and moves the cards.
pub fn same_live(play: impl Fn(&Stage) -> Live) -> String {
    let texts = SETUPS.map(|setup| play(&Stage::start(setup)).seen.join("\n"));
    for (setup, text) in SETUPS.iter().zip(&texts) {
        let name = format!("{setup:?}");
        assert_same("a program that goes on", ("Stock", &texts[0]), (&name, text));
    }
    texts.into_iter().next().unwrap()
}
