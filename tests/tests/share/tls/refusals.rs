//! Connections that are refused, and what the logs of both sides say.

use std::ffi::CString;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use pcsc_ccid::part10::GET_FEATURE_REQUEST;
use pcsc_client::{Context, Error, Protocols, ShareMode};
use pcsc_tests::{artifacts, run, Share};

use super::certificates::{Authority, Issued};
use super::{address, connect, host, join, list, NAME, PATIENCE};

/// Has a server join a host, which refuses or is refused. Each log has to have its text.
fn refused(host: &Share, host_says: &str, authority: &Authority, own: &Issued, source_says: &str) {
    let joined = join(authority, own, address(host));
    joined.wait_for_log(source_says);
    host.wait_for_log(host_says);
    assert_eq!(list(&joined.context()), [""; 0]);
}

#[test]
fn certificates_of_another_authority_are_refused() {
    const UNTRUSTED: &str = "its certificate is of an authority that is not trusted";
    let ours = Authority::new();
    let host = host(&ours, &ours.issue("host"), &[]);
    // The second one has the name of ours.
    for (theirs, alert) in [
        (Authority::named("another"), "TLS alert UnknownCA"),
        (Authority::new(), "TLS alert DecryptError"),
    ] {
        refused(&host, UNTRUSTED, &ours, &theirs.issue("stranger"), alert);
        // One who does not trust the host.
        refused(&host, alert, &theirs, &ours.issue("desk"), UNTRUSTED);
    }
}

#[test]
fn expired_certificates_are_refused() {
    let authority = Authority::new();
    let valid = host(&authority, &authority.issue("host"), &[]);
    refused(
        &valid,
        "is refused: its certificate has expired",
        &authority,
        &authority.issue_expired("desk"),
        "TLS alert CertificateExpired",
    );
    let expired = host(&authority, &authority.issue_expired("old-host"), &[]);
    refused(
        &expired,
        "TLS alert CertificateExpired",
        &authority,
        &authority.issue("desk"),
        "its certificate has expired",
    );
}

#[test]
fn a_certificate_has_to_be_for_the_host_that_a_source_names() {
    let authority = Authority::new();
    let host = host(&authority, &authority.issue_without_address("host"), &[]);
    refused(
        &host,
        "TLS alert BadCertificate",
        &authority,
        &authority.issue("desk"),
        "not valid for name \"127.0.0.1\"",
    );
}

#[test]
fn names_that_are_not_allowed_are_refused() {
    let authority = Authority::new();
    let host = host(
        &authority,
        &authority.issue("host"),
        &[
            "--allow-cert",
            "desk.example",
            "--allow-cert",
            "Office.Example",
            "--allow-cert",
            "a.office.example",
        ],
    );
    for name in ["desk.example.org", "*.office.example", "other"] {
        let names = format!(
            "is refused: its certificate has no name that is allowed (names in its certificate: {name})"
        );
        let issued = authority.issue(name);
        refused(&host, &names, &authority, &issued, "TLS alert AccessDenied");
    }
    for name in ["desk.example", "office.example"] {
        let joined = join(&authority, &authority.issue(name), address(&host));
        assert_eq!(list(&joined.context()).len(), 1, "{name}");
    }
}

#[test]
fn the_certificates_of_one_name_have_a_quarter_of_the_places() {
    let authority = Authority::new();
    let host = host(&authority, &authority.issue("host"), &["--max-clients", "12"]);
    let desk = join(&authority, &authority.issue("desk"), address(&host));
    desk.wait_for_log(" answers");
    // The source has connections of its own, and one for each context with a card.
    let name = CString::new(NAME).unwrap();
    let contexts: Vec<Context> = (0..3).map(|_| desk.context()).collect();
    let connect = |context: &Context| context.connect(&name, ShareMode::Shared, Protocols::ANY);
    let cards: Vec<_> = contexts.iter().map(connect).collect();
    assert!(cards.last().unwrap().is_err(), "it is served");
    host.wait_for_log("is refused: there are 12 clients already, or 3 of the certificate for \"desk\"");
    desk.wait_for_log("warn: a client gets no connection with the daemon at tls://");
    // Those of another name have places of their own.
    let office = join(&authority, &authority.issue("office"), address(&host));
    office.wait_for_log(" answers");
    assert_eq!(list(&office.context()).len(), 1);
}

#[test]
fn a_control_request_that_a_host_refuses_is_logged_with_the_certificate() {
    let authority = Authority::new();
    let host = host(&authority, &authority.issue("host"), &["--no-control"]);
    let joined = join(&authority, &authority.issue("desk"), address(&host));
    let card = connect(&joined.context());
    let mut answer = [0; 300];
    let failed = card.control(GET_FEATURE_REQUEST.into(), &[], &mut answer);
    assert_eq!(failed.unwrap_err(), Error::SecurityViolation);
    host.wait_for_log(" (names in its certificate: desk): the control request 0x42000D48 is refused");
}

#[test]
fn arguments_that_cannot_be_right_are_refused() {
    let authority = Authority::new();
    let own = authority.issue("host");
    let missing = format!("{}.missing", authority.file());
    for (client_ca, name, said) in [
        (
            authority.file(),
            "192.0.2.7",
            "\"192.0.2.7\" is not a DNS name.".to_owned(),
        ),
        (
            missing.clone(),
            "desk",
            format!("The file {missing} cannot be used: "),
        ),
    ] {
        let mut command = Command::new(artifacts::binary("pcsc-cli", "pcsc"));
        let listen = [
            "share",
            "sim:",
            "--listen-tls",
            "127.0.0.1:0",
            "--allow-cert",
            name,
        ];
        command
            .args(listen)
            .args(["--client-ca", &client_ca])
            .args(own.arguments());
        let socket = tempfile::tempdir().unwrap();
        command.arg("--socket").arg(socket.path().join("pcscd.comm"));
        let output = run(&mut command, PATIENCE);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(&said) && text.contains("docs/hosts.md"), "{text}");
    }
}

#[test]
fn addresses_and_keys_that_cannot_be_right_are_refused() {
    let authority = Authority::new();
    let own = authority.issue("host");
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("pcscd.comm").display().to_string();
    let refused = |arguments: &[String], said: &str| {
        let mut command = Command::new(artifacts::binary("pcsc-cli", "pcsc"));
        command.args(["share", "--socket", &socket]).args(arguments);
        command.args(["--client-ca", &authority.file(), "--server-ca", &authority.file()]);
        let output = run(&mut command, PATIENCE);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(said), "{said:?} in {text}");
    };
    let with = |arguments: &[&str], own: &[String]| {
        let arguments = arguments.iter().map(ToString::to_string);
        arguments.chain(own.iter().cloned()).collect::<Vec<_>>()
    };
    for address in ["127.0.0.1", "127.0.0.1:port", "127.0.0.1:70000", ":7340"] {
        let said = format!("{address:?} is not HOST:PORT.");
        refused(&with(&["sim:", "--listen-tls", address], &own.arguments()), &said);
        let source = format!("tls://{address}");
        let listening = [&source, "--listen-tls", "127.0.0.1:0"];
        refused(&with(&listening, &own.arguments()), &said);
    }
    let mut mixed = own.arguments();
    let key = mixed.iter().position(|argument| argument == "--key").unwrap() + 1;
    let others = authority.issue("other").arguments();
    mixed[key] = others[key].clone();
    let said = format!(
        "The file {} cannot be used: it is the key of another certificate than that in ",
        mixed[key]
    );
    refused(&with(&["sim:", "--listen-tls", "127.0.0.1:0"], &mixed), &said);
}

/// What the host sends to a client until it closes the connection.
fn answer(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => (),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    answer
}

#[test]
fn a_client_without_tls_or_certificate_is_refused() {
    let authority = Authority::new();
    let host = host(&authority, &authority.issue("host"), &[]);
    // pcscd's protocol, as it is.
    let mut plain = TcpStream::connect(address(&host)).unwrap();
    plain
        .write_all(&[12, 0, 0, 0, 17, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0])
        .unwrap();
    let told = answer(&mut plain);
    // A TLS alert, and no answer.
    assert_eq!(told.first(), Some(&21), "{told:02X?}");
    host.wait_for_log("the peer does not speak TLS");

    let mut client = std::process::Command::new("openssl");
    client.args([
        "s_client",
        // It waits for what the host says.
        "-ign_eof",
        "-connect",
        &address(&host).to_string(),
        "-CAfile",
        &authority.file(),
    ]);
    let output = client.stdin(std::process::Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("certificate required"), "{text}");
    host.wait_for_log("is refused: it has no certificate");
}

#[test]
fn a_handshake_that_stalls_is_given_up_and_delays_nobody() {
    let authority = Authority::new();
    let host = host(&authority, &authority.issue("host"), &[]);
    // As many as one host may have.
    let mut stalled: Vec<TcpStream> = (0..64)
        .map(|_| TcpStream::connect(address(&host)).unwrap())
        .collect();
    for stream in &mut stalled {
        // The beginning of a record.
        stream.write_all(&[22, 3, 1]).unwrap();
    }
    // One more, for which there is no place: it is closed at once.
    let mut more = TcpStream::connect(address(&host)).unwrap();
    assert_eq!(answer(&mut more), []);
    host.wait_for_log("64 with its host");
    // Clients on the host are served meanwhile.
    assert_eq!(list(&host.context()).len(), 1);
    assert!(!host.log().contains("took too long"));
    for stream in &mut stalled {
        answer(stream);
    }
    host.wait_for_log("the TLS handshake took too long");
    drop(stalled);
    // There is room again.
    let joined = join(&authority, &authority.issue("desk"), address(&host));
    joined.wait_for_log(" answers");
    assert_eq!(list(&joined.context()).len(), 1);
}

#[test]
fn a_source_gives_up_a_host_that_does_not_shake_hands() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let joined = join(
        &authority,
        &authority.issue("desk"),
        listener.local_addr().unwrap(),
    );
    joined.wait_for_log("the TLS handshake took too long");
    assert_eq!(list(&joined.context()), [""; 0]);
}

#[test]
fn a_source_gives_up_a_host_without_tls() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let over = is_over.clone();
    let thread = std::thread::spawn(move || {
        for stream in listener.incoming() {
            if over.load(Ordering::SeqCst) {
                return;
            }
            // The source may have ended the connection.
            let _ = stream.unwrap().write_all(b"220 mail.example ready\r\n");
        }
    });
    let joined = join(&authority, &authority.issue("desk"), at);
    joined.wait_for_log("the peer does not speak TLS");
    assert_eq!(list(&joined.context()), [""; 0]);
    is_over.store(true, Ordering::SeqCst);
    // Ends the accept.
    drop(TcpStream::connect(at));
    thread.join().unwrap();
}
