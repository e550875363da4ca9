//! The addresses behind a name, within a time.
//!
//! The resolver of the system knows no deadline: it is asked in a thread of its own, which is left
//! behind when it takes too long, and ends by the resolver's own limits. Whoever asks for the same name
//! meanwhile waits for the same answer, so that a resolver that hangs holds one thread for each name.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

/// The most names that are looked up at once, more than any list of servers has. A cluster that names a
/// new server each time it is asked must not cost a thread each time.
const MOST_UNDER_WAY: usize = 64;

/// The questions that nobody has answered yet.
static UNDER_WAY: Mutex<BTreeMap<String, Arc<Question>>> = Mutex::new(BTreeMap::new());

/// A question, for all who wait for its answer.
#[derive(Default)]
struct Question {
    answer: Mutex<Option<Answer>>,
    answered: Condvar,
}

/// The addresses, or a copy of the error: one of the system cannot be cloned.
type Answer = Result<Vec<SocketAddr>, (ErrorKind, String)>;

/// Looks up the addresses of `name`, at least one, in the order of the resolver.
pub fn look_up<N>(name: N, timeout: Duration) -> io::Result<Vec<SocketAddr>>
where
    N: ToSocketAddrs + Debug + Send + 'static,
{
    let text = format!("{name:?}");
    let ask = move || name.to_socket_addrs().map(Vec::from_iter);
    match ask_once(text, timeout, ask)? {
        Ok(addresses) if addresses.is_empty() => Err(io::Error::other("no address")),
        Ok(addresses) => Ok(addresses),
        Err((kind, words)) => Err(io::Error::new(kind, words)),
    }
}

fn ask_once(
    name: String,
    timeout: Duration,
    ask: impl FnOnce() -> io::Result<Vec<SocketAddr>> + Send + 'static,
) -> io::Result<Answer> {
    let question = begin(name, ask)?;
    let answer = lock(&question.answer);
    let waited = question
        .answered
        .wait_timeout_while(answer, timeout, |answer| answer.is_none());
    let (answer, _) = waited.unwrap_or_else(PoisonError::into_inner);
    let late = || io::Error::new(ErrorKind::TimedOut, "no answer in time");
    answer.clone().ok_or_else(late)
}

/// The question that is under way for this name, or a new one.
fn begin(
    name: String,
    ask: impl FnOnce() -> io::Result<Vec<SocketAddr>> + Send + 'static,
) -> io::Result<Arc<Question>> {
    let mut under_way = lock(&UNDER_WAY);
    if let Some(question) = under_way.get(&name) {
        return Ok(Arc::clone(question));
    }
    if under_way.len() >= MOST_UNDER_WAY {
        return Err(io::Error::other("too many look-ups have no answer yet"));
    }
    let question = Arc::new(Question::default());
    let (asked, its_name) = (Arc::clone(&question), name.clone());
    let run = move || {
        let answer = ask().map_err(|error| (error.kind(), error.to_string()));
        // Whoever asks from now on gets an answer of its own time.
        lock(&UNDER_WAY).remove(&its_name);
        *lock(&asked.answer) = Some(answer);
        asked.answered.notify_all();
    };
    let thread = Builder::new().name("look-up".to_owned());
    thread.spawn(run).map_err(no_thread)?;
    under_way.insert(name, Arc::clone(&question));
    Ok(question)
}

fn no_thread(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot start a thread: {error}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_look_up_that_hangs_holds_one_thread_and_answers_all_who_wait() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let (answers, waits) = channel();
        let waits = Arc::new(Mutex::new(waits));
        let ask = |timeout| {
            let waits = Arc::clone(&waits);
            ask_once("hangs".to_owned(), timeout, move || {
                ASKED.fetch_add(1, Ordering::SeqCst);
                lock(&waits).recv().map_err(io::Error::other)
            })
        };
        for _ in 0..20 {
            let error = ask(Duration::from_millis(5)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        }
        assert_eq!(ASKED.load(Ordering::SeqCst), 1);
        let question = begin("hangs".to_owned(), || unreachable!()).unwrap();
        let address: SocketAddr = "[::1]:1".parse().unwrap();
        answers.send(vec![address]).unwrap();
        let told = lock(&question.answer);
        let told = question
            .answered
            .wait_timeout_while(told, LONG, |answer| answer.is_none());
        assert_eq!(*told.unwrap().0, Some(Ok(vec![address])));
        // The answer is old by now: the next question is a new one.
        answers.send(Vec::new()).unwrap();
        assert_eq!(ask(LONG).unwrap(), Ok(Vec::new()));
        assert_eq!(ASKED.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_name_without_an_address_is_an_error() {
        let none: &'static [SocketAddr] = &[];
        assert!(look_up(none, LONG).is_err());
        let found = look_up("[::1]:9003".to_owned(), LONG).unwrap();
        assert_eq!(found, ["[::1]:9003".parse().unwrap()]);
        let error = look_up("no port".to_owned(), LONG).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
