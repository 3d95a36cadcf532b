use super::*;
use std::io::Write;

#[test]
fn wakes_without_a_waiter_do_not_block() {
    let port = Port::new(Port::default_address(0));
    for _ in 0..1000 {
        port.wake();
    }
    assert_eq!(port.wait(), WatchEvent::Card);
    port.stop();
    assert_eq!(port.wait(), WatchEvent::Stopped);
}

#[test]
fn a_port_that_cannot_be_waited_for_is_gone() {
    let mut port = Port::new(Port::default_address(0));
    port.waker = Err(Errno::MFILE);
    assert_eq!(port.wait(), WatchEvent::Gone);
}

#[test]
fn the_end_of_a_connection_is_told_from_data() {
    let listener = TcpListener::bind(Port::default_address(0)).unwrap();
    for event in [HANG_UP, PollFlags::IN] {
        let mut card = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = listener.accept().unwrap().0;
        stream.set_nonblocking(true).unwrap();
        assert!(!has_ended(&stream, event), "{event:?}");
        card.write_all(&[1]).unwrap();
        wait(&mut [PollFd::new(&stream, PollFlags::IN)], None);
        assert!(!has_ended(&stream, event), "{event:?}");
        assert_eq!((&stream).read(&mut [0]).unwrap(), 1);
        drop(card);
        wait(&mut [PollFd::new(&stream, PollFlags::IN)], None);
        assert!(has_ended(&stream, event), "{event:?}");
    }
}

/// A port with a card, whose other end the test has.
fn port_with_card() -> (Port, Arc<Connection>, TcpStream) {
    let mut port = Port::new(Port::default_address(0));
    port.first_card = Duration::from_secs(60);
    let card = TcpStream::connect(port.open().unwrap()).unwrap();
    let (connection, _) = port.card().unwrap();
    card.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    (port, connection, card)
}

#[test]
fn a_card_that_is_thrown_out_sees_it_although_a_child_has_the_connection() {
    let (port, connection, mut card) = port_with_card();
    let _childs = connection.stream.try_clone().unwrap();
    port.throw_out(&connection);
    drop(connection);
    assert_eq!(card.read(&mut [0]).unwrap(), 0);
}

#[test]
fn the_end_of_a_port_ends_the_wait_for_an_answer_and_refuses_the_next_one() {
    let (port, connection, mut card) = port_with_card();
    let deadline = Instant::now() + Duration::from_secs(60);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| connection.ask(&[0; 4], &mut [0; 300], deadline));
        card.read_exact(&mut [0; HEADER + 4]).unwrap();
        port.stop();
        assert_eq!(asked.join().unwrap(), Err(SlotError::NoCard));
    });

    let (port, connection, mut card) = port_with_card();
    port.stop();
    assert_eq!(
        connection.ask(&[0; 4], &mut [0; 300], deadline),
        Err(SlotError::NoCard)
    );
    assert_eq!(connection.tell(Control::PowerOff), Ok(()));
    card.read_exact(&mut [0; HEADER + 1]).unwrap();
}
