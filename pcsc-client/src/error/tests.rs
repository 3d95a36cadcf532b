use super::*;

#[test]
fn a_failure_is_displayed_with_each_part_once() {
    let source = || io::Error::from_raw_os_error(2);
    let text = source().to_string();
    let failure = Failure::quiet(Error::CommError, Cause::Broken(source()));
    let whole = format!("{}: {}: {text}", Error::CommError, failure.cause().unwrap());
    assert_eq!(failure.to_string(), whole);
    assert!(!failure.cause().unwrap().to_string().contains(&text));
    assert!(format!("{failure:?}").contains(&format!("{:?}", failure.cause().unwrap().chain().to_string())));
    // As error reporters print a chain.
    for error in [&failure as &dyn std::error::Error, failure.cause().unwrap()] {
        assert_eq!(Chain(error).to_string().matches(&text).count(), 1);
    }
}

#[test]
fn what_is_at_the_socket_is_said_once() {
    let failure = |found: &Found| {
        let (path, source) = (PathBuf::from("/s"), io::Error::from_raw_os_error(2));
        let found = found.clone();
        Failure::quiet(Error::NoService, Cause::Connect { path, source, found }).to_string()
    };
    assert!(failure(&Found::Nothing).ends_with(&Found::Nothing.to_string()));
    assert!(failure(&Found::Unknown).ends_with(&io::Error::from_raw_os_error(2).to_string()));
}

#[test]
fn every_code_has_its_error_and_unknown_codes_have_one() {
    for error in ALL {
        assert_eq!(Error::from_code(error.code()), *error);
    }
    for code in [0, 0x8010_0022, 0x8010_0032, 0x8010_0064, u32::MAX] {
        assert_eq!(Error::from_code(code), Error::UnknownError);
    }
}
