//! A session that goes while it is looked at.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Action, Op, Place, Spy, fill, kind};
use sessionlog::{ErrorKind, Keep, Options};

#[test]
fn a_session_that_is_removed_while_a_reader_opens_it_is_not_found_and_not_damaged() {
    let place = Place::new();
    let slow = Spy::disk();
    let remover = Options::new()
        .create(true)
        .segment_size(16 << 10)
        .fs(Arc::new(slow.clone()))
        .open(place.path())
        .unwrap();
    let session = remover.session("s").unwrap();
    fill(&session, 3);
    session.archive(Keep::Nothing).unwrap();
    session.truncate().unwrap();
    fill(&session, 3);
    session.close().unwrap();
    // It gets no further than the first of its files.
    slow.hook(|call| if call.is(Op::Remove, "00000002.log") { Action::EIO } else { Action::Go });
    let looking = Spy::disk();
    let reading = Options::new().read_only(true).fs(Arc::new(looking.clone())).open(place.path()).unwrap();
    let once = AtomicBool::new(true);
    looking.hook(move |call| {
        if call.is(Op::List, "/s~") && once.swap(false, Ordering::SeqCst) {
            assert!(remover.remove_session("s").unwrap());
        }
        Action::Go
    });
    let reader = reading.reader("s");
    let found = reader.as_ref().ok().map(|r| r.report());
    assert_eq!(kind(reader), Some(ErrorKind::NotFound), "{found:#?}");
}
