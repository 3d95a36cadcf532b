//! The command line, as it is parsed.

use super::*;

#[test]
fn times_are_seconds_from_0_on() {
    assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
    for text in ["1e19", "1e300", "inf"] {
        assert_eq!(seconds(text), Ok(Duration::from_secs_f64(LONGEST)), "{text}");
    }
    for text in ["-1", "nan", "-inf", "", "soon"] {
        assert!(seconds(text).is_err(), "{text}");
    }
}
