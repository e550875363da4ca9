//! One fault at every moment: the network is cut with a batch in flight, the program is killed, and the
//! network heals so much later, each time in a namespace of its own.
//!
//! What the kernel still sends then depends on the moment to a tenth of a second. Each of them mostly
//! waits, so many go on at once.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::cut::Cut;
use crate::support::namespace::Namespace;

/// The latest, in tenths of a second after the kill.
const LAST: u32 = 300;
/// How many go on at once: one server has slots for so many.
const AT_ONCE: usize = 40;
/// From the cut to the kill: two retransmissions are in vain before it.
const CUT_BEFORE_KILL: Duration = Duration::from_millis(1500);

/// Heals at every tenth of a second, tells which of them were not survived, and fails if there are any.
pub fn sweep() -> ExitCode {
    println!("{} moments, {AT_ONCE} at once: some minutes", LAST + 1);
    // What was found is told in order, in the end.
    set_hook(Box::new(|_| {}));
    let failures: Mutex<Vec<(u32, String)>> = Mutex::default();
    let done = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                // The longest first, so that they end together.
                while let Some(tenths) = LAST.checked_sub(done.fetch_add(1, Ordering::SeqCst)) {
                    if let Err(what) = heal_after(tenths) {
                        println!("{} s: {}", seconds(tenths), summary(&what));
                        failures.lock().expect("nobody panics").push((tenths, what));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("nobody panics");
    failures.sort_unstable();
    let Some((_, what)) = failures.first() else {
        println!("every row is in its topic exactly once, whenever the network heals");
        return ExitCode::SUCCESS;
    };
    println!("\nthe first of them in full:\n{what}\n");
    let moments: Vec<u32> = failures.iter().map(|(at, _)| *at).collect();
    println!(
        "{} of {} were not survived, in seconds after the kill: {}",
        moments.len(),
        LAST + 1,
        ranges(&moments)
    );
    ExitCode::FAILURE
}

/// Kills the program, heals the network so many tenths of a second later, and starts it anew.
fn heal_after(tenths: u32) -> Result<(), String> {
    let scenario = || {
        Namespace::within(|network| {
            let cut = Cut::on_the_shared_server(network, "heals");
            let config = cut.pipeline.config();
            let connector = cut.start(&config);
            cut.arrives(1, &connector);
            cut.send_in_vain(2);
            thread::sleep(CUT_BEFORE_KILL);
            connector.kill();
            thread::sleep(Duration::from_millis(100) * tenths);
            network.heal();
            let connector = cut.start(&config);
            cut.arrives(3, &connector);
            cut.wait_for_the_kernel();
            cut.arrives(4, &connector);
            cut.assert_rows(4);
        });
    };
    catch_unwind(AssertUnwindSafe(scenario)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.unwrap_or_else(|| "a panic without words".to_owned())
    })
}

/// What the program said last, or else the reason.
fn summary(what: &str) -> &str {
    let mut lines = what.lines();
    let said = lines.rfind(|line| line.contains(" ERROR "));
    said.or_else(|| what.lines().next()).unwrap_or_default()
}

/// Moments in order, those in a row as one.
fn ranges(moments: &[u32]) -> String {
    let rows = moments.chunk_by(|one, next| one + 1 == *next);
    let texts = rows.map(|row| match row {
        [first, .., last] => format!("{} to {}", seconds(*first), seconds(*last)),
        _ => seconds(row[0]),
    });
    texts.collect::<Vec<_>>().join(", ")
}

fn seconds(tenths: u32) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}
